"""A process of the platform, as far as the simulation is concerned: it can pause and die."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, NoReturn

from sep_ray.kernel.points import Point
from sep_ray.simulation.weather import Weather

YIELDS: Final = 0.35
"""How many of the calls that take no time let others run before them."""
HERE: ContextVar[Process | None] = ContextVar("process", default=None)


class Crash(BaseException):
    """The process is gone; nothing of it does anything any more."""


class Process:
    """One process: everything it asks of the world goes `through` it."""

    def __init__(self, name: str, weather: Weather, chance: random.Random) -> None:
        self.name = name
        self.dead = False
        self.dies_at: Point | None = None
        self._weather = weather
        self._chance = chance
        self._calls_left = -1
        self._dies_after = False
        self._awake: asyncio.Event | None = None

    def doom(self, calls: int, *, after: bool) -> None:
        """Let it die at its so-many-th call from now, before or after the call's effect."""
        self._calls_left, self._dies_after = calls, after

    def kill(self) -> None:
        """End it from outside; it notices at its next call."""
        self.dead = True
        self.wake()

    def die(self) -> NoReturn:
        """End it from inside, here and now."""
        self.kill()
        raise Crash(self.name)

    def pause(self) -> None:
        """Stop it at its next call, as a machine under memory pressure does."""
        if self._awake is None:
            self._awake = asyncio.Event()

    def wake(self) -> None:
        """Let it go on as if nothing had happened."""
        if self._awake is not None:
            self._awake.set()
            self._awake = None

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self._awake is not None

    async def through(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do a call for it: with latency, with a pause, or not at all."""
        if (pause := self._pause()) is not None:
            await pause
        self._calls_left -= 1
        if self._calls_left == 0 and not self._dies_after:
            self.die()
        result = await call(*args, **kwargs)
        if self._calls_left == 0 and self._dies_after:
            self.die()
        if self._chance.random() < self._weather.latency:
            pause = self._pause()
            if pause is not None:
                await pause
        return result

    def _pause(self) -> Coroutine[Any, Any, None] | None:
        """Return what a call has to wait for, None if it need not; Crash when it is dead."""
        if self.dead:
            raise Crash(self.name)
        luck = self._chance.random()
        if luck < self._weather.latency:
            return self._rest(self._chance.random() ** 3)
        if luck > 1 - YIELDS or self._awake is not None:
            return self._rest(0.0 if luck > 1 - YIELDS else None)
        return None

    async def _rest(self, seconds: float | None) -> None:
        """Let time pass or others have a turn; then stand still for as long as it is paused."""
        if seconds is not None:
            await asyncio.sleep(seconds)
        if self._awake is not None:
            await self._awake.wait()
        if self.dead:
            raise Crash(self.name)


class Gated:
    """Anything, with its coroutine methods going through a process."""

    def __init__(self, inner: Any, process: Process) -> None:
        self._inner = inner
        self._process = process

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found
        through = self._process.through

        def gated(*args: Any, **kwargs: Any) -> Any:
            return through(found, *args, **kwargs)

        setattr(self, name, gated)
        return gated


def heard(point: Point) -> None:
    """End the process that has reached the point it is to die at."""
    process = HERE.get()
    if process is not None and process.dies_at is point:
        process.die()
