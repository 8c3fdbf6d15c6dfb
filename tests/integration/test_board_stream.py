"""The live stream over a real Redis that is emptied and killed, and counts that outlive it."""

import asyncio
import contextlib

import pytest
import redis
from pydantic import SecretStr

from sep_ray.adapters.memory import MemoryStore
from sep_ray.bootstrap.board import open_board
from sep_ray.devnet.valkey import EmbeddedValkey
from sep_ray.engine.publishing import Publisher, summed
from sep_ray.kernel.clock import ManualClock
from serve_app.auth import Role
from serve_app.following import Following
from serve_app.stream import Hub
from tests.fixtures.api import NOW, bench
from tests.unit.test_api_stream import BOOK, accept, client, until


@pytest.fixture
def server(tmp_path):
    """A Valkey of its own, to be killed."""
    embedded = EmbeddedValkey(tmp_path, die_with_starter=True)
    embedded.start()
    yield embedded
    embedded.stop()


class Counted:
    """A journal as a replica sees it, which counts how often it is read."""

    def __init__(self, store):
        self._store = store
        self.reads = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def tail(self, after, limit, wait_s):
        self.reads += 1
        return await self._store.tail(after, limit, wait_s)


@contextlib.asynccontextmanager
async def publishing(store, server):
    """Two publishers, as in two clusters at once."""
    stop = asyncio.Event()
    async with (
        open_board(SecretStr(server.url())) as board,
        open_board(SecretStr(server.url())) as other,
    ):
        publishers = [Publisher(store, board), Publisher(store, other)]
        running = [asyncio.create_task(each.run(stop)) for each in publishers]
        try:
            yield board, publishers
        finally:
            stop.set()
            await asyncio.gather(*running)


@contextlib.asynccontextmanager
async def following(store, board):
    """The hub of a replica."""
    hub = Hub(Following(store, board), BOOK)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.close()


async def test_p11_a_flush_and_a_kill_lose_and_repeat_nothing(server, monkeypatch):
    monkeypatch.setattr("serve_app.following.REST_S", 0.2)
    monkeypatch.setattr("serve_app.following.NEAR_S", 0.2)
    monkeypatch.setattr("sep_ray.engine.publishing.IDLE_S", 0.1)
    monkeypatch.setattr("sep_ray.engine.publishing.AWAY_S", 0.1)
    store = MemoryStore(ManualClock(NOW))
    async with (
        publishing(store, server) as (board, publishers),
        following(store, board) as hub,
        client(store, hub) as (socket, _),
    ):
        await until(lambda: hub.watched)
        for round_ in range(12):
            await accept(store, 40)
            if round_ % 4 == 1:
                with redis.Redis.from_url(server.url()) as admin:
                    admin.flushall()
            if round_ % 4 == 3:
                await asyncio.to_thread(server.kill)
                await accept(store, 10)
                await until(lambda: any(each.trouble for each in publishers))
                await asyncio.to_thread(server.start)
            await accept(store, 3)
            newest = await store.newest()
            await until(lambda last=newest: socket.sent and socket.seqs()[-1] == last)
        assert socket.seqs() == list(range(1, newest + 1))
        await until(lambda: {each.seq for each in publishers} == {newest}, 20.0)
        assert await board.summary() == await summed(store)


async def test_clients_are_served_by_the_board_alone_while_it_works(server):
    store = MemoryStore(ManualClock(NOW))
    async with publishing(store, server) as (board, publishers):
        journal = Counted(store)
        await accept(store, 5)
        await until(lambda: {each.seq for each in publishers} == {5})
        async with following(journal, board) as hub, client(store, hub, after=5) as (socket, _):
            await until(lambda: hub.watched)
            for _ in range(5):
                await accept(store, 20)
                newest = await store.newest()
                await until(lambda last=newest: socket.sent and socket.seqs()[-1] == last)
            assert socket.seqs() == list(range(6, newest + 1))
            assert journal.reads == 0


async def test_open_intents_are_counted_with_and_without_the_board(server):
    store = MemoryStore(ManualClock(NOW))
    async with publishing(store, server) as (board, publishers), bench(store, board=board) as api:
        for strategy in ("one", "one", "two"):
            await api.submit(strategy_id=strategy)
        await until(lambda: {each.seq for each in publishers} == {3})
        common = {"chain_id": 1, "type": "ACQUIRE", "state": "ACCEPTED"}
        counts = [
            {"strategy_id": "one", **common, "count": 2},
            {"strategy_id": "two", **common, "count": 1},
        ]

        async def answer(**more):
            headers = api.auth(Role.VIEWER, **more)
            found = await api.client.get("/v1/intents/summary", headers=headers)
            assert found.status_code == 200
            return found.json()

        assert await answer() == {"as_of_seq": 3, "behind": 0, "open": counts}
        assert (await answer(strategies=["two"]))["open"] == counts[1:]
        await asyncio.to_thread(server.kill)
        await api.submit(strategy_id="two")
        counts[1]["count"] = 2
        assert await answer() == {"as_of_seq": 4, "behind": 0, "open": counts}
        await asyncio.to_thread(server.start)
        await until(lambda: {each.seq for each in publishers} == {4}, 20.0)
        assert await answer() == {"as_of_seq": 4, "behind": 0, "open": counts}
