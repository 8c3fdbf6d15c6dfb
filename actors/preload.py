"""What a process imports before it is given an actor: kinds of processes that Ray keeps apart.

Each says in Ray's key-value store of what kind it is, which nothing else tells of a process that
waits.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final

import ray
from ray.experimental import internal_kv

VARIABLE: Final = "SEP_PRELOAD"
"""Names a process's kind in its environment."""
KEY: Final = "sep-process"
"""Before the node and the pid, where a process says its kind."""

_kv: Any = internal_kv  # Ray leaves it untyped


class Kind(StrEnum):
    """A process fits every actor of its kind, and no other actor."""

    ENGINE = "engine"
    STRATEGY = "strategy"


MODULES: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.ENGINE: ("actors.executor", "actors.router", "actors.settlement", "actors.publisher"),
    Kind.STRATEGY: ("actors.strategy_actor",),
}


def environment(kind: Kind) -> dict[str, Any]:
    """Return the runtime environment of an actor that wants a process of this kind."""
    return {"env_vars": {VARIABLE: str(kind)}}


def preload() -> None:
    """Import what actors of this process's kind are made of, and say so; without one, nothing."""
    kind = os.environ.get(VARIABLE)
    if not kind:
        return
    for module in MODULES[Kind(kind)]:
        importlib.import_module(module)
    node = ray.get_runtime_context().get_node_id()
    _kv._internal_kv_put(f"{KEY}/{node}/{os.getpid()}", kind)


def announced(node: str) -> dict[int, Kind]:
    """Return the processes that said their kind on a node; some may have ended since."""
    prefix = f"{KEY}/{node}/"
    found = {}
    for key in _kv._internal_kv_list(prefix):
        kind = _kv._internal_kv_get(key)
        if kind is not None:
            found[int(key.decode().removeprefix(prefix))] = Kind(kind.decode())
    return found


def forget(node: str, ended: Collection[int]) -> None:
    """Drop what processes said that have ended."""
    for pid in ended:
        _kv._internal_kv_del(f"{KEY}/{node}/{pid}")
