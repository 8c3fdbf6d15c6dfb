"""All limits as they stand: the fold of the stream `policy/limits`. Its version is the epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sep_ray.policy.limits import MOST_LIMITS, InvalidLimit, Limit

STREAM: Final = "policy/limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSet:
    """A limit was added, or replaced the one of the same name."""

    limit: Limit
    principal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRemoved:
    """A limit no longer holds."""

    limit_id: str
    principal: str


PolicyEvent = LimitSet | LimitRemoved


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitBook:
    """Limits by name. Whoever was cleared under another version must be cleared again."""

    limits: tuple[Limit, ...] = ()
    version: int = 0

    @property
    def stream_id(self) -> str:
        """The stream that holds the limits' events."""
        return STREAM

    def find(self, limit_id: str) -> Limit | None:
        """Return one, or None."""
        return next((limit for limit in self.limits if limit.id == limit_id), None)


def evolve(book: LimitBook, event: PolicyEvent) -> LimitBook:
    """Return the book after `event`; InvalidLimit when it would hold too many."""
    name = event.limit.id if isinstance(event, LimitSet) else event.limit_id
    others = [limit for limit in book.limits if limit.id != name]
    if isinstance(event, LimitSet):
        others.append(event.limit)
    if len(others) > MOST_LIMITS:
        raise InvalidLimit("too many limits", field="id", allowed=f"at most {MOST_LIMITS}")
    ordered = tuple(sorted(others, key=lambda limit: limit.id))
    return replace(book, limits=ordered, version=book.version + 1)
