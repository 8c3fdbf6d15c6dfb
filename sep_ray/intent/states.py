"""The life of an intent, as data: every accepted intent reaches exactly one end (P2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sep_ray.intent.intent import Intent
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.machine import move


class Status(StrEnum):
    """Where an intent stands."""

    ACCEPTED = "ACCEPTED"  # durable; waiting for its turn in the queue
    ACTIVE = "ACTIVE"  # its steps exist
    CANCELLING = "CANCELLING"  # nothing more begins; what is in flight is being settled
    COMPLETED = "COMPLETED"
    PARTIALLY_COMPLETED = "PARTIALLY_COMPLETED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


TERMINAL: Final = frozenset(
    {
        Status.COMPLETED,
        Status.PARTIALLY_COMPLETED,
        Status.CANCELLED,
        Status.EXPIRED,
        Status.REJECTED,
        Status.FAILED,
    }
)
"""Ends. One with a fill in it is final only when its fills are: a reorganisation reopens it."""


def reopening(record: IntentRecord, block_hash: str) -> tuple[IntentEvent, ...]:
    """Return what reopens an intent that ended; who had asked to stop it still has."""
    reopened = IntentReopened(block_hash=block_hash)
    if record.reason is Reason.CANCELLED_BY_CLIENT:
        return reopened, IntentCancelRequested(principal=record.principal)
    return (reopened,)


class Reason(StrEnum):
    """Why an intent or one of its steps ended as it did."""

    FILLED = "filled"
    ALREADY_ON_TARGET = "already_on_target"
    CANCELLED_BY_CLIENT = "cancelled_by_client"
    DEADLINE = "deadline"
    MISSED_SLICES = "missed_slices"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    NOTHING_TO_SELL = "nothing_to_sell"
    UNKNOWN_STRATEGY = "unknown_strategy"
    NO_ROUTE = "no_route"
    BELOW_LIMIT = "below_limit"
    GAS_LIMIT = "gas_limit"
    PRICE_GUARD = "price_guard"
    REVERTED = "reverted"
    TRIES_SPENT = "tries_spent"
    NO_BRIDGE = "no_bridge"
    UNFUNDED = "unfunded"
    REFUNDED = "refunded"
    OTHER_ASSET = "other_asset"
    NEEDS_OPERATOR = "needs_operator"
    POLICY_DENIED = "policy_denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentAccepted:
    """The intent is durable; from here on it will reach one end."""

    intent: Intent
    principal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentDecomposed:
    """The intent had its turn: why then, and how many steps it became."""

    score: float
    score_source: str
    why: str
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentCancelRequested:
    """Somebody asked to stop; steps that have begun are settled first."""

    principal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentCompleted:
    """Everything asked for was done. Amounts are sums over steps, in smallest units."""

    reason: Reason
    sold: int
    bought: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentPartiallyCompleted:
    """A part was done; the reason says what stopped the rest."""

    reason: Reason
    sold: int
    bought: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentCancelled:
    """Stopped on request before anything was done."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentExpired:
    """The window closed before anything was done."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRejected:
    """The platform will not do it; nothing was reserved or sent."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentFailed:
    """Tried and not done; the detail carries the evidence."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentReopened:
    """The block that held a fill of its is no longer part of the chain: it has not ended yet."""

    block_hash: str


IntentEvent = (
    IntentAccepted
    | IntentDecomposed
    | IntentCancelRequested
    | IntentCompleted
    | IntentPartiallyCompleted
    | IntentCancelled
    | IntentExpired
    | IntentRejected
    | IntentFailed
    | IntentReopened
)

TRANSITIONS: Final[Mapping[tuple[Status, type], Status]] = {
    (Status.ACCEPTED, IntentDecomposed): Status.ACTIVE,
    (Status.ACCEPTED, IntentCompleted): Status.COMPLETED,
    (Status.ACCEPTED, IntentCancelRequested): Status.CANCELLING,
    (Status.ACCEPTED, IntentRejected): Status.REJECTED,
    (Status.ACCEPTED, IntentExpired): Status.EXPIRED,
    (Status.ACTIVE, IntentCancelRequested): Status.CANCELLING,
    (Status.ACTIVE, IntentCompleted): Status.COMPLETED,
    (Status.ACTIVE, IntentPartiallyCompleted): Status.PARTIALLY_COMPLETED,
    (Status.ACTIVE, IntentExpired): Status.EXPIRED,
    (Status.ACTIVE, IntentFailed): Status.FAILED,
    (Status.CANCELLING, IntentCompleted): Status.COMPLETED,
    (Status.CANCELLING, IntentPartiallyCompleted): Status.PARTIALLY_COMPLETED,
    (Status.CANCELLING, IntentCancelled): Status.CANCELLED,
    (Status.CANCELLING, IntentFailed): Status.FAILED,
    (Status.COMPLETED, IntentReopened): Status.ACTIVE,
    (Status.PARTIALLY_COMPLETED, IntentReopened): Status.ACTIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRecord:
    """An intent and where it stands: the fold of its stream."""

    intent: Intent
    status: Status
    version: int
    principal: str
    updated_at: Millis
    reason: Reason | None = None
    detail: str = ""
    score: float | None = None
    score_source: str = ""
    why: str = ""
    sold: int = 0
    bought: int = 0

    @property
    def stream_id(self) -> str:
        """The stream that holds this intent's events."""
        return f"intent/{self.intent.id}"


_SETS: Final[Mapping[type, tuple[str, ...]]] = {
    IntentDecomposed: ("score", "score_source", "why"),
    IntentCompleted: ("reason", "sold", "bought"),
    IntentPartiallyCompleted: ("reason", "sold", "bought"),
    IntentRejected: ("reason", "detail"),
    IntentFailed: ("reason", "detail"),
    IntentCancelled: ("reason",),
    IntentExpired: ("reason",),
}
"""The fields of a record that an event's fields of the same name replace."""


def evolve(record: IntentRecord | None, event: IntentEvent, at: Millis) -> IntentRecord:
    """Return the record after `event`; only IntentAccepted may begin a stream."""
    if record is None:
        if not isinstance(event, IntentAccepted):
            raise InvariantBroken(
                "an intent begins with its acceptance", event=type(event).__name__
            )
        return IntentRecord(
            intent=event.intent,
            status=Status.ACCEPTED,
            version=1,
            principal=event.principal,
            updated_at=at,
        )
    moved = replace(
        record,
        status=move(TRANSITIONS, record.status, event),
        version=record.version + 1,
        updated_at=at,
    )
    if isinstance(event, IntentReopened):
        return replace(moved, reason=None, sold=0, bought=0)
    names = _SETS.get(type(event), ())
    return replace(moved, **{name: getattr(event, name) for name in names})
