"""Following the journal: woken by NOTIFY, polling underneath, missing nothing either way."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from sep_ray.adapters.postgres.errors import Phase, translated
from sep_ray.adapters.postgres.queries import SQL
from sep_ray.adapters.postgres.rows import recorded
from sep_ray.adapters.postgres.wire import Readers, Wire
from sep_ray.journal.records import Recorded
from sep_ray.kernel.errors import Transient

_POLL_SECONDS: Final = 1.0
"""How late news can be when the listening connection is lost."""


class Feed:
    """Reads events in commit order; seqs are dense and given out in that order, so none hides."""

    def __init__(self, url: str, readers: Readers) -> None:
        self._readers = readers
        self._wire = Wire(url)
        self._listening: asyncpg.Connection[Any] | None = None
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._news.set()
        self._news = asyncio.Event()

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        """See Journal.tail."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        if wait_s > 0:
            await self._listen()
        while True:
            news = self._news  # taken before looking: what comes while we look is not missed
            rows = await self._readers.rows(SQL["tail"], after, limit)
            left = deadline - loop.time()
            if rows or left <= 0:
                return tuple(map(recorded, rows))
            try:
                await asyncio.wait_for(news.wait(), min(left, _POLL_SECONDS))
            except TimeoutError:
                await self._listen()

    async def close(self) -> None:
        """Stop listening."""
        await self._wire.close()

    async def _listen(self) -> None:
        """Listen, again if the connection was lost; polling goes on when that fails."""
        async with self._lock:
            if self._listening is not None and not self._listening.is_closed():
                return
            try:
                connection = await self._wire.get()
                with translated(Phase()):
                    await connection.add_listener("events", self._on_notify)
                    connection.add_termination_listener(self._on_lost)
            except Transient:
                return
            self._listening = connection
            self.wake()

    def _on_notify(self, *_: object) -> None:
        self.wake()

    def _on_lost(self, *_: object) -> None:
        self.wake()
