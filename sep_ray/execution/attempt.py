"""An attempt: one nonce's worth of trying to land one transaction, and its life as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from uuid import UUID

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.machine import move
from sep_ray.kernel.units import Asset, ChainId


class AttemptStatus(StrEnum):
    """Where an attempt stands. Only evidence from the chain leaves BROADCAST (P6)."""

    PREPARED = "PREPARED"  # signed and journalled; perhaps never sent
    BROADCAST = "BROADCAST"  # handed to at least one node; fate unknown
    INCLUDED = "INCLUDED"  # in a block, succeeded; may still be reorganised away
    REVERTED = "REVERTED"  # in a block, without effect; the nonce is used and gas is paid
    NEEDS_OPERATOR = "NEEDS_OPERATOR"  # its nonce is used, and the chain does not say by what
    FINAL = "FINAL"  # deep enough; nothing can change it
    FINAL_REVERTED = "FINAL_REVERTED"
    REPLACED = "REPLACED"  # the nonce went to another transaction of ours
    DROPPED = "DROPPED"  # the nonce was used by a transaction that is not ours
    EXPIRED = "EXPIRED"  # never sent before its deadline; nonce given back
    CANCELLED = "CANCELLED"  # its cancel transaction landed in its place


TERMINAL: Final = frozenset(
    {
        AttemptStatus.FINAL,
        AttemptStatus.FINAL_REVERTED,
        AttemptStatus.REPLACED,
        AttemptStatus.DROPPED,
        AttemptStatus.EXPIRED,
        AttemptStatus.CANCELLED,
    }
)


class Purpose(StrEnum):
    """What a transaction is for."""

    SWAP = "swap"
    APPROVAL = "approval"
    CANCEL = "cancel"
    DEPARTURE = "departure"  # hands money to a bridge
    ARRIVAL = "arrival"  # brings in what a bridge holds on this chain
    TRANSFER = "transfer"  # tokens from one account of ours to another, for a step
    REFUEL = "refuel"  # coin for gas from one account of ours to another that runs short


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Units that a TRANSFER (of a token) or REFUEL (of coin) brings to another account of ours."""

    asset: Asset
    units: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Signed bytes and what they promise to pay; hashes and bytes are 0x-hex.

    `cancel` marks a version that does nothing but use the nonce up.
    """

    raw: str
    tx_hash: str
    max_fee_wei: int
    tip_wei: int
    gas_limit: int
    cancel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """Where a transaction landed and what it cost.

    `index` is its place in the block; `log_index` that of the first log that moved our tokens,
    None when there is none. They make up the proofs of what is booked. `data_fee_wei` is what a
    rollup took for its bytes.
    """

    tx_hash: str
    block_number: int
    block_hash: str
    gas_used: int
    gas_price_wei: int
    index: int = 0
    log_index: int | None = None
    left: int = 0
    """Units of the step's asset that a departure took, read from its logs."""
    data_fee_wei: int = 0

    @property
    def cost_wei(self) -> int:
        """All that it cost, in the chain's coin."""
        return self.gas_used * self.gas_price_wei + self.data_fee_wei

    @property
    def fill_proof(self) -> str:
        """The proof under which moved tokens are booked: "block_hash/log_index"."""
        return f"{self.block_hash}/{self.log_index}"

    @property
    def coin_proof(self) -> str:
        """The proof under which sent coin is booked; it has no log: "block_hash/tx/index/coin"."""
        return f"{self.gas_proof}/coin"

    @property
    def gas_proof(self) -> str:
        """The proof under which gas is booked; gas has no log: "block_hash/tx/index"."""
        return f"{self.block_hash}/tx/{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One nonce of one lane. `signed` holds every version sent, the newest last.

    `sent_block` is the head at which the newest version was first handed over, `first_sent` that of
    the first of all. It is never forgotten: whoever is told only after some blocks is told in time.
    """

    id: UUID
    step_id: UUID | None
    purpose: Purpose
    chain_id: ChainId
    account: str
    nonce: int
    to: str
    signed: tuple[Signed, ...]
    prepared_at: Millis
    deadline: Millis
    status: AttemptStatus = AttemptStatus.PREPARED
    version: int = 0
    sent_block: int | None = None
    inclusion: Inclusion | None = None
    detail: str = ""
    moving: Moving | None = None
    first_sent: int | None = None

    @property
    def stream_id(self) -> str:
        """The stream that holds this attempt's events."""
        return f"attempt/{self.id}"

    @property
    def newest(self) -> Signed:
        """The version sent last, and sent again."""
        return self.signed[-1]

    def version_of(self, tx_hash: str) -> Signed | None:
        """Return the signed version with this hash."""
        return next((each for each in self.signed if each.tx_hash == tx_hash), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPrepared:
    """Signed, and durable before anybody hears of it (P4)."""

    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBroadcast:
    """Handed over while the chain's head was `block_number`; the answer is the node's words."""

    tx_hash: str
    block_number: int
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBumped:
    """Signed again at the same nonce with higher fees."""

    signed: Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptIncluded:
    """In a block, succeeded."""

    inclusion: Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReverted:
    """In a block, without effect; `detail` is the decoded reason, or that it was cancelled."""

    inclusion: Inclusion
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptUnincluded:
    """Its block is no longer part of the chain."""

    block_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinalized:
    """Deep enough under the chain's rule."""

    block_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReplaced:
    """Another transaction of ours holds the nonce."""

    tx_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDropped:
    """A transaction that is not ours used the nonce; `detail` is the evidence."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptExpired:
    """Never sent; its nonce was not used by it."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCancelled:
    """The cancel transaction is final in its place."""

    tx_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptUndecided:
    """The chain gave no evidence either way within bounds; `detail` says what was asked."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResolved:
    """A named person vouches that it never landed and never can; `detail` is their reason."""

    principal: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptWatched:
    """A named person asks to look for evidence once more."""

    principal: str
    detail: str


AttemptEvent = (
    AttemptPrepared
    | AttemptBroadcast
    | AttemptBumped
    | AttemptIncluded
    | AttemptReverted
    | AttemptUnincluded
    | AttemptFinalized
    | AttemptReplaced
    | AttemptDropped
    | AttemptExpired
    | AttemptCancelled
    | AttemptUndecided
    | AttemptResolved
    | AttemptWatched
)

_A = AttemptStatus
TRANSITIONS: Final[Mapping[tuple[AttemptStatus, type], AttemptStatus]] = {
    (_A.PREPARED, AttemptBroadcast): _A.BROADCAST,
    (_A.PREPARED, AttemptBumped): _A.PREPARED,
    (_A.PREPARED, AttemptExpired): _A.EXPIRED,
    (_A.PREPARED, AttemptIncluded): _A.INCLUDED,
    (_A.PREPARED, AttemptReverted): _A.REVERTED,
    (_A.PREPARED, AttemptDropped): _A.DROPPED,
    (_A.PREPARED, AttemptUndecided): _A.NEEDS_OPERATOR,
    (_A.BROADCAST, AttemptBroadcast): _A.BROADCAST,
    (_A.BROADCAST, AttemptBumped): _A.PREPARED,
    (_A.BROADCAST, AttemptIncluded): _A.INCLUDED,
    (_A.BROADCAST, AttemptReverted): _A.REVERTED,
    (_A.BROADCAST, AttemptReplaced): _A.REPLACED,
    (_A.BROADCAST, AttemptDropped): _A.DROPPED,
    (_A.BROADCAST, AttemptUndecided): _A.NEEDS_OPERATOR,
    (_A.NEEDS_OPERATOR, AttemptIncluded): _A.INCLUDED,
    (_A.NEEDS_OPERATOR, AttemptReverted): _A.REVERTED,
    (_A.NEEDS_OPERATOR, AttemptDropped): _A.DROPPED,
    (_A.NEEDS_OPERATOR, AttemptResolved): _A.DROPPED,
    (_A.NEEDS_OPERATOR, AttemptWatched): _A.BROADCAST,
    (_A.INCLUDED, AttemptBumped): _A.INCLUDED,
    (_A.INCLUDED, AttemptFinalized): _A.FINAL,
    (_A.INCLUDED, AttemptUnincluded): _A.BROADCAST,
    (_A.REVERTED, AttemptBumped): _A.REVERTED,
    (_A.REVERTED, AttemptFinalized): _A.FINAL_REVERTED,
    (_A.REVERTED, AttemptCancelled): _A.CANCELLED,
    (_A.REVERTED, AttemptUnincluded): _A.BROADCAST,
}


def evolve(attempt: Attempt | None, event: AttemptEvent) -> Attempt:
    """Return the attempt after `event`; only AttemptPrepared may begin a stream."""
    if attempt is None:
        if not isinstance(event, AttemptPrepared):
            raise InvariantBroken("an attempt begins prepared", event=type(event).__name__)
        return replace(event.attempt, version=1)
    moved = replace(
        attempt,
        status=move(TRANSITIONS, attempt.status, event),
        version=attempt.version + 1,
        inclusion=getattr(event, "inclusion", attempt.inclusion),
        detail=getattr(event, "detail", attempt.detail),
    )
    match event:
        case AttemptBroadcast():
            sent, first = attempt.sent_block, attempt.first_sent
            return replace(
                moved,
                sent_block=event.block_number if sent is None else sent,
                first_sent=event.block_number if first is None else first,
            )
        case AttemptBumped():
            return replace(moved, signed=(*attempt.signed, event.signed), sent_block=None)
        case AttemptUnincluded():
            return replace(moved, inclusion=None, detail="", sent_block=None)
        case _:
            return moved
