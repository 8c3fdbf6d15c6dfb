"""One suite for both boards: the one in memory, and the one in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import get_args
from uuid import UUID

import pytest
from redis.asyncio import Redis

from sep_ray.adapters.memory import MemoryBoard, MemoryStore
from sep_ray.adapters.redis import RedisBoard
from sep_ray.decomposition.step import StepHeld
from sep_ray.execution.attempt import AttemptBumped, AttemptPrepared
from sep_ray.intent.states import TRANSITIONS, IntentCompleted, IntentDecomposed, Reason, Status
from sep_ray.journal.board import (
    NOT_SHOWN,
    REACHED,
    Batch,
    Board,
    Group,
    Move,
    Place,
    move_of,
    shown,
)
from sep_ray.journal.records import Event, Recorded
from sep_ray.kernel.clock import ManualClock
from sep_ray.strategy.record import StrategyStarted
from tests.fixtures.records import (
    NOW,
    a_submission,
    accepted,
    an_attempt,
    an_intent,
    begin,
    commit,
    new_id,
    signed,
    then,
)


def moved(name: UUID, version: int, status: Status, group: Group | None = None) -> Move:
    return Move(intent_id=name, version=version, status=status, group=group)


HERE = Group(strategy_id="a b/c", chain_id=1, type="ACQUIRE")
ELSEWHERE = Group(strategy_id="a b/c", chain_id=42161, type="BRIDGE")


@pytest.fixture(params=["memory", "redis"])
async def board(request: pytest.FixtureRequest) -> AsyncIterator[Board]:
    if request.param == "memory":
        yield MemoryBoard()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield RedisBoard(redis, lambda op, outcome: None)


async def some_rows() -> tuple[Recorded, ...]:
    """Events of several kinds, as a journal has them."""
    store = MemoryStore(ManualClock(NOW))
    intent, attempt = an_intent(strategy_id="a b/c"), an_attempt()
    await store.commit(begin(intent))
    prepared = begin(attempt)
    await store.commit(prepared)
    decomposed = IntentDecomposed(score=0.5, score_source="model", why="first", steps=1)
    bumped = AttemptBumped(signed=replace(signed("0x02"), max_fee_wei=9, tip_wei=8))
    await store.commit(commit(then(accepted(intent), decomposed)))
    await store.commit(commit(then(prepared.states[0], bumped)))
    return await store.tail(0, 10, 0.0)


def batch(rows: Sequence[Recorded], after: Place | None, *moves: Move) -> Batch:
    place = Place(seq=rows[-1].seq, mark=rows[-1].hash.hex())
    return Batch(after=after, place=place, moves=moves, rows=tuple(rows))


async def test_what_was_published_is_read_in_order(board: Board) -> None:
    rows = await some_rows()
    assert await board.place() is None
    assert await board.summary() is None
    assert await board.tail(0, 10, 0.0) == ()
    first = batch(rows[:3], None)
    assert await board.publish(first)
    assert await board.publish(batch(rows[3:], first.place))
    assert await board.place() == Place(seq=4, mark=rows[3].hash.hex())
    assert await board.tail(0, 10, 0.0) == tuple(map(shown, rows))
    assert await board.tail(1, 2, 0.0) == tuple(map(shown, rows[1:3]))
    assert await board.tail(4, 10, 0.01) == ()


async def test_a_batch_counts_only_where_it_follows(board: Board) -> None:
    rows = await some_rows()
    first = batch(rows[:2], None, moved(new_id(), 1, Status.ACCEPTED, HERE))
    assert await board.publish(first)
    for after in (None, Place(), Place(seq=2, mark="of another journal")):
        second = batch(rows[2:], after, moved(new_id(), 1, Status.ACCEPTED, HERE))
        assert not await board.publish(second)
    assert await board.place() == first.place
    assert await board.tail(0, 10, 0.0) == tuple(map(shown, rows[:2]))
    summary = await board.summary()
    assert summary is not None
    assert (summary.as_of_seq, summary.counts) == (2, {(HERE, Status.ACCEPTED): 1})


async def test_open_intents_are_counted_once_each(board: Board) -> None:
    rows = await some_rows()
    one, two = new_id(), new_id()
    place: Place | None = None

    async def counted(row: Recorded, *moves: Move) -> dict[tuple[Group, Status], int]:
        nonlocal place
        made = batch([row], place, *moves)
        assert await board.publish(made)
        place = made.place
        summary = await board.summary()
        assert summary is not None
        return dict(summary.counts)

    begun = [moved(name, 1, Status.ACCEPTED, HERE) for name in (one, two)]
    assert await counted(rows[0], *begun) == {(HERE, Status.ACCEPTED): 2}
    active = moved(one, 2, Status.ACTIVE)
    assert await counted(rows[1], active) == {(HERE, Status.ACCEPTED): 1, (HERE, Status.ACTIVE): 1}
    # What is older than what is known says nothing, nor does what nobody knows the group of.
    late = [begun[0], active, moved(new_id(), 3, Status.ACTIVE)]
    ended = [moved(two, 2, Status.EXPIRED), moved(two, 3, Status.ACTIVE, ELSEWHERE)]
    assert await counted(rows[2], *late) == {(HERE, Status.ACCEPTED): 1, (HERE, Status.ACTIVE): 1}
    assert await counted(rows[3], moved(one, 3, Status.COMPLETED), *ended) == {
        (ELSEWHERE, Status.ACTIVE): 1
    }


async def test_it_can_begin_anew(board: Board) -> None:
    rows = await some_rows()
    await board.publish(batch(rows[:2], None, moved(new_id(), 1, Status.ACCEPTED, HERE)))
    stands = await board.place()
    move = moved(new_id(), 5, Status.ACTIVE, ELSEWHERE)
    anew = Batch(after=stands, place=Place(seq=1, mark="x"), moves=(move,), anew=True)
    assert await board.publish(anew)
    assert not await board.publish(anew)
    assert await board.tail(0, 10, 0.0) == ()
    summary = await board.summary()
    assert summary is not None
    assert (summary.as_of_seq, summary.counts) == (1, {(ELSEWHERE, Status.ACTIVE): 1})
    assert await board.publish(batch(rows[1:], anew.place))
    assert [row.seq for row in await board.tail(0, 10, 0.0)] == [2, 3, 4]


async def test_a_reader_waits_for_news(board: Board) -> None:
    rows = await some_rows()
    reading = asyncio.create_task(board.tail(0, 10, 5.0))
    await asyncio.sleep(0.02)
    await board.publish(batch(rows, None))
    assert len(await reading) == 4


async def test_p12_redis_keeps_so_many_events(redis_url: str) -> None:
    (row, *_) = await some_rows()
    async with Redis.from_url(redis_url) as redis:
        board = RedisBoard(redis, lambda op, outcome: None, kept=100)
        place = None
        for first in range(1, 2_001, 500):
            rows = [replace(row, seq=seq) for seq in range(first, first + 500)]
            assert await board.publish(batch(rows, place))
            place = batch(rows, place).place
        kept = await board.tail(0, 3_000, 0.0)
        assert 100 <= len(kept) < 300
        assert kept[-1].seq == 2_000


def members(union: object) -> list[type]:
    parts = get_args(union)
    return [cls for part in parts for cls in members(part)] if parts else [union]  # type: ignore[list-item]


def test_nothing_to_act_with_is_shown() -> None:
    """Every event whose text can hold signed bytes or code is one that is covered."""
    from pydantic import TypeAdapter

    telling = set()
    for cls in members(Event):
        schema = str(TypeAdapter(cls).json_schema())
        if any(f"'{name}': {{" in schema for name in ("raw", "code")):
            telling.add(cls)
    # The code of a step held back is the reason's.
    assert telling - {StepHeld} == {AttemptPrepared, AttemptBumped, StrategyStarted}
    started = StrategyStarted(source="s.py:S", code="import os", params="{}", principal="alice")
    for event in (
        AttemptPrepared(attempt=an_attempt()),
        AttemptBumped(signed=signed("0x03")),
        started,
    ):
        row = Recorded(
            seq=1,
            stream_id="s",
            version=1,
            event=event,
            at=NOW,
            correlation_id=new_id(),
            causation_id=None,
            previous_hash=b"1",
            hash=b"2",
        )
        text = str(shown(row))
        assert NOT_SHOWN in text
        assert "0x02'" not in text
        assert "import os" not in text


async def test_each_event_of_an_intent_leads_to_one_state() -> None:
    assert all(REACHED[event] is status for (_, event), status in TRANSITIONS.items())
    store = MemoryStore(ManualClock(NOW))
    submission = a_submission(strategy_id="s")
    await store.accept([submission], NOW)
    record = accepted(submission.intent)
    ended = IntentCompleted(reason=Reason.FILLED, sold=1, bought=2)
    await store.commit(commit(then(record, ended)))
    name, group = submission.intent.id, Group(strategy_id="s", chain_id=1, type="ACQUIRE")
    rows = await store.tail(0, 10, 0.0)
    assert [move_of(row) for row in rows] == [
        moved(name, 1, Status.ACCEPTED, group),
        moved(name, 2, Status.COMPLETED),
    ]
