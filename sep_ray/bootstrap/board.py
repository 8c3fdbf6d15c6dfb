"""The board from settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sep_ray.adapters import metrics
from sep_ray.adapters.redis import RedisBoard

CONNECT_S: Final = 0.25
ANSWER_S: Final = 3.0
"""Longer than anybody waits for news in one call."""


@asynccontextmanager
async def open_board(url: SecretStr) -> AsyncIterator[RedisBoard]:
    """Reach the board in Redis, which need not answer yet, and close the connections at the end."""
    redis = Redis.from_url(
        url.get_secret_value(),
        socket_timeout=ANSWER_S,
        socket_connect_timeout=CONNECT_S,
        retry=Retry(NoBackoff(), 1),
    )
    try:
        yield RedisBoard(redis, _count)
    finally:
        await redis.aclose()


def _count(op: str, outcome: str) -> None:
    metrics.redis_operations.labels(op, outcome).inc()
