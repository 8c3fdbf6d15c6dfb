"""What is shown beside the journal, so that readers need not ask the database: the newest events,
and how many intents are open. All of it follows from the journal and may be gone at any moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol
from uuid import UUID

from sep_ray.execution.attempt import AttemptBumped, AttemptPrepared, Signed
from sep_ray.intent.intent import Intent
from sep_ray.intent.states import (
    TERMINAL,
    TRANSITIONS,
    IntentAccepted,
    IntentRecord,
    Status,
)
from sep_ray.journal.records import Event, Recorded
from sep_ray.strategy.record import StrategyStarted

NOT_SHOWN: Final = "[not shown]"
"""Stands for what whoever watches could act with: signed bytes, a strategy's code."""

REACHED: Final = {
    **{event: status for (_, event), status in TRANSITIONS.items()},
    IntentAccepted: Status.ACCEPTED,
}
"""The state that each event of an intent leads to; it does not depend on the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a board shows the journal: up to the event `seq`, whose hash is `mark`.

    The hash tells this journal from any other that has an event of that number.
    """

    seq: int = 0
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What intents are counted by; `chain_id` is the first of those an intent names."""

    strategy_id: str
    chain_id: int
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An intent is in a state since its event `version`; `group` is None where it is known."""

    intent_id: UUID
    version: int
    status: Status
    group: Group | None = None

    @property
    def open(self) -> bool:
        """Whether the intent has an end still to come."""
        return self.status not in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is added to a board that stands at `after`; `anew` wipes it first.

    `after` None is a board with nothing on it.
    """

    after: Place | None
    place: Place
    moves: tuple[Move, ...] = ()
    rows: tuple[Recorded, ...] = ()
    anew: bool = False


Counts = Counter[tuple[Group, Status]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How many intents were open after the event `as_of_seq`."""

    as_of_seq: int
    counts: Counts


class Board(Protocol):
    """Raises Transient when it does not answer."""

    async def place(self) -> Place | None:
        """Return how far it shows the journal; None when there is nothing on it."""

    async def publish(self, batch: Batch) -> bool:
        """Add a batch, all or nothing; False, and nothing done, when it stands elsewhere.

        After Transient it may have been added or not: `place` tells.
        """

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        """Return shown events with `seq` above `after` in order, waiting for the first as
        Journal.tail does; without hashes, and from a later one on where older ones are gone."""

    async def summary(self) -> Summary | None:
        """Return how many intents are open; None when there is nothing on it."""


def shown(row: Recorded) -> Recorded:
    """Return an event as a board has it: nothing to act with, and no hashes."""
    return replace(row, event=covered(row.event), previous_hash=b"", hash=b"")


def covered(event: Event) -> Event:
    """Return an event without what whoever watches could act with."""
    if isinstance(event, AttemptPrepared):
        attempt = replace(event.attempt, signed=tuple(map(_covered, event.attempt.signed)))
        return replace(event, attempt=attempt)
    if isinstance(event, AttemptBumped):
        return replace(event, signed=_covered(event.signed))
    if isinstance(event, StrategyStarted) and event.code:
        return replace(event, code=NOT_SHOWN)
    return event


def group_of(intent: Intent) -> Group:
    """Return what an intent is counted under."""
    return Group(strategy_id=intent.strategy_id, chain_id=intent.chain_id, type=intent.type.value)


def move_of(row: Recorded) -> Move | None:
    """Return what an event does to its intent's state; None for events of anything else."""
    status = REACHED.get(type(row.event))
    if status is None:
        return None
    group = group_of(row.event.intent) if isinstance(row.event, IntentAccepted) else None
    name = UUID(row.stream_id.partition("/")[2])
    return Move(intent_id=name, version=row.version, status=status, group=group)


def last_of(moves: Iterable[Move]) -> tuple[Move, ...]:
    """Return each intent's last move, with its group where an earlier one names it; none of an
    intent that came and ended."""
    last: dict[UUID, Move] = {}
    for move in moves:
        before = last.get(move.intent_id)
        known = before.group if before is not None else None
        last[move.intent_id] = move if known is None else replace(move, group=known)
    return tuple(move for move in last.values() if move.open or move.group is None)


def standing(record: IntentRecord) -> Move:
    """Return an intent's state as its record has it."""
    return Move(
        intent_id=record.intent.id,
        version=record.version,
        status=record.status,
        group=group_of(record.intent),
    )


def counted(records: Iterable[IntentRecord]) -> Counts:
    """Count intents by group and state."""
    return Counter((group_of(record.intent), record.status) for record in records)


def _covered(signed: Signed) -> Signed:
    return replace(signed, raw=NOT_SHOWN) if signed.raw else signed
