"""What a sighting means for a transfer: which events, if any. Pure.

Money states follow chains alone. What is not seen moves nothing: a bridge that cannot be read
leaves its transfers where they stand (P6), until the patience of the rules is over and a person is
asked (P12).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sep_ray.kernel.clock import Millis
from sep_ray.settlement import transfer as events
from sep_ray.settlement.ports import (
    Arrived,
    Blocked,
    Claimable,
    Lapsed,
    OnTheWay,
    Overdue,
    RedeemNeeded,
    Refunded,
    Sighting,
    SlowFilling,
    Unread,
)
from sep_ray.settlement.transfer import (
    OUTSTANDING,
    WAITING,
    ArrivalIncluded,
    ArrivalVoid,
    AttestationExpired,
    OperatorNeeded,
    OtherAssetDelivered,
    SlowFillRequested,
    Transfer,
    TransferClaimable,
    TransferDelayed,
    TransferEvent,
    TransferExpired,
    TransferRefunded,
    TransferStatus,
    TransferUnderWay,
    TransferUnread,
    Waiting,
)

_T = TransferStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a transfer is left to itself, and how often it is claimed.

    `operator_ms` after it counts as late, its refund as due, or a person let it go on, a person is
    asked.
    """

    operator_ms: int = 24 * 3_600_000
    claims: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else is known.

    * `stands`: the block a sighting's proof names is part of its chain; `final`: for good
    * `claim_over`: the claim's attempt has ended, landed or not; "" while it has not
    * `observed`: an audit has booked this very arrival to the treasury
    """

    now: Millis
    stands: bool = True
    final: bool = True
    claim_over: str = ""
    observed: bool = False


def follow(
    transfer: Transfer, seen: Sighting, at: Circumstances, patience: Patience
) -> tuple[TransferEvent, ...]:
    """Return what happens to a transfer that is with its bridge, in order; mostly nothing."""
    if transfer.status is _T.DEPARTURE_FINAL:
        return _begun(transfer, seen)
    if transfer.status not in OUTSTANDING:
        return ()
    event = _money(transfer, seen, at)
    if event is None and transfer.status is _T.ARRIVAL_SENT:
        event = ArrivalVoid(detail=at.claim_over) if at.claim_over else None
    elif event is None:
        event = _impatience(transfer, seen, at, patience) or _waiting(transfer, seen, at)
    return () if event is None else (event,)


def blind(transfer: Transfer, now: Millis, why: str, patience: Patience) -> TransferEvent | None:
    """Return what it means that a transfer could not be looked at for so long: a person is asked
    when its time is up, and nothing moves before."""
    if transfer.status not in WAITING - {_T.ARRIVAL_SENT} or now < _limit(transfer, patience):
        return None
    return OperatorNeeded(detail=f"since {transfer.updated_at} {transfer.status.value}: {why}")


def _begun(transfer: Transfer, seen: Sighting) -> tuple[TransferEvent, ...]:
    """The departure is final: name it by what the bridge calls it."""
    match seen:
        case Unread(detail=detail):
            return (TransferUnread(detail=detail),)
        case OnTheWay(waiting=waiting, reference=reference, detail=detail):
            return (TransferUnderWay(waiting=waiting, reference=reference, detail=detail),)
        case _:
            reference = getattr(seen, "reference", "")
            return (TransferUnderWay(waiting=Waiting.QUEUE, reference=reference, detail=""),)


def _money(transfer: Transfer, seen: Sighting, at: Circumstances) -> TransferEvent | None:
    """Return what chains say about the money, if it is new."""
    match seen:
        case Arrived(asset=asset, units=units, proof=proof) if at.stands:
            made = ArrivalIncluded if asset == transfer.target else OtherAssetDelivered
            return made(arrived=units, arrived_asset=asset, arrival=proof, observed=at.observed)
        case Refunded(units=units, proof=proof, detail=why) if at.stands and at.final:
            return TransferRefunded(refunded=units, refund=proof, detail=why)
        case Overdue(detail=detail) if transfer.status is not _T.EXPIRED_REFUND_DUE:
            if transfer.status is _T.NEEDS_OPERATOR and transfer.refund_due:
                return None
            return TransferExpired(detail=detail)
        case _:
            return None


def _impatience(
    transfer: Transfer, seen: Sighting, at: Circumstances, patience: Patience
) -> TransferEvent | None:
    """Return that a person is needed: nothing helps, or nothing has for too long."""
    if transfer.status is _T.NEEDS_OPERATOR or isinstance(seen, Arrived | Refunded):
        return None
    words = f"{type(seen).__name__}: {getattr(seen, 'detail', '')}"
    if isinstance(seen, Claimable | RedeemNeeded) and transfer.claims >= patience.claims:
        return OperatorNeeded(detail=f"{transfer.claims} claims brought nothing in; {words}")
    if at.now >= _limit(transfer, patience):
        return OperatorNeeded(detail=f"late since {transfer.late_after}; {words}")
    return None


def _limit(transfer: Transfer, patience: Patience) -> int:
    due = transfer.updated_at if transfer.refund_due else 0
    return max(transfer.late_after, due, transfer.released_at or 0) + patience.operator_ms


def _waiting(transfer: Transfer, seen: Sighting, at: Circumstances) -> TransferEvent | None:
    """Return the move to another state of waiting, if it is another."""
    if transfer.status not in WAITING:
        return None
    event = _lead(transfer, seen, at)
    if event is None or events.TRANSITIONS.get((transfer.status, type(event))) is None:
        return None
    return event


def _lead(transfer: Transfer, seen: Sighting, at: Circumstances) -> TransferEvent | None:
    if isinstance(seen, OnTheWay):
        return _on_the_way(transfer, seen, at)
    say = _LEADS.get(type(seen))
    return say(seen) if say is not None else None


_LEADS: Final[Mapping[type, Callable[[Any], TransferEvent]]] = {
    Unread: lambda seen: TransferUnread(detail=seen.detail),
    Claimable: lambda seen: TransferClaimable(reference=seen.reference, detail=seen.detail),
    RedeemNeeded: lambda seen: events.RedeemNeeded(reference=seen.reference, detail=seen.detail),
    Lapsed: lambda seen: AttestationExpired(detail=seen.detail),
    SlowFilling: lambda seen: SlowFillRequested(detail=seen.detail),
    Blocked: lambda seen: TransferDelayed(detail=seen.detail),
}
"""What each sighting of a transfer that has to wait says."""


def _on_the_way(transfer: Transfer, seen: OnTheWay, at: Circumstances) -> TransferEvent | None:
    """Say where it is when that is news; a late one is DELAYED and stays so."""
    if at.now >= transfer.late_after:
        return TransferDelayed(detail=f"expected by {transfer.late_after}; {seen.detail}")
    same = (seen.waiting, seen.reference) == (transfer.waiting, transfer.reference)
    if transfer.status is _T.IN_FLIGHT and same:
        return None
    return TransferUnderWay(waiting=seen.waiting, reference=seen.reference, detail=seen.detail)
