"""Live events from the board, which the journal stands behind.

A replica with clients reads the board, so that the journal is tailed once for all replicas. Seqs
are dense: what does not continue right where the reader stands is read from the journal, and so is
everything while the board is silent or behind. So nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from sep_ray.intent.states import IntentRecord
from sep_ray.journal.board import Board
from sep_ray.journal.records import Recorded
from sep_ray.kernel.errors import SepError
from serve_app.stream import Feed

NEAR_S: Final = 1.0
"""How late news can be when nobody publishes them."""
REST_S: Final = 2.0
"""After a failure the journal is followed for so long."""

log = structlog.get_logger()


class Following:
    """Implements the stream's Feed."""

    def __init__(
        self, journal: Feed, board: Board, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._journal = journal
        self._board = board
        self._now = now
        self._rests_until = 0.0

    async def newest(self) -> int:
        """See the port."""
        return await self._journal.newest()

    async def intent(self, intent_id: UUID) -> IntentRecord | None:
        """See the port."""
        return await self._journal.intent(intent_id)

    async def stream(self, stream_id: str) -> tuple[Recorded, ...]:
        """See the port."""
        return await self._journal.stream(stream_id)

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        """See the port; what is asked for without waiting is the past, which the journal has."""
        rest_s = self._rests_until - self._now()
        if wait_s <= 0 or rest_s > 0:
            return await self._journal.tail(after, limit, min(wait_s, max(0.0, rest_s)))
        try:
            rows = await self._board.tail(after, limit, min(wait_s, NEAR_S))
        except SepError as error:
            self._rest("the board does not answer", type(error).__name__, after)
            return await self._journal.tail(after, limit, 0.0)
        if rows and rows[0].seq == after + 1:
            return rows
        missed = await self._journal.tail(after, limit, 0.0)
        if missed and not rows:
            self._rest("the board is behind", "", after)
        return missed

    def _rest(self, why: str, error: str, after: int) -> None:
        self._rests_until = self._now() + REST_S
        log.warning("stream_follows_journal", why=why, error=error, after=after)
