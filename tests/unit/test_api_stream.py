"""The event stream: everything once and in order, from wherever a client left off."""

import asyncio
import contextlib
import json
import time

from sep_ray.adapters.evm.addresses import TOKENS
from sep_ray.adapters.memory import MemoryStore
from sep_ray.decomposition.step import StepFilled
from sep_ray.kernel.clock import ManualClock, Millis
from sep_ray.kernel.errors import Transient
from serve_app.assets import AssetBook
from serve_app.auth import Principal, Role
from serve_app.stream import Client, Hub, Wanted
from tests.fixtures.api import NOW, bench
from tests.fixtures.records import a_submission, new_id
from tests.unit.test_api_read import filled

BOOK = AssetBook(TOKENS.values(), [1, 42161])
EVERYTHING = Principal(name="v", role=Role.VIEWER, expires_at=Millis(NOW + 10**9))


class Socket:
    """A client: keeps what it is sent; may be slow, may leave."""

    def __init__(self):
        self.sent = []
        self.closed = None
        self.left = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def send_text(self, data):
        await self.gate.wait()
        self.sent.append(data)

    async def receive(self):
        await self.left.wait()
        return {"type": "websocket.disconnect"}

    async def close(self, code=1000, reason=None):
        self.closed = (code, reason)

    def seqs(self):
        events = map(json.loads, self.sent)
        return [event["seq"] for event in events if event["type"] != "heartbeat"]


