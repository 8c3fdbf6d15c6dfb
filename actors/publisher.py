"""The Publisher beside the supervisor's mailbox. No decisions live here.

It has no actor of its own: a process more costs its memory and its share of every start, the
supervisor's is the one that idles, and what is published is made anew wherever it is lost.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from pydantic import SecretStr

from actors.host import EngineHost
from sep_ray.bootstrap.board import open_board
from sep_ray.bootstrap.store import open_store
from sep_ray.engine.publishing import Publisher
from sep_ray.kernel.clock import SystemClock
from sep_ray.settings import Settings

NICENESS: Final = 5
"""Showing gives way to accepting and to sending."""


class PublisherShell:
    """Any number may live: a batch counts once."""

    def __init__(self, settings: Settings, url: SecretStr) -> None:
        self._settings = settings
        self._url = url
        self._publisher: Publisher | None = None
        self._host = EngineHost("publisher", self._main, niceness=NICENESS)

    async def _main(self, stop: asyncio.Event) -> None:
        async with (
            open_store(self._settings, SystemClock()) as store,
            open_board(self._url) as board,
        ):
            self._publisher = Publisher(store, board)
            self._host.running()
            await self._publisher.run(stop)

    def status(self) -> dict[str, Any]:
        """Return the engine's state, the newest event it has shown, and what is in its way."""
        status = self._host.status()
        if self._publisher is not None:
            status |= {"seq": self._publisher.seq, "trouble": self._publisher.trouble}
        return status

    def stop(self, timeout_s: float) -> None:
        """End the engine."""
        self._host.stop(timeout_s)
