"""An event loop without a machine: time is a number, and chance decides who runs next.

Real asyncio tasks, locks and timers run on it unchanged. The same seed gives the same order of
everything, in any process.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar

from sep_ray.kernel.clock import Millis

T = TypeVar("T")


class Standstill(Exception):
    """Nothing is left to run, or far too much was run: the work would never end (P12)."""


class Handle:
    """A callback that waits for its turn: what asyncio's own does, at a third of its price."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context if context is not None else copy_context()
        self._cancelled = False

    def cancel(self) -> None:
        """Do nothing when its turn comes."""
        self._cancelled = True

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self._cancelled

    def run(self) -> None:
        """Take its turn. What a callback raises is nobody's: tasks keep what happens in them."""
        if self._cancelled:
            return
        try:
            self._context.run(self._callback, *self._args)
        except Exception:  # noqa: BLE001 - as asyncio's own, which would only log it
            return


class SeededLoop:
    """Runs whichever callback chance picks among those that are ready; sleeps take no time.

    It has what tasks, timers and locks ask of a loop, and nothing that asks a machine.
    """

    def __init__(self, seed: int, most_steps: int = 1_000_000) -> None:
        """`most_steps` callbacks may be run before it counts as a standstill."""
        self._self: Any = self  # asyncio's annotations want the methods nobody here calls, too
        self._chance = random.Random(seed).random
        self._now = 0.0
        self._ready: list[Handle] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self._left = most_steps

    def run_until_complete(self, future: Any) -> Any:
        """Run a coroutine to its end and return its result."""
        events._set_running_loop(self._self)
        try:
            task = asyncio.ensure_future(future, loop=self._self)
            while not task.done():
                self._run_once()
            return task.result()
        finally:
            events._set_running_loop(None)

    def _run_once(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Standstill("no end in sight")
        if not self._ready:
            self._await_timer()
        ready = self._ready
        place = int(self._chance() * len(ready)) if len(ready) > 1 else 0
        handle, ready[place] = ready[place], ready[-1]
        ready.pop()
        handle.run()

    def _await_timer(self) -> None:
        """Let time pass to the next timer, and all that are due at that instant become ready."""
        if not self._timers:
            raise Standstill("everybody waits for somebody else")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[2])

    # What asyncio asks of a loop

    def time(self) -> float:
        """Return seconds since the loop was made."""
        return self._now

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Run a callback some time at this instant."""
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Handle:
        """Run a callback `delay` seconds from now."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Handle:
        """Run a callback at an instant of this loop; cancelled, it keeps its place."""
        handle = Handle(callback, args, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self._self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Return a task of this loop."""
        return asyncio.Task(coro, loop=self._self, **options)

    def get_debug(self) -> bool:
        """Return False: debugging asyncio costs time."""
        return False

    def is_running(self) -> bool:
        """Return True: nobody asks from outside."""
        return True

    def is_closed(self) -> bool:
        """Return False: there is nothing to close."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep quiet: processes die here all the time, and what matters is checked."""


class LoopClock:
    """A process's clock on a loop's time. `ahead_ms` is how wrong it goes."""

    def __init__(self, loop: SeededLoop, start: Millis, ahead_ms: int = 0) -> None:
        self._loop = loop
        self._start = start
        self.ahead_ms = ahead_ms

    def now(self) -> Millis:
        """Return the instant this clock shows."""
        return Millis(self._start + int(self._loop.time() * 1_000) + self.ahead_ms)


def run(loop: SeededLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run work on a loop of its own."""
    result: T = loop.run_until_complete(work)
    return result
