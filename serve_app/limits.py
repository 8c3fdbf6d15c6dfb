"""How often a principal may submit: at most N in any minute, counted in Redis over all replicas.

When Redis does not answer, each replica counts by itself under the same limit: a cache that is
down must neither stop trading nor take the limit away. Every call is counted by its outcome.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final, Protocol, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sep_ray.adapters import metrics
from serve_app.problems import Problem

WINDOW_S: Final = 62
"""A minute, the second being counted, and the second for which permits are held in advance."""
HELD_S: Final = 1.0
REST_S: Final = 1.0
"""After a failure Redis is left alone for so long."""
LUA: Final = files("serve_app").joinpath("window.lua").read_text()

log = structlog.get_logger()


class Window(Protocol):
    """Counts what was granted to each principal over the last WINDOW_S seconds."""

    async def take(self, name: str, wanted: int, limit: int) -> int:
        """Grant `wanted` and return 0, or grant nothing and return the seconds to wait."""


class LocalWindow:
    """Counts in this process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._counts: dict[str, dict[int, int]] = {}

    async def take(self, name: str, wanted: int, limit: int) -> int:
        now = int(self._now())
        counts = self._counts.setdefault(name, {})
        for second in [s for s in counts if s <= now - WINDOW_S]:
            del counts[second]
        free = limit - sum(counts.values())
        if wanted <= free:
            counts[now] = counts.get(now, 0) + wanted
            return 0
        for second in sorted(counts):
            free += counts[second]
            if free >= wanted:
                return max(1, second + WINDOW_S - now)
        return WINDOW_S


class RedisWindow:
    """Counts in Redis, by Redis's clock, in one round trip; raises what the client raises."""

    def __init__(self, redis: Redis, prefix: str = "sep:submissions:") -> None:
        self._prefix = prefix
        self._script = redis.register_script(LUA)

    async def take(self, name: str, wanted: int, limit: int) -> int:
        run = cast(
            Awaitable[list[int]], self._script([self._prefix + name], [limit, wanted, WINDOW_S])
        )
        granted, wait = await run
        return 0 if granted else wait


@dataclass(slots=True)
class _Permits:
    """What a principal may still submit without asking again; one at a time asks for more."""

    left: int = 0
    until: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def spend(self, wanted: int, now: float) -> bool:
        """Take from what is left, or nothing and False."""
        if wanted > self.left or now >= self.until:
            return False
        self.left -= wanted
        return True


class Limiter:
    """Takes permits from the shared window, from the local one while the shared one fails.

    Under a high limit permits are taken in advance, a thousandth of the limit at a time, so that
    most submissions cost no round trip; what is not used within a second is given up. The limit
    itself is never exceeded.
    """

    def __init__(
        self,
        shared: Window | None,
        limit: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._local = LocalWindow(now)
        self._limit = limit
        self._now = now
        self._rests_until = 0.0
        self._permits: dict[str, _Permits] = {}

    async def take(self, name: str, wanted: int) -> None:
        """Count `wanted` submissions, or raise a 429 Problem that says when to come back."""
        if wanted > self._limit:
            raise Problem.of_field(
                "intents",
                "are more than may be submitted in a minute",
                f"1..{self._limit}",
                "rate_limited",
            )
        permits = self._permits.get(name)
        if permits is None:
            permits = self._permits[name] = _Permits()
        if permits.spend(wanted, self._now()):
            return
        async with permits.asking:
            if not permits.spend(wanted, self._now()):
                await self._ask(name, wanted, permits)

    async def _ask(self, name: str, wanted: int, permits: _Permits) -> None:
        """Take what is wanted from the window, and more in advance where it has that."""
        advance = max(wanted, self._limit // 1_000)
        wait = await self._take(name, advance)
        if wait and advance > wanted:
            advance, wait = wanted, await self._take(name, wanted)
        if wait:
            raise Problem(
                "rate_limited",
                f"{self._limit} submissions a minute are allowed; try again in {wait} s",
                headers={"Retry-After": str(wait)},
            )
        if advance > wanted:
            permits.left, permits.until = advance - wanted, self._now() + HELD_S

    async def _take(self, name: str, wanted: int) -> int:
        if self._shared is None or self._now() < self._rests_until:
            return await self._local.take(name, wanted, self._limit)
        try:
            wait = await self._shared.take(name, wanted, self._limit)
        except (RedisError, OSError, TimeoutError) as error:
            metrics.redis_operations.labels("limit", "error").inc()
            log.warning("limits_counted_locally", error=type(error).__name__)
            self._rests_until = self._now() + REST_S
            return await self._local.take(name, wanted, self._limit)
        metrics.redis_operations.labels("limit", "ok").inc()
        return wait
