"""What execution asks of a chain, a signer and an encoder. Hashes and bytes are 0x-hex, lower case.

Amounts are smallest units, fees wei per gas, timestamps seconds as chains count them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from sep_ray.execution.attempt import Signed
from sep_ray.execution.verdict import Verdict
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.routing.gas import next_base_fee
from sep_ray.routing.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A block's header, as far as we read it."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee_wei: int
    gas_used: int
    gas_limit: int

    @property
    def next_base_fee_wei(self) -> int:
        """What the block after this one charges per gas, exactly."""
        return next_base_fee(self.base_fee_wei, self.gas_used, self.gas_limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """An ERC-20 Transfer log. `token`, `source` and `target` are addresses."""

    token: str
    source: str
    target: str
    units: int
    block_hash: str
    tx_hash: str
    log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a transaction: its place, its price and the tokens that moved.

    `data_fee_wei` is what a rollup took for its bytes, beside the gas.
    """

    tx_hash: str
    block_number: int
    block_hash: str
    index: int
    succeeded: bool
    gas_used: int
    gas_price_wei: int
    transfers: tuple[Transfer, ...] = ()
    data_fee_wei: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """An account after a block: transactions mined so far, and units of each asset asked for."""

    nonce: int
    units: dict[Asset, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a transaction does: whom it calls, with what, and how much coin goes along."""

    to: str
    data: str = "0x"
    value_wei: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsigned:
    """Everything a type-2 transaction says."""

    chain_id: ChainId
    nonce: int
    call: Call
    gas_limit: int
    max_fee_wei: int
    tip_wei: int


class Chain(Protocol):
    """The blocks, and the way into them.

    Reads raise Transient when the node cannot be asked or does not know the block (any more).
    """

    async def head(self) -> Head:
        """Return the newest header."""

    async def headers(self, numbers: Sequence[int]) -> tuple[Head | None, ...]:
        """Return the canonical headers of these numbers, None above the head."""

    async def receipts(self, tx_hashes: Sequence[str]) -> tuple[Receipt | None, ...]:
        """Return the receipts of these transactions, None where there is none."""

    async def send(
        self, signed: Sequence[Signed], since: Sequence[int | None] = ()
    ) -> tuple[Verdict, ...]:
        """Hand signed bytes to the node once; never raises for what the node or network does.

        `since` are the heads at which their nonces were first handed over; None for a first time.
        """

    def heads(self) -> AsyncIterator[Head]:
        """Yield headers as they come, missed ones first, without end; mends its own connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How far the chain itself says it will not go back; None where it has no such word.

    `safe`: a reorganisation would need a large part of the validators (on a rollup: the bytes are
    on the parent chain). `final`: it would need to break the chain's own rules.
    """

    safe: Head | None
    final: Head | None


class Finality(Protocol):
    """The chain's own word on finality (the block tags `safe` and `finalized`)."""

    async def settled(self) -> Settled:
        """Return the newest safe and final headers. Raises Transient when nobody can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCost:
    """What a rollup charges for a transaction's bytes on its parent chain.

    `gas` is part of the transaction's own gas (Arbitrum) and belongs into its limit; `wei` is paid
    beside its gas (the OP stack).
    """

    gas: int = 0
    wei: int = 0


FREE: Final = DataCost()
"""What bytes cost on a chain that is no rollup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A mined transaction that an account sent: its receipt, nonce, and all the coin it took."""

    receipt: Receipt
    nonce: int
    cost_wei: int


class Evidence(Protocol):
    """What is asked of a chain only when there is doubt. Both raise Transient."""

    async def failure(self, account: str, call: Call, at: Head) -> str | None:
        """Run a call as the account right after a block; say why it fails, None if it does not."""

    async def sent_by(self, account: str, first: int, last: int) -> tuple[Outgoing, ...]:
        """Return what the account sent in blocks first..last, by nonce, whoever signed it."""


class DataFees(Protocol):
    """A rollup's price for bytes. Chains that have none have no such port."""

    async def costs(self, calls: Sequence[Call], at: Head) -> tuple[DataCost, ...]:
        """Estimate what each call costs on top of its execution. Raises Transient."""


class EndpointState(StrEnum):
    """How an endpoint of a chain stands."""

    OK = "ok"
    LAGGING = "lagging"  # blocks behind the others
    FAILING = "failing"  # does not answer
    QUARANTINED = "quarantined"  # contradicted what enough others agree on


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """An endpoint as operators see it; `name` is its host, without path or secret.

    `latency_ms` is a moving average, `lag_blocks` the distance to the best known head,
    `evidence` what it was last caught at or why it last failed.
    """

    name: str
    state: EndpointState
    latency_ms: int | None
    head: int | None
    lag_blocks: int
    failures: int
    offences: int
    evidence: str = ""


class Endpoints(Protocol):
    """The nodes behind a chain."""

    def status(self) -> tuple[EndpointStatus, ...]:
        """Return how each of them is, in the order of the settings."""


class Accounts(Protocol):
    """What accounts hold and did."""

    async def state(self, account: str, assets: Sequence[Asset], at: Head) -> AccountState:
        """Read an account as it stood right after a block."""

    async def allowances(
        self, account: str, spender: str, tokens: Sequence[str], at: Head
    ) -> tuple[int, ...]:
        """Return how much of each token the spender may take after a block."""

    async def arrivals(self, account: str, first: int, last: int) -> tuple[Transfer, ...]:
        """Return the transfers to and from the account in blocks first..last, in order."""

    async def usual_tip(self) -> int:
        """Return the median tip of the last blocks' transactions."""

    async def revert_reason(self, tx_hash: str) -> str:
        """Say in words why a mined transaction failed; "" when nobody can tell."""


class Signer(Protocol):
    """Signs for one address; where the key is, nobody else knows."""

    @property
    def address(self) -> str:
        """The account, lower case."""

    async def sign(self, batch: Sequence[Unsigned]) -> tuple[Signed, ...]:
        """Sign type-2 transactions, in order."""


class Calls(Protocol):
    """Writes what a chain's contracts are to be told."""

    @property
    def mixes_venues(self) -> bool:
        """Whether one transaction can pass through pools of different families here."""

    def takers(self, router: str) -> tuple[str, ...]:
        """Return who must be allowed the sold token for a swap that calls this contract."""

    def approval(self, token: str, taker: str, units: int) -> Call:
        """Allow a taker exactly so much of a token."""

    def transfer(self, token: str, target: str, units: int) -> Call:
        """Send exactly so much of a token to another account."""

    def swap(self, plan: Plan, recipient: str) -> Call:
        """Write a plan's swap, with its limit and deadline, proceeds to the recipient."""

    def inside(self, raw: str) -> Call:
        """Return the call that signed bytes carry."""
