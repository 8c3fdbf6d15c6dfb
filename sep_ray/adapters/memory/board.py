"""The board in memory."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import replace
from uuid import UUID

from sep_ray.journal.board import Batch, Counts, Move, Place, Summary, shown
from sep_ray.journal.records import Recorded


class MemoryBoard:
    """Implements the port Board; `forget` is what a flush does to the one in Redis."""

    def __init__(self, kept: int = 20_000) -> None:
        self._kept = kept
        self._written = asyncio.Event()
        self.forget()

    def forget(self) -> None:
        """Lose everything."""
        self._place: Place | None = None
        self._wipe()

    async def place(self) -> Place | None:
        """See the port."""
        return self._place

    async def publish(self, batch: Batch) -> bool:
        """See the port."""
        if self._place != batch.after:
            return False
        if batch.anew:
            self._wipe()
        for move in batch.moves:
            self._move(move)
        self._rows.extend(map(shown, batch.rows))
        self._place = batch.place
        self._written.set()
        self._written = asyncio.Event()
        return True

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        """See the port."""
        if wait_s > 0 and not self._above(after):
            try:
                await asyncio.wait_for(self._written.wait(), wait_s)
            except TimeoutError:
                return ()
        return self._above(after)[:limit]

    async def summary(self) -> Summary | None:
        """See the port."""
        if self._place is None:
            return None
        counts: Counts = Counter((m.group, m.status) for m in self._open.values() if m.group)
        return Summary(as_of_seq=self._place.seq, counts=counts)

    def _wipe(self) -> None:
        self._rows: deque[Recorded] = deque(maxlen=self._kept)
        self._open: dict[UUID, Move] = {}

    def _above(self, after: int) -> tuple[Recorded, ...]:
        return tuple(row for row in self._rows if row.seq > after)

    def _move(self, move: Move) -> None:
        held = self._open.get(move.intent_id)
        group = move.group or (held.group if held else None)
        if group is None or (held is not None and move.version <= held.version):
            return
        if move.open:
            self._open[move.intent_id] = replace(move, group=group)
        else:
            self._open.pop(move.intent_id, None)
