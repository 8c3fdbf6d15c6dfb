"""The Publisher: keeps a board as near to the journal as it can, and makes it anew when it is lost.

It keeps nothing that the board and the journal do not hold. A batch counts only where the board
stands right before it, so two publishers at once take turns and do no harm. A board that is empty,
or shows what this journal does not say, is made anew from the intents that are open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from sep_ray.engine.pacing import pace_of
from sep_ray.intent.states import IntentRecord, IntentReopened
from sep_ray.journal.board import (
    Batch,
    Board,
    Move,
    Place,
    Summary,
    counted,
    group_of,
    last_of,
    move_of,
    standing,
)
from sep_ray.journal.ports import Cursors, Intents, Journal
from sep_ray.journal.records import Recorded
from sep_ray.kernel.errors import Transient

log = structlog.get_logger()

BATCH: Final = 500
IDLE_S: Final = 1.0
"""How long a board that was emptied while nothing happened may stay empty."""
AWAY_S: Final = 0.5
"""After which a board that did not answer is asked again."""
NOWHERE: Final = Place(seq=-1)


class Source(Journal, Intents, Cursors, Protocol):
    """What is published."""


class Publisher:
    """Follows the journal, batch by batch."""

    def __init__(self, source: Source, board: Board) -> None:
        self._source = source
        self._board = board
        self._place: Place | None = None
        self.trouble = ""
        """Why nothing is shown now; empty while all is well."""

    @property
    def seq(self) -> int:
        """The newest event shown; 0 while that is not known."""
        return self._place.seq if self._place else 0

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until told to stop.

        News that come thick are taken together (`pacing`): showing them can wait a little longer
        than deciding, so a turn is followed by a whole pace of rest.
        """
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            try:
                worked = await self.turn(IDLE_S)
            except Transient as error:
                self._lost(error)
                await _pause(stop, AWAY_S)
                continue
            if worked:
                await _pause(stop, pace_of(loop.time() - began))

    async def turn(self, wait_s: float) -> int:
        """Show the next events, waiting up to `wait_s` for the first; return how many.

        Raises Transient when the board or the journal does not answer.
        """
        if self._place is None:
            self._place = await self._found()
        rows = await self._source.tail(self._place.seq, BATCH, wait_s)
        if not rows:
            if await self._board.place() != self._place:
                self._place = None
            self.trouble = ""
            return 0
        place = Place(seq=rows[-1].seq, mark=rows[-1].hash.hex())
        moves = await self._moves(rows)
        batch = Batch(after=self._place, place=place, moves=moves, rows=rows)
        if not await self._board.publish(batch):
            self._place = None  # somebody else was first, or it was emptied
            return 0
        self._place, self.trouble = place, ""
        return len(rows)

    async def _found(self) -> Place:
        """Return where the board stands, made anew unless it shows this journal."""
        place = await self._board.place()
        if place is not None and place == await self._at(place.seq):
            return place
        anew = await self._at(await self._source.newest())
        found = await _open(self._source)
        batch = Batch(after=place, place=anew, moves=tuple(map(standing, found)), anew=True)
        if not await self._board.publish(batch):
            raise Transient("another publisher began anew")
        log.info("board_made_anew", seq=anew.seq, open_intents=len(found))
        return anew

    async def _at(self, seq: int) -> Place:
        """Return the place right after an event of the journal; NOWHERE when it has none."""
        if seq == 0:
            return Place()
        rows = await self._source.tail(seq - 1, 1, 0.0)
        return Place(seq=seq, mark=rows[0].hash.hex()) if rows else NOWHERE

    async def _moves(self, rows: Sequence[Recorded]) -> tuple[Move, ...]:
        """Return how a batch leaves the intents that were on the board, or are from now on. One
        that is opened again was counted no more, so what it is counted by is read again."""
        found = [(row, move) for row in rows if (move := move_of(row)) is not None]
        moves = last_of(move for _, move in found)
        reopened = {m.intent_id for row, m in found if isinstance(row.event, IntentReopened)}
        if not reopened:
            return moves
        records = await self._source.intents(sorted(reopened))
        groups = {record.intent.id: group_of(record.intent) for record in records}
        return tuple(replace(m, group=m.group or groups.get(m.intent_id)) for m in moves)

    def _lost(self, error: Transient) -> None:
        if not self.trouble:
            log.warning("publisher_waits", error=str(error))
        self.trouble = error.message
        self._place = None


async def summed(source: Source) -> Summary:
    """Return how many intents are open, from the journal's own tables."""
    seq = await source.newest()
    return Summary(as_of_seq=seq, counts=counted(await _open(source)))


async def _open(source: Intents) -> list[IntentRecord]:
    found: list[IntentRecord] = []
    while page := await source.open_intents(found[-1].intent.id if found else None, BATCH):
        found.extend(page)
    return found


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
