"""What the transactions of a transfer's two ends mean for the transfer, in the same commit.

Until its departure is final, a transfer is written by the lane that sends it, and only together
with the attempt; from then on by the settlement, but for the claim, which the lane over there
writes together with its attempt. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from sep_ray.decomposition.step import Step, StepStarted
from sep_ray.engine.booking import Booking, Writer
from sep_ray.execution.attempt import (
    Attempt,
    AttemptFinalized,
    AttemptIncluded,
    AttemptStatus,
    AttemptUnincluded,
    Inclusion,
    Purpose,
)
from sep_ray.journal.records import Append, Commit, Event, ExposureCap
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import NATIVE
from sep_ray.portfolio import ledger, transit
from sep_ray.portfolio.ledger import Posting
from sep_ray.settlement.ports import Departure
from sep_ray.settlement.transfer import (
    TRANSITIONS,
    ArrivalSent,
    DepartureFinalized,
    DepartureIncluded,
    DepartureSigned,
    DepartureVoid,
    DepartureWithdrawn,
    Proof,
    Transfer,
    TransferEvent,
    TransferPlanned,
    TransferReserved,
    TransferStatus,
    evolve,
)

_SIGNED = TransferStatus.DEPARTURE_SIGNED
VOID = frozenset(
    {
        AttemptStatus.FINAL_REVERTED,
        AttemptStatus.CANCELLED,
        AttemptStatus.DROPPED,
        AttemptStatus.EXPIRED,
        AttemptStatus.REPLACED,
    }
)
"""Ends of an attempt after which its call never takes effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departing:
    """A departure to be signed: whose, as which transfer (still unwritten), by which call, and
    the most that its bridge may have of the asset (None: no cap)."""

    step: Step
    transfer: Transfer
    departure: Departure
    cap: int | None = None

    @property
    def reserve(self) -> int:
        """Units of what the step sells that are set aside."""
        return self.transfer.units


def departing(writer: Writer, attempt: Attempt, what: Departing) -> Booking:
    """Book a departure's signed bytes, its step's start, its transfer and its reserve (P4), if its
    bridge then still has no more than it may."""
    transfer = what.transfer
    started = StepStarted(
        attempt_id=attempt.id,
        reserved=what.reserve,
        quoted=transfer.quoted_out,
        plan=f"{transfer.bridge}: {transfer.choice.reason}",
    )
    booking = writer.started(attempt, what.step, started)
    events = (
        TransferPlanned(transfer=transfer),
        TransferReserved(units=transfer.units),
        DepartureSigned(departure_id=attempt.id),
    )
    booked = _with(booking, None, events, ())
    caps = () if what.cap is None else (ExposureCap(transfer_id=transfer.id, most=what.cap),)
    return replace(booked, commit=replace(booked.commit, caps=caps))


def claiming(writer: Writer, attempt: Attempt, step: Step | None, transfer: Transfer) -> Booking:
    """Book a claim's signed bytes and that it is sent (P4)."""
    booking = writer.prepared(attempt, step)
    return _with(booking, transfer, (ArrivalSent(claim_id=attempt.id),), ())


def confirmed(
    writer: Writer, attempt: Attempt, step: Step | None, transfer: Transfer, block_number: int
) -> Booking:
    """Book that a departure is deep enough for what it is worth."""
    event = DepartureFinalized(block_number=block_number)
    after = evolve(transfer, event, writer.at)
    commit = Commit(
        at=writer.at,
        appends=(append_of(transfer, after, (event,)),),
        states=(after,),
        fence=writer.fence,
    )
    return Booking(commit=commit, attempt=attempt, step=step, transfer=after)


def joined(booking: Booking, transfer: Transfer | None) -> Booking:
    """Add to what happened to a departure's attempt what it means for its transfer."""
    if booking.attempt.purpose is not Purpose.DEPARTURE or transfer is None:
        return booking
    events: list[TransferEvent] = []
    postings: list[Posting] = []
    now = transfer
    for said in booking.commit.appends[0].events:
        event, lines = _meaning(booking, now, said)
        if event is not None:
            events.append(event)
            postings.extend(lines)
            now = evolve(now, event, booking.commit.at)
    return _with(booking, transfer, events, postings) if events else booking


def _meaning(
    booking: Booking, transfer: Transfer, said: Event
) -> tuple[TransferEvent | None, tuple[Posting, ...]]:
    attempt = booking.attempt
    match said:
        case AttemptIncluded(inclusion=inclusion) if transfer.status is _SIGNED:
            return _left(transfer, inclusion)
        case AttemptUnincluded() if transfer.departure is not None and _undone(transfer):
            lines = _lines(transfer, transfer.departed, transfer.departure)
            return DepartureWithdrawn(block_hash=said.block_hash), ledger.withdrawn(lines)
        case AttemptFinalized() if transfer.status is TransferStatus.DEPARTURE_INCLUDED:
            return DepartureFinalized(block_number=said.block_number), ()
        case _ if attempt.status in VOID and transfer.status is TransferStatus.DEPARTURE_SIGNED:
            return DepartureVoid(detail=attempt.detail or attempt.status.value), ()
        case _:
            return None, ()


def _undone(transfer: Transfer) -> bool:
    """Whether a departure that goes takes the transfer with it: one that was credited or is due
    back stands on the other chain's word, and its departure is merely sent again."""
    return (transfer.status, DepartureWithdrawn) in TRANSITIONS and not transfer.refund_due


def _left(transfer: Transfer, inclusion: Inclusion) -> tuple[TransferEvent, tuple[Posting, ...]]:
    """Return that the money left, as an inclusion says; the coin goes without a log."""
    units = transfer.units if transfer.source.address == NATIVE else inclusion.left
    proof = Proof(
        chain_id=transfer.source.chain_id,
        block_number=inclusion.block_number,
        block_hash=inclusion.block_hash,
        tx_hash=inclusion.tx_hash,
        log_index=inclusion.log_index or 0,
    )
    return DepartureIncluded(departed=units, departure=proof), _lines(transfer, units, proof)


def _lines(transfer: Transfer, units: int, proof: Proof) -> tuple[Posting, ...]:
    return *transit.departed(transfer, transfer.units, units, proof), *transit.fee(transfer, proof)


def append_of(before: Transfer | None, after: Transfer, events: Sequence[TransferEvent]) -> Append:
    """Return the append that moves a transfer on."""
    return Append(
        stream_id=after.stream_id,
        expected_version=before.version if before is not None else 0,
        events=tuple(events),
        correlation_id=after.intent_id,
        causation_id=after.step_id,
    )


def after_all(transfer: Transfer | None, events: Iterable[TransferEvent], at: Millis) -> Transfer:
    """Return the transfer after these events; there is at least one."""
    found = reduce(lambda now, event: evolve(now, event, at), events, transfer)
    if found is None:
        raise InvariantBroken("nothing happened to a transfer")
    return found


def _with(
    booking: Booking,
    transfer: Transfer | None,
    events: Sequence[TransferEvent],
    postings: Sequence[Posting],
) -> Booking:
    commit = booking.commit
    after = after_all(transfer, events, commit.at)
    more = replace(
        commit,
        appends=(*commit.appends, append_of(transfer, after, events)),
        states=(*commit.states, after),
        postings=(*commit.postings, *postings),
    )
    return replace(booking, commit=more, transfer=after)
