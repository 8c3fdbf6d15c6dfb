"""What the API writes besides submissions: cancelling, and moving money between strategies.

Each reads, decides and commits under an expected version, and decides again when somebody else
wrote first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import UUID

from sep_ray.intent.states import TERMINAL, IntentCancelRequested, IntentRecord, Status, evolve
from sep_ray.journal.ports import Store
from sep_ray.journal.records import Append, Commit, Recorded, VersionConflict
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.units import Amount
from sep_ray.portfolio.events import FundsAllocated
from sep_ray.portfolio.ledger import allocate
from serve_app.problems import Problem

T = TypeVar("T")
TRIES: Final = 5


async def cancel(store: Store, clock: Clock, record: IntentRecord, principal: str) -> IntentRecord:
    """Ask an intent to stop; 409 when it has ended. Asking again changes nothing."""

    async def once() -> IntentRecord:
        current = await store.intent(record.intent.id) or record
        if current.status in TERMINAL:
            ended = f"it is {current.status.value}"
            raise Problem("already_ended", ended)
        if current.status is Status.CANCELLING:
            return current
        event = IntentCancelRequested(principal=principal)
        now = clock.now()
        after = evolve(current, event, now)
        append = Append(
            stream_id=current.stream_id,
            expected_version=current.version,
            events=(event,),
            correlation_id=current.intent.id,
        )
        await store.commit(Commit(at=now, appends=(append,), states=(after,)))
        return after

    return await _decided(once)


async def move_funds(
    store: Store, clock: Clock, allocation_id: UUID, moved: Amount, event: FundsAllocated
) -> tuple[Recorded, bool]:
    """Move available units between strategies once per `allocation_id`.

    Returns the event and whether it is new. Raises InsufficientBalance, or a 409 Problem when
    the id stands for another movement.
    """
    stream_id = f"account/{moved.asset.chain_id}/{allocation_id}"
    append = Append(
        stream_id=stream_id, expected_version=0, events=(event,), correlation_id=allocation_id
    )
    postings = allocate(moved.asset, moved.units, event.source, event.target)
    try:
        (row,) = await store.commit(Commit(at=clock.now(), appends=(append,), postings=postings))
        return row, True
    except VersionConflict:
        row = (await store.stream(stream_id))[0]
        if row.event != event:
            raise Problem("key_reused", "it moved something else before") from None
        return row, False


async def _decided(once: Callable[[], Awaitable[T]]) -> T:
    for _ in range(TRIES - 1):
        try:
            return await once()
        except VersionConflict:
            continue
    return await once()
