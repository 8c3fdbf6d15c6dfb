"""Publishers and readers while boards are lost, emptied, away and fought over."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID

import pytest

from sep_ray.adapters.memory import MemoryBoard, MemoryStore
from sep_ray.engine import publishing
from sep_ray.engine.publishing import Publisher, summed
from sep_ray.intent.states import (
    IntentCancelRequested,
    IntentCompleted,
    IntentDecomposed,
    IntentEvent,
    IntentExpired,
    IntentRecord,
    IntentReopened,
    Reason,
    Status,
)
from sep_ray.journal.board import Batch, Place, shown
from sep_ray.journal.records import Recorded
from sep_ray.kernel.clock import ManualClock
from sep_ray.kernel.errors import Transient
from serve_app.following import Following
from tests.fixtures.records import NOW, a_submission, commit, then
from tests.unit.test_api_stream import until

DECOMPOSED = IntentDecomposed(score=0.5, score_source="model", why="", steps=1)
COMPLETED = IntentCompleted(reason=Reason.FILLED, sold=1, bought=1)
NEXT: dict[Status, tuple[IntentEvent, ...]] = {
    Status.ACCEPTED: (DECOMPOSED, IntentExpired(reason=Reason.DEADLINE)),
    Status.ACTIVE: (COMPLETED, IntentCancelRequested(principal="alice")),
    Status.CANCELLING: (COMPLETED,),
    Status.COMPLETED: (IntentReopened(block_hash="0x01"),),
}


class Faulty(MemoryBoard):
    """Is away now and then: before it did what was asked, or after."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(kept=40)
        self.chance = chance
        self.share = 0.0

    async def place(self) -> Place | None:
        self._maybe()
        return await super().place()

    async def publish(self, batch: Batch) -> bool:
        self._maybe()
        done = await super().publish(batch)
        self._maybe()
        return done

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        self._maybe()
        return await super().tail(after, limit, min(wait_s, 0.001))

    def _maybe(self) -> None:
        if self.chance.random() < self.share:
            raise Transient("away")


class Desk:
    """A journal in which intents go all ways they can."""

    def __init__(self, chance: random.Random) -> None:
        self.store = MemoryStore(ManualClock(NOW))
        self.chance = chance
        self.ids: list[UUID] = []

    async def work(self) -> None:
        if not self.ids or self.chance.random() < 0.3:
            submission = a_submission(strategy_id=self.chance.choice(["one", "two words"]))
            self.ids.append(submission.intent.id)
            await self.store.accept([submission], NOW)
            return
        record = await self.store.intent(self.chance.choice(self.ids))
        assert record is not None
        await self._move(record)

    async def _move(self, record: IntentRecord) -> None:
        ways = NEXT.get(record.status, ())
        if ways:
            await self.store.commit(commit(then(record, self.chance.choice(ways))))


async def attempt(publisher: Publisher) -> int:
    try:
        return await publisher.turn(0.0)
    except Transient:
        publisher._place = None  # what `run` does
        return 0


@pytest.mark.parametrize("seed", range(8))
async def test_p11_a_board_is_made_anew_and_readers_miss_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushes, faults and two publishers at once: in the end the board says what the journal
    does, and a reader that fell back and came again saw every event once (P11)."""
    monkeypatch.setattr(publishing, "BATCH", 7)
    chance = random.Random(seed)
    desk, board = Desk(chance), Faulty(chance)
    publishers = [Publisher(desk.store, board) for _ in range(2)]
    time = [0.0]
    feed = Following(desk.store, board, lambda: time[0])
    seen: list[Recorded] = []
    for _ in range(400):
        board.share = 0.1
        await desk.work()
        dice = chance.random()
        if dice < 0.02:
            board.forget()
        if dice < 0.05:
            publishers[chance.randrange(2)] = Publisher(desk.store, board)
        if dice < 0.5:
            await attempt(chance.choice(publishers))
        if dice > 0.6:
            seen += map(shown, await feed.tail(len(seen), 5, 0.001))
        time[0] += 0.3
    board.share = 0.0
    while await board.place() != await publishers[0]._at(await desk.store.newest()):
        await attempt(publishers[0])
    while rows := await feed.tail(len(seen), 50, 0.001):
        seen += map(shown, rows)
    assert await board.summary() == await summed(desk.store)
    journal = await desk.store.tail(0, 10_000, 0.0)
    assert seen == list(map(shown, journal))
    kept = await board.tail(0, 10_000, 0.0)
    assert kept == tuple(map(shown, journal))[len(journal) - len(kept) :]
    assert {IntentReopened, IntentCompleted} < {type(row.event) for row in journal}


async def test_another_journals_board_is_made_anew() -> None:
    board = MemoryBoard()
    for _ in range(2):
        store = MemoryStore(ManualClock(NOW))
        await store.accept([a_submission() for _ in range(3)], NOW)
        publisher = Publisher(store, board)
        await publisher.turn(0.0)
        assert publisher.seq == 3
        assert await board.place() == await publisher._at(3)
        assert await board.summary() == await summed(store)


async def test_it_waits_for_a_board_that_is_away_and_stops_when_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWAY_S", "IDLE_S"):
        monkeypatch.setattr(publishing, name, 0.01)
    store, board = MemoryStore(ManualClock(NOW)), Faulty(random.Random(1))
    board.share = 1.0
    publisher, stop = Publisher(store, board), asyncio.Event()
    running = asyncio.create_task(publisher.run(stop))
    await until(lambda: publisher.trouble == "away")
    await store.accept([a_submission()], NOW)
    board.share = 0.0
    await until(lambda: publisher.seq == 1)
    board.forget()
    await until(lambda: board._place is not None)
    assert publisher.trouble == ""
    stop.set()
    await running
