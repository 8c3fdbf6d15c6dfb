"""What happened to a transfer, as one commit: its events, the books, and its step. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from sep_ray.decomposition.step import (
    Step,
    StepEvent,
    StepFailed,
    StepFilled,
    StepFinalized,
    StepStatus,
    StepUnfilled,
)
from sep_ray.decomposition.step import evolve as evolve_step
from sep_ray.engine.crossing import append_of
from sep_ray.intent.states import Reason
from sep_ray.journal.records import Append, Commit, Lease, State
from sep_ray.kernel.clock import Millis
from sep_ray.portfolio import ledger, transit
from sep_ray.portfolio.ledger import Posting
from sep_ray.settlement.transfer import (
    ArrivalFinalized,
    ArrivalIncluded,
    ArrivalWithdrawn,
    OperatorNeeded,
    OtherAssetDelivered,
    Transfer,
    TransferEvent,
    TransferExpired,
    TransferRefunded,
    TransferStatus,
    evolve,
)


def booked(
    transfer: Transfer,
    step: Step | None,
    events: Sequence[TransferEvent],
    at: Millis,
    lease: Lease,
) -> tuple[Commit, Transfer]:
    """Return the commit that makes `events` durable, and the transfer after them."""
    postings: list[Posting] = []
    told: list[StepEvent] = []
    now, moved = transfer, step
    for event in events:
        postings.extend(_lines(now, event))
        said = _step_event(now, event, moved)
        if said is not None and moved is not None:
            told.append(said)
            moved = evolve_step(moved, said)
        now = evolve(now, event, at)
    return _commit(transfer, now, events, (step, told), postings, at, lease), now


def repaired(transfer: Transfer, step: Step | None, at: Millis, lease: Lease) -> Commit | None:
    """Return the commit that ends a step whose transfer came to need a person without it."""
    stuck = transfer.status is TransferStatus.NEEDS_OPERATOR
    if not stuck or step is None or step.status is not StepStatus.WORKING:
        return None
    event = StepFailed(reason=Reason.NEEDS_OPERATOR, detail=transfer.detail)
    append = _step_append(step, [event], transfer)
    return Commit(at=at, appends=(append,), states=(evolve_step(step, event),), fence=lease.fence)


def confirming(
    transfer: Transfer, step: Step | None, block_number: int, at: Millis, lease: Lease
) -> Commit | None:
    """Return the commit by which a step rests on its arrival; None when it does already."""
    if step is None or step.status is not StepStatus.DONE or step.final:
        return None
    event = StepFinalized(block_number=block_number)
    append = _step_append(step, [event], transfer)
    return Commit(at=at, appends=(append,), states=(evolve_step(step, event),), fence=lease.fence)


def _commit(
    transfer: Transfer,
    after: Transfer,
    events: Sequence[TransferEvent],
    step: tuple[Step | None, Sequence[StepEvent]],
    postings: Sequence[Posting],
    at: Millis,
    lease: Lease,
) -> Commit:
    appends = [append_of(transfer, after, events)]
    states: list[State] = [after]
    before, told = step
    if before is not None and told:
        appends.append(_step_append(before, told, transfer))
        states.append(reduce(evolve_step, told, before))
    return Commit(
        at=at,
        appends=tuple(appends),
        states=tuple(states),
        postings=tuple(postings),
        fence=lease.fence,
    )


def _step_append(step: Step, events: Sequence[StepEvent], transfer: Transfer) -> Append:
    return Append(
        stream_id=step.stream_id,
        expected_version=step.version,
        events=tuple(events),
        correlation_id=step.intent_id,
        causation_id=transfer.id,
    )


def _lines(transfer: Transfer, event: TransferEvent) -> tuple[Posting, ...]:
    """Return what an event means for the books; `transfer` stands as before it."""
    match event:
        case ArrivalIncluded() | OtherAssetDelivered():
            return transit.arrived(
                transfer,
                event.arrived_asset,
                event.arrived,
                event.arrival,
                observed=event.observed,
            )
        case ArrivalWithdrawn() if transfer.arrived_asset is not None and transfer.arrival:
            lines = transit.arrived(
                transfer,
                transfer.arrived_asset,
                transfer.arrived,
                transfer.arrival,
                observed=transfer.observed,
            )
            return ledger.withdrawn(lines)
        case TransferExpired():
            return transit.due_back(transfer)
        case TransferRefunded():
            return transit.refunded(transfer, event.refunded, event.refund)
        case _:
            return ()


def _step_event(transfer: Transfer, event: TransferEvent, step: Step | None) -> StepEvent | None:
    """Return what an event means for the step, where it is still open."""
    if step is not None and step.status is StepStatus.WORKING:
        return _for_working(transfer, event)
    if step is not None and step.status is StepStatus.DONE:
        return _for_done(event, step)
    return None


def _for_working(transfer: Transfer, event: TransferEvent) -> StepEvent | None:
    match event:
        case ArrivalIncluded():
            return StepFilled(
                sold=transfer.departed,
                bought=event.arrived,
                tx_hash=event.arrival.tx_hash,
                block_number=event.arrival.block_number,
                block_hash=event.arrival.block_hash,
            )
        case ArrivalFinalized():
            return StepFailed(reason=Reason.OTHER_ASSET, detail=str(transfer.arrived_asset))
        case TransferRefunded():
            return StepFailed(reason=Reason.REFUNDED, detail=transfer.detail)
        case OperatorNeeded():
            return StepFailed(reason=Reason.NEEDS_OPERATOR, detail=event.detail)
        case _:
            return None


def _for_done(event: TransferEvent, step: Step) -> StepEvent | None:
    match event:
        case ArrivalWithdrawn():
            return StepUnfilled(block_hash=event.block_hash)
        case ArrivalFinalized() if not step.final:
            return StepFinalized(block_number=event.block_number)
        case _:
            return None
