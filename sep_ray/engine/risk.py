"""What a risk officer does: set and remove limits, halt and release. Every act is journalled.

All acts may be repeated: the same again changes nothing and is no error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar
from uuid import UUID

from sep_ray.journal.ports import Halting, Journal, Policies
from sep_ray.journal.records import Append, Commit, VersionConflict
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.ids import derived_id
from sep_ray.policy.book import STREAM, LimitBook, LimitRemoved, LimitSet, PolicyEvent
from sep_ray.policy.book import evolve as evolve_book
from sep_ray.policy.halts import Halt, HaltEvent, HaltPlaced, HaltReleased, HaltStatus
from sep_ray.policy.halts import evolve as evolve_halt
from sep_ray.policy.limits import Limit, checked

T = TypeVar("T")
TRIES: Final = 5
"""How often an act is decided anew when another comes first."""


class RiskStore(Journal, Policies, Halting, Protocol):
    """What the acts read and write."""


class RiskDesk:
    """Acts on limits and halts for named principals; who may is judged by the caller."""

    def __init__(self, store: RiskStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def set_limit(self, limit: Limit, principal: str) -> LimitBook:
        """Add a limit or replace the one of its name. Raises InvalidLimit."""
        checked(limit)

        async def act() -> LimitBook:
            book = await self._store.limits()
            if book.find(limit.id) == limit:
                return book
            return await self._turn(book, LimitSet(limit=limit, principal=principal))

        return await _patiently(act)

    async def remove_limit(self, limit_id: str, principal: str) -> LimitBook | None:
        """Remove a limit; None when there is none of that name."""

        async def act() -> LimitBook | None:
            book = await self._store.limits()
            if book.find(limit_id) is None:
                return None
            return await self._turn(book, LimitRemoved(limit_id=limit_id, principal=principal))

        return await _patiently(act)

    async def halt(self, halt: Halt) -> Halt:
        """Place a halt; one of the same id that stands already is left as it is."""

        async def act() -> Halt:
            known = await self._store.halt(halt.id)
            return known or await self._write(None, HaltPlaced(halt=halt))

        return await _patiently(act)

    async def release(self, halt_id: UUID, principal: str, why: str) -> Halt | None:
        """Release a halt; None when there is none. Raises Rejected without a name."""
        if not principal.strip():
            raise Rejected("a halt is released by a named person", halt=str(halt_id))

        async def act() -> Halt | None:
            known = await self._store.halt(halt_id)
            if known is None or known.status is HaltStatus.RELEASED:
                return known
            event = HaltReleased(principal=principal, why=why, at=self._clock.now())
            return await self._write(known, event)

        return await _patiently(act)

    async def _turn(self, book: LimitBook, event: PolicyEvent) -> LimitBook:
        after = evolve_book(book, event)
        append = Append(
            stream_id=STREAM,
            expected_version=book.version,
            events=(event,),
            correlation_id=derived_id(STREAM),
        )
        await self._store.commit(Commit(at=self._clock.now(), appends=(append,), states=(after,)))
        return after

    async def _write(self, halt: Halt | None, event: HaltEvent) -> Halt:
        after = evolve_halt(halt, event)
        append = Append(
            stream_id=after.stream_id,
            expected_version=halt.version if halt is not None else 0,
            events=(event,),
            correlation_id=after.id,
        )
        await self._store.commit(Commit(at=self._clock.now(), appends=(append,), states=(after,)))
        return after


async def _patiently(act: Callable[[], Awaitable[T]]) -> T:
    for _ in range(TRIES - 1):
        try:
            return await act()
        except VersionConflict:
            continue
    return await act()
