"""A step: one concrete action of an intent, and its life as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sep_ray.intent.intent import Constraints, Side
from sep_ray.intent.states import Reason
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.machine import move
from sep_ray.kernel.units import Asset, ChainId


class StepStatus(StrEnum):
    """Where a step stands."""

    PENDING = "PENDING"  # not due yet
    READY = "READY"  # due; the chain's executor takes it in order of priority
    WORKING = "WORKING"  # funds reserved, an attempt signed and journalled
    DONE = "DONE"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class StepKind(StrEnum):
    """What a step does."""

    SWAP = "swap"  # one asset for another on one chain
    BRIDGE = "bridge"  # the same money on another chain


TERMINAL: Final = frozenset(
    {
        StepStatus.DONE,
        StepStatus.FAILED,
        StepStatus.SKIPPED,
        StepStatus.CANCELLED,
        StepStatus.EXPIRED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A swap of `amount` units on the side named, due at `due` and begun before `deadline`.

    A BRIDGE step moves `amount` of `sell` on `chain_id` to `buy` on another chain. `after` names
    the steps that fund this one: it waits until all have ended, and ends with them if none gave
    anything. Its amount is then the share `amount / out_of` of what they gave of the asset it sells
    (with `out_of` 0 it stays as it is). Until it is funded its `due` is its deadline.

    The id is derived from the intent and the ordinal, so a repeated decomposition names the
    same steps. `sold`, `bought` and `quoted` (the planned variable side) are smallest units.
    """

    id: UUID
    intent_id: UUID
    strategy_id: str
    ordinal: int
    chain_id: ChainId
    sell: Asset
    buy: Asset
    amount: int
    side: Side
    constraints: Constraints
    priority: float
    due: Millis
    deadline: Millis
    kind: StepKind = StepKind.SWAP
    after: tuple[UUID, ...] = ()
    out_of: int = 0
    status: StepStatus = StepStatus.PENDING
    version: int = 0
    tries: int = 0
    attempt_id: UUID | None = None
    reserved: int = 0
    quoted: int = 0
    sold: int = 0
    bought: int = 0
    final: bool = False
    """Whether a DONE step's block is deep enough to stay."""
    reason: Reason | None = None
    detail: str = ""

    @property
    def stream_id(self) -> str:
        """The stream that holds this step's events."""
        return f"step/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCreated:
    """The step exists, PENDING or READY."""

    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRescheduled:
    """A missed schedule moved the step: new instant, new amount."""

    due: Millis
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReleased:
    """The step is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepHeld:
    """A limit does not allow the step yet: `code` says which kind, `until` when it may."""

    code: str
    detail: str
    until: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """Planned, funds reserved, attempt signed: all in this commit.

    `reserved` are units of the asset sold; `quoted` the plan's variable side; `plan` the whole
    plan as text for later explanation.
    """

    attempt_id: UUID
    reserved: int
    quoted: int
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReplanned:
    """The market moved while the attempt waited: another plan was signed at the same nonce."""

    quoted: int
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequeued:
    """The attempt ended without effect; the step waits for another turn."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFilled:
    """The chain did it: amounts read from the receipt's Transfer logs."""

    sold: int
    bought: int
    tx_hash: str
    block_number: int
    block_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUnfilled:
    """The block that held the fill is no longer part of the chain."""

    block_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinalized:
    """Its block is as deep as the fill's worth asks; only now may an intent's end rest on it."""

    block_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """No more tries, or none that could help."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped:
    """A slice that was missed and is not made up."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCancelled:
    """Not begun when the intent was cancelled."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class StepExpired:
    """Not begun when the deadline passed."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNetted:
    """Done without the chain: crossed at the mid with other strategies' opposite sales.

    `price` is units bought per unit sold, numerator and denominator.
    """

    sold: int
    bought: int
    netting_id: UUID
    price: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReduced:
    """A part of the step was crossed, and is a step of its own now: this much is left."""

    amount: int
    netting_id: UUID


StepEvent = (
    StepCreated
    | StepRescheduled
    | StepReleased
    | StepHeld
    | StepStarted
    | StepReplanned
    | StepRequeued
    | StepFilled
    | StepUnfilled
    | StepFinalized
    | StepFailed
    | StepSkipped
    | StepCancelled
    | StepExpired
    | StepNetted
    | StepReduced
)

TRANSITIONS: Final[Mapping[tuple[StepStatus, type], StepStatus]] = {
    (StepStatus.PENDING, StepRescheduled): StepStatus.PENDING,
    (StepStatus.PENDING, StepReleased): StepStatus.READY,
    (StepStatus.PENDING, StepSkipped): StepStatus.SKIPPED,
    (StepStatus.PENDING, StepCancelled): StepStatus.CANCELLED,
    (StepStatus.PENDING, StepExpired): StepStatus.EXPIRED,
    (StepStatus.READY, StepHeld): StepStatus.READY,
    (StepStatus.READY, StepReduced): StepStatus.READY,
    (StepStatus.READY, StepNetted): StepStatus.DONE,
    (StepStatus.READY, StepStarted): StepStatus.WORKING,
    (StepStatus.READY, StepFailed): StepStatus.FAILED,
    (StepStatus.READY, StepCancelled): StepStatus.CANCELLED,
    (StepStatus.READY, StepExpired): StepStatus.EXPIRED,
    (StepStatus.WORKING, StepReplanned): StepStatus.WORKING,
    (StepStatus.WORKING, StepRequeued): StepStatus.READY,
    (StepStatus.WORKING, StepFilled): StepStatus.DONE,
    (StepStatus.WORKING, StepFailed): StepStatus.FAILED,
    (StepStatus.DONE, StepUnfilled): StepStatus.WORKING,
    (StepStatus.DONE, StepFinalized): StepStatus.DONE,
}


_SETS: Final[Mapping[type, tuple[str, ...]]] = {
    StepRescheduled: ("due", "amount"),
    StepStarted: ("attempt_id", "reserved", "quoted"),
    StepHeld: ("detail",),
    StepReplanned: ("quoted",),
    StepRequeued: ("reason", "detail"),
    StepFailed: ("reason", "detail"),
    StepFilled: ("sold", "bought"),
    StepNetted: ("sold", "bought"),
    StepReduced: ("amount",),
    StepSkipped: ("reason",),
    StepCancelled: ("reason",),
    StepExpired: ("reason",),
}
"""The fields of a step that an event's fields of the same name replace."""
_MAKES: Final[Mapping[type, Mapping[str, Any]]] = {
    StepRequeued: {"reserved": 0},
    StepFailed: {"reserved": 0},
    StepFilled: {"reason": Reason.FILLED},
    StepFinalized: {"final": True},
    StepNetted: {"reason": Reason.FILLED, "final": True},
    StepUnfilled: {"sold": 0, "bought": 0, "final": False, "reason": None},
}
"""What an event makes of other fields, whatever it says."""


def evolve(step: Step | None, event: StepEvent) -> Step:
    """Return the step after `event`; only StepCreated may begin a stream."""
    if step is None:
        if not isinstance(event, StepCreated):
            raise InvariantBroken("a step begins with its creation", event=type(event).__name__)
        return replace(event.step, version=1)
    told = {name: getattr(event, name) for name in _SETS.get(type(event), ())}
    moved = replace(
        step,
        status=move(TRANSITIONS, step.status, event),
        version=step.version + 1,
        **told,
        **_MAKES.get(type(event), {}),
    )
    return replace(moved, tries=step.tries + 1) if isinstance(event, StepStarted) else moved
