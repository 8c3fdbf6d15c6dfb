"""Tells the router which intents are new, without ever making a client wait for it.

A hint may be lost: the work is a row, and the router reads the journal anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from uuid import UUID

import structlog

Send = Callable[[list[UUID]], Awaitable[None]]
PAUSE_S: Final = 0.05
"""Between two messages, so that a busy replica sends them in batches."""
MOST: Final = 10_000
"""Ids kept for the next message; beyond that they are dropped."""

log = structlog.get_logger()


class Hints:
    """Sends ids in batches: the first at once, then at most one message every PAUSE_S."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[UUID] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, intent_ids: Iterable[UUID]) -> None:
        """Take ids to be sent; returns at once and never raises."""
        self._waiting.extend(intent_ids)
        del self._waiting[MOST:]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._flush())

    async def close(self) -> None:
        """Stop sending."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._send(batch)
            except Exception as error:
                log.debug("hint_lost", intents=len(batch), error=type(error).__name__)
            await asyncio.sleep(PAUSE_S)


async def nowhere(_: list[UUID]) -> None:
    """Send hints to nobody."""
