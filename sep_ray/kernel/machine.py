"""State machines as data: one row per legal move, one function that moves."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from sep_ray.kernel.errors import InvariantBroken

S = TypeVar("S", bound=StrEnum)


class IllegalTransition(InvariantBroken):
    """An event arrived that the current state does not allow."""


def move(table: Mapping[tuple[S, type], S], state: S, event: object) -> S:
    """Return the state after `event`, or raise IllegalTransition naming both."""
    try:
        return table[state, type(event)]
    except KeyError:
        raise IllegalTransition(
            "illegal transition", state=state.value, event=type(event).__name__
        ) from None
