"""The HTTP interface on the real database and the real Redis."""

import asyncio
import itertools
from contextlib import asynccontextmanager

import httpx
import pytest
from redis.asyncio import Redis

from sep_ray.adapters import metrics
from sep_ray.adapters.postgres import PostgresStore
from sep_ray.kernel.clock import SystemClock
from sep_ray.kernel.ids import SystemIds
from serve_app.auth import Role, Tokens
from serve_app.health import Probe
from serve_app.limits import Limiter, RedisWindow
from tests.fixtures.api import ACQUIRE, SECRET, bench, listening, problem_of


@asynccontextmanager
async def durable(url, redis_url, limit=1_000_000, **parts):
    """Run the interface on a migrated database, with the wall clock."""
    clock = SystemClock()
    store = await PostgresStore.connect(url, clock=clock)
    try:
        async with Redis.from_url(redis_url, socket_timeout=0.25) as redis:
            limiter = Limiter(RedisWindow(redis), limit)
            made = {"clock": clock, "ids": SystemIds(clock), "limiter": limiter, **parts}
            async with bench(store, tokens=Tokens(SECRET, clock), **made) as api:
                api.tokens = Tokens(SECRET, clock)
                yield api
    finally:
        await store.close()


@pytest.fixture
async def database(fresh_database):
    url = fresh_database()
    await PostgresStore.migrate(url)
    return url


async def test_p1_what_was_accepted_is_there_for_everybody(database, redis_url):
    async with (
        durable(database, redis_url) as api,
        listening(api.app) as url,
        httpx.AsyncClient(
            base_url=url, headers=api.auth(), trust_env=False, timeout=60.0
        ) as client,
    ):
        answers = await asyncio.gather(
            *(client.post("/v1/intents", json=ACQUIRE) for _ in range(150))
        )
        assert {answer.status_code for answer in answers} == {202}
        names = {answer.json()["id"] for answer in answers}
        assert len(names) == 150
        other = await PostgresStore.connect(database, clock=SystemClock())
        try:
            rows = await other.tail(0, 1_000, 0.0)
            assert {str(row.correlation_id) for row in rows} == names
            assert await other.broken_links(10) == ()
        finally:
            await other.close()


async def test_the_same_key_from_many_at_once_is_done_once(database, redis_url):
    async with durable(database, redis_url) as api:
        sent = api.auth() | {"Idempotency-Key": "k"}
        answers = await asyncio.gather(
            *(api.client.post("/v1/intents", json=ACQUIRE, headers=sent) for _ in range(40))
        )
        assert len({answer.json()["id"] for answer in answers}) == 1
        verdicts = sorted(answer.json()["verdict"] for answer in answers)
        assert verdicts == ["accepted"] + ["repeated"] * 39


async def test_a_batch_is_listed_page_by_page(database, redis_url):
    async with durable(database, redis_url) as api:
        bodies = [ACQUIRE | {"amount": str(n)} for n in range(1, 1_001)]
        answer = await api.client.post(
            "/v1/intents/batch", json={"intents": bodies}, headers=api.auth()
        )
        assert answer.status_code == 202
        names = [each["id"] for each in answer.json()["verdicts"]]
        seen, cursor = [], None
        while True:
            query = {"limit": 200} | ({"cursor": cursor} if cursor else {})
            page = await api.client.get("/v1/intents", params=query, headers=api.auth())
            seen += [each["id"] for each in page.json()["intents"]]
            cursor = page.json()["next"]
            if cursor is None:
                break
        assert seen == names[::-1]


async def test_the_limit_holds_over_replicas(database, redis_url):
    async with (
        durable(database, redis_url, limit=10) as first,
        durable(database, redis_url, limit=10) as second,
    ):
        replicas = itertools.cycle([first, second])
        answers = await asyncio.gather(
            *(
                next(replicas).client.post("/v1/intents", json=ACQUIRE, headers=first.auth())
                for _ in range(24)
            )
        )
        assert sum(answer.status_code == 202 for answer in answers) == 10
        refused = [answer for answer in answers if answer.status_code != 202]
        for answer in refused:
            problem_of(answer, 429, "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 62
        assert len(await first.events()) == 10


def count(outcome):
    return metrics.redis_operations.labels("limit", outcome)._value.get()


async def test_submissions_go_on_without_redis(database, unused_tcp_port):
    before = count("error")
    async with durable(database, f"redis://127.0.0.1:{unused_tcp_port}", limit=5) as api:
        answers = [
            await api.client.post("/v1/intents", json=ACQUIRE, headers=api.auth()) for _ in range(7)
        ]
        assert [answer.status_code for answer in answers] == [202] * 5 + [429] * 2
        assert count("error") > before


async def test_no_database_is_an_answer(database, redis_url, postgres):
    async def ask():
        raise ConnectionError

    async with durable(database, redis_url, probes={"postgres": Probe(ask=ask)}) as api:
        assert (await api.client.get("/health")).status_code == 503
        assert (await api.client.get("/health")).json()["services"]["postgres"]["state"] == "down"


async def test_the_stream_follows_what_others_write(database, redis_url):
    from websockets.asyncio.client import connect

    async with (
        durable(database, redis_url) as one,
        durable(database, redis_url) as other,
        listening(one.app) as url,
    ):
        address = f"{url.replace('http', 'ws', 1)}/v1/stream?after=0"
        async with connect(address, additional_headers=one.auth(Role.VIEWER)) as socket:
            for replica in (other, one, other):
                answer = await replica.client.post("/v1/intents", json=ACQUIRE, headers=one.auth())
                async with asyncio.timeout(5):
                    assert answer.json()["id"] in await socket.recv()
