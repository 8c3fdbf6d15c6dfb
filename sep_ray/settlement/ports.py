"""What settlement asks of a bridge: quote, depart, observe, claim, and what it declares of itself.

How an adapter is driven, so that one can be written without reading the engine:

1. `quote` is asked for every way the bridge offers now for one movement. No offer is an answer
   (`NoQuote`), not an exception.
2. `depart` turns the chosen quote into an unsigned call. The source chain's lane approves exactly
   `approve` units to `spender` if there is one, signs the call, journals it, and only then sends
   it: an adapter never sends. A crash may make it ask again; the earlier answer is then void.
3. Once the call is final, `observe` is asked again and again, at every head of either chain and at
   least once a second, until the transfer has ended. It reads the present truth from both chains
   (and, for what only a service knows, from the service), keeps nothing, and may be called by two
   processes at once. What it returns about money (Arrived, Refunded, Overdue) rests on a chain
   alone. It goes on reporting Arrived for as long as the arrival stands: when a reorganisation
   takes it, observe says what is then the case, and the credit is withdrawn.
4. When `observe` says Claimable or RedeemNeeded, and only then, `claim` is asked for the unsigned
   call, and the target chain's lane signs and sends it. Anybody may have been faster: then the
   call fails, and the next `observe` reports who did it as Arrived.

Errors of all four: Transient (a node or service cannot be asked now: asked again, nothing moves),
Indeterminate (answers contradict each other; the same), Rejected (from depart and claim only: this
cannot be done; `depart` puts the step back to another bridge, `claim` calls for an operator).
An adapter never guesses: what it cannot read raises Transient.

Amounts are smallest units of the asset named; addresses and hashes lower-case 0x-hex; chains count
time in seconds, all times here are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from sep_ray.execution.ports import Call
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.settlement.transfer import Proof, Transfer, Waiting

NO_PAIR: Final = "pair"
"""The reason of a `NoQuote` that no time cures."""


class Trust(StrEnum):
    """Whom one has to believe, the strongest class first."""

    CANONICAL = "canonical"  # the chains themselves: a rollup's own bridge
    ISSUER = "issuer"  # the token's issuer, who can always make or break it: CCTP
    OPTIMISTIC = "optimistic"  # relayers' own money, and a dispute period: Across
    ATTESTED = "attested"  # a committee's signatures: Hyperlane, LayerZero


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a bridge is, whatever it quotes.

    * `name`: unique, lower case, as in settings and events: "across", "cctp", "hyperlane"
    * `refundable`: what cannot arrive comes back on the source chain; else it can only go forward
    * `anyone_can_finish`: third parties may bring it in, and usually do
    * `expires`: an undelivered movement ends by itself at `Quote.expires_at`
    * `needs_destination_gas`: we may have to claim on the target chain, and pay for it
    * `caps`: the most units of an asset that may be with this bridge at any one time (exposure cap
      of this desk, not the bridge's own limit); an asset that is not named has no cap of its own
    """

    name: str
    trust: Trust
    refundable: bool
    anyone_can_finish: bool
    expires: bool
    needs_destination_gas: bool
    caps: Mapping[Asset, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One movement somebody wants quoted: `units` of `source` from `sender` on its chain to
    `recipient`, as `target` on another chain, asked at `now`."""

    source: Asset
    target: Asset
    units: int
    sender: str
    recipient: str
    now: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One way a bridge offers.

    * `mode`: the bridge's own name of the way ("fast", "standard"); "" if there is one only
    * `target`: what really arrives; names another asset than was wanted only if that is the
      bridge's rule (wrapped coin delivered as coin)
    * `units_out`, `least_out`: expected and least, in `target`
    * `fee_wei`: coin of the source chain that must go along
    * `departure_gas`, `claim_gas`: gas units on the source chain, and on the target chain if we
      have to claim (0: somebody else does)
    * `p50_ms`, `p95_ms`: from the departure's inclusion to the arrival
    * `expires_at`: the instant after which a refund is due, None if it never is
    * `good_until`: `depart` may be asked with this quote until then
    * `memo`: the adapter's own words to itself, handed back in `depart`
    """

    bridge: str
    mode: str
    source: Asset
    target: Asset
    units_in: int
    units_out: int
    least_out: int
    fee_wei: int = 0
    departure_gas: int
    claim_gas: int = 0
    p50_ms: int
    p95_ms: int
    expires_at: Millis | None = None
    good_until: Millis
    memo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoQuote:
    """The bridge cannot do this now, and why: "amount", "liquidity", "paused", ...; for "pair" it
    never can: it does not know these two assets as one another's ends."""

    bridge: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """The unsigned transaction that hands the money to the bridge.

    `call.value_wei` is the quote's `fee_wei`, and the units themselves where the source is the
    chain's coin. `spender` takes `approve` units of the source token ("" and 0: no approval).
    `watch_from` is a block of the target chain before which nothing can have arrived; `memo` is
    kept with the transfer and handed back with it.
    """

    call: Call
    gas_limit: int
    spender: str = ""
    approve: int = 0
    watch_from: int
    expires_at: Millis | None = None
    memo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """The departure's transaction stands, and holds no trace of this bridge."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTheWay:
    """Nothing to do but wait. `reference` names the movement on the bridge."""

    waiting: Waiting
    reference: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimable:
    """A transaction of ours brings it in now, or nearer (asks for a slow fill). An adapter whose
    third parties usually do that says OnTheWay for as long as it is worth leaving it to them."""

    reference: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeemNeeded:
    """It came over and its run failed or never came; a claim runs it."""

    reference: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapsed:
    """The attestation is too old. The adapter itself has asked for a new one, or does so now."""

    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowFilling:
    """The bridge was asked to pay by itself, and will with one of its next bundles."""

    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """It cannot arrive as things stand, though nothing is lost: the target is paused, liquidity
    is missing. It is waited for; after a long time a person is asked."""

    reference: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """The log on the target chain says that so much came to the recipient, and as what."""

    asset: Asset
    units: int
    proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """By the target chain's own state it was not delivered in time and never can be."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """The log on the source chain says that so much of the source asset came back. `detail` is by
    what it was found to be this movement's, where the log itself does not name it."""

    units: int
    proof: Proof
    detail: str = ""


Sighting = (
    Unread
    | OnTheWay
    | Claimable
    | RedeemNeeded
    | Lapsed
    | SlowFilling
    | Blocked
    | Arrived
    | Overdue
    | Refunded
)
"""What an adapter sees; exactly one holds at a time, the furthest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An unsigned transaction on the target chain; `what` says in a word what it does."""

    chain_id: ChainId
    call: Call
    gas_limit: int
    what: str


class Bridge(Protocol):
    """One bridge between the chains it knows. This module's head says how it is driven."""

    @property
    def traits(self) -> Traits:
        """What the bridge is; never changes while the process lives."""

    async def quote(self, want: Want) -> tuple[Quote, ...] | NoQuote:
        """Return at least one way of this movement, or why there is none."""

    async def depart(self, quote: Quote, want: Want) -> Departure:
        """Write the departure of a quote that is still good; Rejected when it is not any more."""

    async def observe(self, transfer: Transfer) -> Sighting:
        """Return what is the case now. `transfer.departure` is the Proof of a log of the final
        departure transaction; `tx_hash` in it finds the transaction's other logs.

        Transient when the chains cannot be read whole now (a node may show a block's state a
        moment before its logs): the transfer stands where it stood, look again.
        """

    async def claim(self, transfer: Transfer) -> Claim:
        """Write the claim of a transfer that was just seen Claimable or RedeemNeeded."""
