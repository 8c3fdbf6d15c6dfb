"""What a process imports before it is given an actor: kinds of processes that Ray keeps apart."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

VARIABLE: Final = "SEP_PRELOAD"
"""Names a process's kind in its environment."""


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
    """Import what the actors of this process's kind are made of; of no kind, nothing."""
    kind = os.environ.get(VARIABLE)
    for module in MODULES[Kind(kind)] if kind else ():
        importlib.import_module(module)
