"""Making bookings durable, and a lane that knows what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from sep_ray.engine.booking import Booking
from sep_ray.engine.crossing import joined
from sep_ray.engine.lane import Lane
from sep_ray.journal.ports import Journal
from sep_ray.journal.records import LimitExceeded, VersionConflict, together
from sep_ray.kernel.errors import Indeterminate
from sep_ray.portfolio.ledger import InsufficientBalance

log = structlog.get_logger()


async def write(journal: Journal, lane: Lane, booking: Booking) -> bool:
    """Make a booking durable; whether it is. What cannot be decided here marks the lane.

    A conflict or an unknown outcome makes the lane read the journal again; a holding that would
    fall below zero leaves the attempt unsettled, with its lines unbooked, until the rest of the
    story is booked. A limit that somebody else was first to fill (P9) leaves no trace: the step is
    decided about anew.
    """
    booking = joined(booking, lane.transfers.get(booking.attempt.id))
    try:
        await journal.commit(booking.commit)
    except (VersionConflict, Indeterminate) as error:
        lane.stale = True
        log.warning("booking_undecided", attempt_id=str(booking.attempt.id), why=str(error))
        return False
    except LimitExceeded as error:
        log.warning("booking_over_limit", attempt_id=str(booking.attempt.id), why=str(error))
        return False
    except InsufficientBalance as error:
        lane.unsettled.add(booking.attempt.id)
        lane.unbooked[booking.attempt.id] = booking.commit.postings
        log.warning("booking_unsettled", attempt_id=str(booking.attempt.id), why=str(error))
        return False
    _keep(lane, booking)
    return True


def _keep(lane: Lane, booking: Booking) -> None:
    known = lane.attempts.get(booking.attempt.id)
    if known is None or known.inclusion != booking.attempt.inclusion:  # else it is still unsettled
        lane.unsettled.discard(booking.attempt.id)
    lane.keep(booking.attempt, booking.step, booking.transfer)


async def write_all(journal: Journal, lane: Lane, bookings: Sequence[Booking]) -> list[bool]:
    """Make bookings durable side by side, each on its own; all have ended when this returns.

    They must not share a stream. An error that `write` does not answer for is raised at the end.
    """
    results = await asyncio.gather(
        *(write(journal, lane, each) for each in bookings), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result is True for result in results]


async def write_together(journal: Journal, lane: Lane, bookings: Sequence[Booking]) -> None:
    """Make bookings that move no units durable in one commit; each on its own where one of their
    streams has moved on."""
    if not bookings:
        return
    every = [joined(each, lane.transfers.get(each.attempt.id)) for each in bookings]
    whole = together([each.commit for each in every])
    if whole is None:
        await write_all(journal, lane, bookings)
        return
    try:
        await journal.commit(whole)
    except (VersionConflict, Indeterminate):
        await write_all(journal, lane, bookings)
    else:
        for each in every:
            _keep(lane, each)
