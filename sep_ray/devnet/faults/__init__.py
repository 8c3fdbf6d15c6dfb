"""A JSON-RPC proxy that injects faults, in this process or in one of its own."""

from sep_ray.devnet.faults.control import FaultControl
from sep_ray.devnet.faults.process import ProxyProcess, spawn_proxy
from sep_ray.devnet.faults.proxy import FaultProxy
from sep_ray.devnet.faults.rules import Fault, Injected, Rule

__all__ = [
    "Fault",
    "FaultControl",
    "FaultProxy",
    "Injected",
    "ProxyProcess",
    "Rule",
    "spawn_proxy",
]