async def until(check, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def hub(store=None):
    store = store or MemoryStore(ManualClock(NOW))
    made = Hub(store, BOOK)
    await made.start()
    try:
        yield store, made
    finally:
        await made.close()


async def accept(store, count, **fields):
    await store.accept([a_submission(**fields) for _ in range(count)], NOW)


@contextlib.asynccontextmanager
async def client(store, made, after=0, principal=EVERYTHING, wanted=None, left_s=lambda: 3_600):
    socket = Socket()
    served = Client(socket, store, made, BOOK, principal, wanted or Wanted())
    task = asyncio.create_task(served.serve(after, left_s))
    try:
        yield socket, task
    finally:
        socket.gate.set()
        socket.left.set()
        await task


async def test_replay_and_live_meet_without_gap_or_repetition():
    async with hub() as (store, made):
        await accept(store, 3_000)
        async with client(store, made, 3_000) as (early, _):
            for number in range(1, 6):  # the hub keeps these; what is older is in the journal
                await accept(store, 100)
                await until(lambda count=number * 100: len(early.sent) == count)
            async with client(store, made) as (socket, _), client(store, made, 3_400) as (late, _):
                await accept(store, 50)
                await until(lambda: len(socket.sent) >= 3_550 and len(late.sent) >= 150)
                await accept(store, 50)
                await until(lambda: len(socket.sent) >= 3_600)
                assert socket.seqs() == list(range(1, 3_601))
                assert late.seqs() == list(range(3_401, 3_601))


async def test_who_comes_late_reads_whole_tokens_too():
    async with bench() as api:
        await filled(api)
        rows = await api.events()
        filling = next(row.seq for row in rows if isinstance(row.event, StepFilled))
        made = Hub(api.store, BOOK)
        await made.start()
        async with client(api.store, made, filling - 1) as (socket, _):
            await until(lambda: socket.sent)
        await made.close()
        assert "3000 USDC sold, 0.999 WETH bought" in json.loads(socket.sent[0])["words"]


async def test_the_journal_is_followed_only_while_somebody_listens():
    async with hub() as (store, made):
        await accept(store, 10)
        await asyncio.sleep(0.02)
        assert made.seq == 0
        for after in (10, 0, 5):
            async with client(store, made, after) as (socket, _):
                await until(lambda left=10 - after, sent=socket.sent: len(sent) >= left)
                await accept(store, 1)
                newest = await store.newest()
                await until(lambda last=newest: made.seq == last)
            assert socket.seqs()[: newest - after] == list(range(after + 1, newest + 1))


async def test_nothing_is_lost_while_clients_come_and_go():
    async with hub() as (store, made):
        seen = []
        for _ in range(20):
            async with client(store, made, seen[-1] if seen else 0) as (socket, _):
                await accept(store, 37)
                await until(lambda sent=socket.sent: len(sent) >= 5)
            seen += socket.seqs()
        newest = await store.newest()
        async with client(store, made, seen[-1]) as (socket, _):
            await until(lambda: (seen + socket.seqs())[-1] == newest)
        assert seen + socket.seqs() == list(range(1, newest + 1))


async def test_p12_a_slow_client_is_told_where_to_resume(monkeypatch):
    monkeypatch.setattr("serve_app.stream.QUEUE", 10)
    async with hub() as (store, made), client(store, made) as (slow, task):
        await accept(store, 2)
        await until(lambda: len(slow.sent) == 2)
        slow.gate.clear()
        async with client(store, made, 2) as (quick, _):
            for number in range(30):
                await accept(store, 1)
                await until(lambda count=number + 1: len(quick.seqs()) == count)
            slow.gate.set()
            await task
            code, reason = slow.closed
            assert code == 1013
            assert reason == f"too slow; resume with after={slow.seqs()[-1]}"
            assert len(quick.seqs()) == 30


async def test_a_restart_closes_with_a_word():
    async with hub() as (store, made), client(store, made) as (socket, task):
        await accept(store, 1)
        await until(lambda: socket.sent)
        await made.close()
        await task
        assert socket.closed == (1012, "restarting; resume with after=1")


async def test_a_token_that_ends_ends_the_stream():
    left = [3_600.0]
    async with (
        hub() as (store, made),
        client(store, made, left_s=lambda: left[0]) as (socket, task),
    ):
        await accept(store, 1)
        await until(lambda: socket.sent)
        left[0] = 0.0
        await accept(store, 1)
        await task
        assert socket.closed[0] == 1008


async def test_filters_by_intent_and_kind():
    async with hub() as (store, made):
        await accept(store, 3)
        name = new_id()
        await store.accept([a_submission(id=name)], NOW)
        async with (
            client(store, made, wanted=Wanted(intent_id=name)) as (one, _),
            client(store, made, wanted=Wanted(kinds=frozenset({"StepFilled"}))) as (none, _),
        ):
            await until(lambda: one.sent)
            assert one.seqs() == [4]
            assert none.seqs() == []


async def test_a_token_for_one_strategy_sees_its_events_only():
    mine = Principal(
        name="v", role=Role.VIEWER, expires_at=EVERYTHING.expires_at, strategies=frozenset({"mine"})
    )
    async with hub() as (store, made):
        await accept(store, 2, strategy_id="other")
        await accept(store, 1, strategy_id="mine")
        async with client(store, made, principal=mine) as (socket, _):
            await until(lambda: socket.sent)
            await accept(store, 1, strategy_id="other")
            await accept(store, 1, strategy_id="mine")
            await until(lambda: len(socket.sent) == 2)
            assert socket.seqs() == [3, 5]


class Flaky(MemoryStore):
    """A store that is away for a while."""

    away = 0

    async def tail(self, after, limit, wait_s):
        if self.away:
            self.away -= 1
            raise Transient("the database restarts")
        return await super().tail(after, limit, min(wait_s, 0.05))


async def test_the_stream_goes_on_after_the_database_was_away(monkeypatch):
    monkeypatch.setattr("serve_app.stream.PAUSE_S", 0.01)
    store = Flaky(ManualClock(NOW))
    async with hub(store) as (_, made), client(store, made) as (socket, _):
        await until(lambda: made.watched)
        store.away = 5
        await accept(store, 2)
        await until(lambda: socket.seqs() == [1, 2])


async def test_an_idle_stream_says_where_it_stands(monkeypatch):
    monkeypatch.setattr("serve_app.stream.HEARTBEAT_S", 0.02)
    async with hub() as (store, made):
        await accept(store, 1)
        async with client(store, made, after=1) as (socket, _):
            await until(lambda: '{"type":"heartbeat","seq":1}' in socket.sent)
