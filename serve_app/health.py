"""How each service is, asked of the service itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sep_ray.kernel.clock import Clock, Millis
from serve_app.answers import HealthAnswer, ServiceAnswer

TIMEOUT_S: Final = 2.0
FRESH_MS: Final = 500
"""An answer is given again for so long: asking often costs the services nothing."""


class Down(Exception):
    """A service answered that it does not work; the message is fit for anybody to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Asks one service; the answer is a short detail, an exception means it is down.

    Without a `needed` service no intent can be accepted and carried out; without the others the
    platform works on, more slowly or by formula.
    """

    ask: Callable[[], Awaitable[str]]
    needed: bool = True


class Health:
    """Asks all services at once."""

    def __init__(self, probes: Mapping[str, Probe], clock: Clock) -> None:
        self._probes = probes
        self._clock = clock
        self._last: tuple[Millis, HealthAnswer] | None = None
        self._lock = asyncio.Lock()

    async def answer(self) -> HealthAnswer:
        """Return how everything is; at most FRESH_MS old."""
        async with self._lock:
            now = self._clock.now()
            if self._last is None or not 0 <= now - self._last[0] < FRESH_MS:
                self._last = (now, await self._ask_all())
            return self._last[1]

    async def _ask_all(self) -> HealthAnswer:
        answers = await asyncio.gather(*map(_ask, self._probes.values()))
        services = dict(zip(self._probes, answers, strict=True))
        down = [name for name, service in services.items() if service.state != "ok"]
        needed = any(self._probes[name].needed for name in down)
        return HealthAnswer(
            state="down" if needed else "degraded" if down else "ok", services=services
        )


async def _ask(probe: Probe) -> ServiceAnswer:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return ServiceAnswer(state="ok", detail=await probe.ask())
    except Down as error:
        return ServiceAnswer(state="down", detail=str(error))
    except Exception as error:
        return ServiceAnswer(state="down", detail=type(error).__name__)
