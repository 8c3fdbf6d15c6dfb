"""A platform's processes: which there are, of what kind, what they use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

KINDS: Final[Mapping[str, str]] = {
    "ray::StrategyShell": "strategy actors",
    "ray::ChainExecutorShell": "chain executors",
    "ray::IntentRouterShell": "intent router",
    "ray::Supervisor": "supervisor",
    "ray::ServeReplica:api": "API replica",
    "ray::ServeReplica:models": "model replicas",
    "ray::ServeController": "Serve controller",
    "ray::HAProxyManager": "balancer's manager",
    "ray::ProxyActor": "balancer's manager",
    "ray::DashboardAgent": "Ray's agents",
    "ray::RuntimeEnvAgent": "Ray's agents",
    "haproxy": "balancer",
    "/dashboard/dashboard.py": "Ray's agents",
    "log_monitor.py": "Ray's agents",
    "monitor.py": "Ray's agents",
    "gcs_server": "Ray's core",
    "raylet": "Ray's core",
    "anvil": "chains",
    "postgres": "Postgres",
    "valkey": "Redis",
    "redis-server": "Redis",
    "serve_app.daemon": "platform daemon",
}
"""A part of the command line, and the kind; the first that fits counts."""


def processes(root: int, state: Path) -> list[psutil.Process]:
    """Return a platform's processes: its daemon's descendants, and what runs on its folder."""
    found = {root: psutil.Process(root)}
    found |= {child.pid: child for child in psutil.Process(root).children(recursive=True)}
    for process in psutil.process_iter():
        try:
            if process.environ().get("SEP_STATE_DIR") == str(state) and process.pid != _own():
                found[process.pid] = process
        except psutil.Error:
            continue
    return list(found.values())


def kind(process: psutil.Process) -> str:
    """Return what a process is, in a few words."""
    words = " ".join(process.cmdline()) or process.name()
    return next((name for part, name in KINDS.items() if part in words), "other")


def pss_mib(pid: int) -> float:
    """Return a process's proportional set size: pages it shares count by their share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1_024
    raise LookupError(f"process {pid} has no PSS")


def core_shares(root: int, state: Path, seconds: float) -> dict[str, float]:
    """Return the cores that each kind of process uses, on average over so many seconds."""
    members = processes(root, state)
    before = {p.pid: (p, kind(p), _spent(p)) for p in members}
    began = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    shares: dict[str, float] = {}
    for process, name, spent in before.values():
        try:
            shares[name] = shares.get(name, 0.0) + (_spent(process) - spent) / elapsed
        except psutil.NoSuchProcess:
            continue
    return dict(sorted(shares.items(), key=lambda each: -each[1]))


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _own() -> int:
    return psutil.Process().pid
