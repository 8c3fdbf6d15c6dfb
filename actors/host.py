"""Runs an engine beside an actor's mailbox: its own thread and event loop, restarted by Ray.

The mailbox stays free: a health or control call is answered while the engine works. When the
engine fails for a reason that may pass, it is begun again here after a bounded pause, which grows
until it has worked once more;
when it finds its own state wrong (InvariantBroken) it stays down and says so, because starting
again would only repeat the wrong step.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import structlog

from sep_ray.adapters.mortal import heed
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.settings import Settings

log = structlog.get_logger()

T = TypeVar("T")
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


class EngineHost:
    """One engine's thread. `main(stop)` builds the engine and runs it until `stop` is set.

    An engine with a `niceness` (0..19) leaves the processor to others who want it now; only its
    thread is nice, the mailbox is not.
    """

    def __init__(
        self,
        name: str,
        main: Callable[[asyncio.Event], Awaitable[None]],
        *,
        niceness: int = 0,
    ) -> None:
        heed(Settings().crash_points)
        self._niceness = niceness
        self._name = name
        self._main = main
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._state = "starting"
        self._starts = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Run a coroutine on the engine's loop and wait for its result."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout_s)

    def post(self, work: Callable[..., object], *args: object) -> None:
        """Run a plain function on the engine's loop, soon, without waiting."""
        self._loop.call_soon_threadsafe(work, *args)

    def running(self) -> None:
        """The engine calls this once it has recovered and works.

        What was imported and built until now lives on; the garbage collector need not look at it
        again (its full rounds paused an engine for 50 to 180 ms).
        """
        self._state = "running"
        gc.collect()
        gc.freeze()

    def status(self) -> dict[str, Any]:
        """Return the engine's state: starting, running, retrying, broken or stopped."""
        return {"name": self._name, "state": self._state, "starts": self._starts}

    def stop(self, timeout_s: float) -> None:
        """Ask the engine to end and wait for it, at most `timeout_s`."""
        if self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        own = threading.get_native_id()
        nicer = max(self._niceness, os.getpriority(os.PRIO_PROCESS, own))
        os.setpriority(os.PRIO_PROCESS, own, nicer)
        try:
            self._loop.run_until_complete(self._guard())
        finally:
            self._loop.close()

    async def _guard(self) -> None:
        self._stop = asyncio.Event()
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            self._starts += 1
            self._state = "starting"
            try:
                await self._main(self._stop)
            except InvariantBroken as error:
                self._state = "broken"
                log.critical("engine_broken", engine=self._name, error=str(error), exc_info=True)
                return
            except Exception as error:
                if self._state == "running":
                    pause_s = FIRST_PAUSE_S
                self._state = "retrying"
                log.exception("engine_failed", engine=self._name, error=str(error))
                await _wait(self._stop, pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self._state = "stopped"


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
