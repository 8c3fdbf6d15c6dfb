"""What is written to the journal and what is read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sep_ray.decomposition.step import Step, StepEvent
from sep_ray.execution.attempt import Attempt, AttemptEvent
from sep_ray.intent.intent import Intent
from sep_ray.intent.states import IntentEvent, IntentRecord
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.book import LimitBook, PolicyEvent
from sep_ray.policy.halts import Halt, HaltEvent
from sep_ray.policy.usage import Reservation
from sep_ray.portfolio.events import AccountEvent
from sep_ray.portfolio.ledger import Posting
from sep_ray.settlement.transfer import Transfer, TransferEvent
from sep_ray.strategy.record import StrategyEvent, StrategyRecord

Event = (
    IntentEvent
    | StepEvent
    | AttemptEvent
    | AccountEvent
    | StrategyEvent
    | TransferEvent
    | PolicyEvent
    | HaltEvent
)
State = IntentRecord | Step | Attempt | StrategyRecord | Transfer | LimitBook | Halt


class VersionConflict(Transient):
    """Somebody wrote to the stream first: read again and decide again."""


class LimitExceeded(Rejected):
    """Somebody took a share of the limit first (P9); facts: limit_id, used, amount, bound. The
    limit_id of a bridge's exposure cap is "bridge/NAME"."""


class LeaseLost(Rejected):
    """The writer's epoch is over; another holds the lease (P5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The lease a write stands under: it counts only while the epoch is the lease's newest."""

    name: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events for one stream, which must stand at `expected_version` (0: must not exist).

    `correlation_id` is the intent's id where there is one: everything one intent led to shares
    it. `causation_id` names what this follows from: an event's stream owner, an attempt, a step.
    """

    stream_id: str
    expected_version: int
    events: tuple[Event, ...]
    correlation_id: UUID
    causation_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureCap:
    """The most units of its source asset that the bridge of a transfer of this commit may have,
    this transfer's own included (`Transfer.exposed`)."""

    transfer_id: UUID
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """All of it becomes durable at once, or none.

    Each stream appears once; `states` are the folds of the streams appended to, as they stand
    after the events (account streams have none). Postings are booked under the appends'
    correlation, which must then be one. journal/checks.py says it exactly.

    `reservations` are shares of limits; `policy_version` is the version of the limits they were
    decided by. What an attempt reserved is settled by the commit that ends it, by itself. `caps`
    hold for what bridges have once the commit stands.

    A fenced commit without appends books shares ahead of bytes that are still to be signed by
    the fence's lane, and first gives back what that lane booked ahead for attempts that never
    came to be: a lane signs one batch at a time.
    """

    at: Millis
    appends: tuple[Append, ...]
    states: tuple[State, ...] = ()
    postings: tuple[Posting, ...] = ()
    fence: Fence | None = None
    reservations: tuple[Reservation, ...] = ()
    policy_version: int | None = None
    caps: tuple[ExposureCap, ...] = ()


def together(commits: Sequence[Commit]) -> Commit | None:
    """Return one commit that says all of several, about different streams; None where they do not
    share their time and fence, or move units or limits: those belong to one story each."""
    first = commits[0]
    for each in commits:
        alone = each.postings or each.reservations or each.caps or each.policy_version is not None
        if alone or each.at != first.at or each.fence != first.fence:
            return None
    return Commit(
        at=first.at,
        appends=tuple(append for each in commits for append in each.appends),
        states=tuple(state for each in commits for state in each.states),
        fence=first.fence,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An event as it stands in the journal; `seq` is its place in commit order."""

    seq: int
    stream_id: str
    version: int
    event: Event
    at: Millis
    correlation_id: UUID
    causation_id: UUID | None
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An intent handed in. `digest` identifies the body for the idempotency key's check."""

    intent: Intent
    principal: str
    key: str | None = None
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Durable (P1)."""

    intent_id: UUID


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same key with the same body came before; nothing new was recorded."""

    intent_id: UUID


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The same key came before with another body; nothing was recorded."""

    intent_id: UUID


Verdict = Accepted | Repeated | KeyReused


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write as `name` until `expires_at`; each new holder has a higher epoch."""

    name: str
    holder: str
    epoch: int
    expires_at: Millis

    @property
    def fence(self) -> Fence:
        """What a commit under this lease carries."""
        return Fence(name=self.name, epoch=self.epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """What the holder of a lease that stands may rely on: the version of the limits right now."""

    policy_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentFilter:
    """Which intents a page holds; None means any."""

    strategy_id: str | None = None
    status: str | None = None
    type: str | None = None
    chain_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFilter:
    """Which transfers a page holds; None means any. `chain_id` is either end."""

    strategy_id: str | None = None
    bridge: str | None = None
    status: str | None = None
    chain_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A pair's mid price at a block: one unit of base is numerator/denominator units of quote.

    Units are smallest units on both sides.
    """

    chain_id: ChainId
    base: Asset
    quote: Asset
    block_number: int
    at: Millis
    numerator: int
    denominator: int
