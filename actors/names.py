"""The actors' names, and how to find one. A missing actor is an answer, not an error."""

from __future__ import annotations

from typing import Any, Final

import ray
from ray.util import list_named_actors

from sep_ray.kernel.units import ChainId

NAMESPACE: Final = "sep"
SUPERVISOR: Final = "supervisor"
INTENT_ROUTER: Final = "intent-router"
SETTLEMENT: Final = "settlement-manager"
STRATEGY_PREFIXES: Final = ("strategy-", "strategies-")


def executor_name(chain_id: ChainId) -> str:
    """Return the name of a chain's executor."""
    return f"chain-executor-{chain_id}"


def find(name: str) -> Any | None:
    """Return the handle of a living named actor, or None."""
    try:
        return ray.get_actor(name, NAMESPACE)
    except ValueError:
        return None


class Handles:
    """Handles of named actors, looked up once: each look-up is a call that blocks.

    Whoever finds that a call on one fails says so, and it is looked up again.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def get(self, name: str) -> Any | None:
        """Return the handle of a named actor; None while there is none."""
        if name not in self._kept:
            found = find(name)
            if found is None:
                return None
            self._kept[name] = found
        return self._kept[name]

    def forget(self, name: str) -> None:
        """Look it up again next time: another actor may have the name by now."""
        self._kept.pop(name, None)


def living() -> list[str]:
    """Return the names of all living actors of the platform."""
    listed = list_named_actors(all_namespaces=True)
    return sorted(str(each["name"]) for each in listed if each["namespace"] == NAMESPACE)
