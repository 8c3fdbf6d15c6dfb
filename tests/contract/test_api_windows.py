"""One suite for both places where submissions are counted: this process, and Redis."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from serve_app.limits import WINDOW_S, Limiter, LocalWindow, RedisWindow
from serve_app.problems import Problem


@pytest.fixture(params=["local", "redis"])
async def window(request):
    if request.param == "local":
        yield LocalWindow()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield RedisWindow(redis)


async def test_grants_up_to_the_limit_and_not_one_more(window):
    assert [await window.take("a", 1, 10) for _ in range(10)] == [0] * 10
    wait = await window.take("a", 1, 10)
    assert WINDOW_S - 2 <= wait <= WINDOW_S


async def test_grants_all_or_nothing(window):
    assert await window.take("a", 7, 10) == 0
    assert await window.take("a", 4, 10) > 0
    assert await window.take("a", 3, 10) == 0


async def test_counts_each_name_by_itself(window):
    assert await window.take("a", 10, 10) == 0
    assert await window.take("b", 10, 10) == 0


async def test_many_at_once_are_counted_once_each(window):
    waits = await asyncio.gather(*(window.take("a", 1, 25) for _ in range(60)))
    assert sum(wait == 0 for wait in waits) == 25


async def test_what_is_old_counts_no_more(window, monkeypatch):
    monkeypatch.setattr("serve_app.limits.WINDOW_S", 2)
    assert await window.take("a", 3, 3) == 0
    wait = await window.take("a", 1, 3)
    assert 1 <= wait <= 2
    deadline = time.monotonic() + 5
    while await window.take("a", 3, 3):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_redis_keeps_no_more_than_the_window(redis_url, monkeypatch):
    monkeypatch.setattr("serve_app.limits.WINDOW_S", 1)
    async with Redis.from_url(redis_url) as redis:
        window = RedisWindow(redis)
        for _ in range(3):
            await window.take("a", 1, 1_000)
            await asyncio.sleep(0.7)
        assert await redis.hlen("sep:submissions:a") <= 2
        assert 0 < await redis.ttl("sep:submissions:a") <= 2


async def test_two_replicas_share_one_limit(redis_url):
    async with Redis.from_url(redis_url) as first, Redis.from_url(redis_url) as second:
        limiters = [Limiter(RedisWindow(redis), 10) for redis in (first, second)]
        granted = 0
        for number in range(30):
            try:
                await limiters[number % 2].take("alice", 1)
                granted += 1
            except Problem:
                continue
        assert granted == 10


async def test_a_high_limit_is_counted_in_advance_and_never_exceeded(redis_url):
    async with Redis.from_url(redis_url) as redis:
        limiters = [Limiter(RedisWindow(redis), 5_000) for _ in range(2)]
        granted = 0
        for number in range(6_000):
            try:
                await limiters[number % 2].take("alice", 1)
                granted += 1
            except Problem:
                continue
        assert 4_980 <= granted <= 5_000


async def test_those_who_come_together_take_one_advance(redis_url):
    async with Redis.from_url(redis_url) as redis:
        limiter = Limiter(RedisWindow(redis), 10_000)
        await asyncio.gather(*(limiter.take("alice", 1) for _ in range(8)))
        counted = await redis.hvals("sep:submissions:alice")
        assert sum(map(int, counted)) == 10


async def test_without_redis_each_replica_counts_by_itself(unused_tcp_port):
    async with Redis.from_url(
        f"redis://127.0.0.1:{unused_tcp_port}", socket_connect_timeout=0.2
    ) as redis:
        limiter = Limiter(RedisWindow(redis), 10)
        for _ in range(10):
            await limiter.take("alice", 1)
        with pytest.raises(Problem) as refused:
            await limiter.take("alice", 1)
        assert refused.value.code == "rate_limited"
