"""Across V3: a relayer pays on the target chain, what nobody pays comes back by a root bundle.

Contract functions and events: SpokePool of @across-protocol/contracts. A relay is named by the
hash of all its fields, so a fill of something that only resembles ours is never taken for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.abi import encode
from eth_hash.auto import keccak

from sep_ray.adapters.bridges.addresses import ACROSS_PAIRS, SPOKE_POOLS
from sep_ray.adapters.bridges.reading import (
    ZERO,
    Event,
    Log,
    Reader,
    calldata,
    paid_to,
    topic,
    unpadded,
)
from sep_ray.adapters.bridges.services import Service
from sep_ray.adapters.evm.abi import address_word
from sep_ray.execution.ports import Call
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import NATIVE, Asset, ChainId, Rounding, divide
from sep_ray.settlement.ports import (
    NO_PAIR,
    Arrived,
    Claim,
    Claimable,
    Departure,
    NoQuote,
    OnTheWay,
    Overdue,
    Quote,
    Refunded,
    Sighting,
    SlowFilling,
    Traits,
    Trust,
    Unread,
    Want,
)
from sep_ray.settlement.transfer import Transfer, Waiting

RELAY: Final = (
    "(bytes32,bytes32,bytes32,bytes32,bytes32,uint256,uint256,uint256,uint256,uint32,uint32,bytes)"
)
_B: Final = "bytes32"
_U: Final = "uint256"
FUNDS_DEPOSITED: Final = Event(
    signature=(
        "FundsDeposited(bytes32,bytes32,uint256,uint256,uint256,uint256,uint32,uint32,uint32,"
        "bytes32,bytes32,bytes32,bytes)"
    ),
    data=(_B, _B, _U, _U, "uint32", "uint32", "uint32", _B, _B, "bytes"),
)
FILLED_RELAY: Final = Event(
    signature=(
        "FilledRelay(bytes32,bytes32,uint256,uint256,uint256,uint256,uint256,uint32,uint32,"
        "bytes32,bytes32,bytes32,bytes32,bytes32,(bytes32,bytes32,uint256,uint8))"
    ),
    data=(
        *(_B, _B, _U, _U, _U, "uint32", "uint32", _B, _B, _B, _B),
        "(bytes32,bytes32,uint256,uint8)",
    ),
)
REFUNDED: Final = Event(
    signature=(
        "ExecutedRelayerRefundRoot(uint256,uint256,uint256[],uint32,uint32,address,address[],"
        "bool,address)"
    ),
    data=(_U, "uint256[]", "address", "address[]", "bool", "address"),
)
UNFILLED, SLOW_REQUESTED, FILLED = 0, 1, 2
DEPOSIT_GAS: Final = 150_000
SLOW_FILL_GAS: Final = 150_000
GOOD_MS: Final = 60_000
REFUND_LOOKBACK: Final = 50_000
"""Blocks before a departure in which an older deposit of ours may still wait for its refund."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """All the fields of one relay, and the chain it is to be filled on."""

    depositor: str
    recipient: str
    exclusive_relayer: str
    input_token: str
    output_token: str
    input_amount: int
    output_amount: int
    origin: ChainId
    deposit_id: int
    fill_deadline: int
    exclusivity_deadline: int
    message: bytes
    destination: ChainId

    @classmethod
    def read(cls, log: Log, origin: ChainId) -> Relay:
        """Read it from its FundsDeposited log."""
        given, wanted, units_in, units_out, _, until, exclusive, recipient, relayer, message = (
            log.values(FUNDS_DEPOSITED.data)
        )
        return cls(
            depositor=unpadded(bytes.fromhex(log.topics[3][2:])),
            recipient=unpadded(recipient),
            exclusive_relayer=unpadded(relayer),
            input_token=unpadded(given),
            output_token=unpadded(wanted),
            input_amount=units_in,
            output_amount=units_out,
            origin=origin,
            deposit_id=int(log.topics[2], 16),
            fill_deadline=until,
            exclusivity_deadline=exclusive,
            message=message,
            destination=ChainId(int(log.topics[1], 16)),
        )

    def fields(self) -> tuple[Any, ...]:
        """The struct V3RelayData."""
        return (
            address_word(self.depositor),
            address_word(self.recipient),
            address_word(self.exclusive_relayer),
            address_word(self.input_token),
            address_word(self.output_token),
            self.input_amount,
            self.output_amount,
            self.origin,
            self.deposit_id,
            self.fill_deadline,
            self.exclusivity_deadline,
            self.message,
        )

    def hash(self) -> bytes:
        """What the target's SpokePool knows it by."""
        return keccak(encode([RELAY, "uint256"], [self.fields(), self.destination]))

    def is_filled_by(self, log: Log) -> bool:
        """Whether a FilledRelay log is of this very relay, not of one with the same number."""
        said = log.values(FILLED_RELAY.data)
        mine = (
            address_word(self.input_token),
            address_word(self.output_token),
            self.input_amount,
            self.output_amount,
        )
        ends = (
            self.fill_deadline,
            self.exclusivity_deadline,
            address_word(self.exclusive_relayer),
            address_word(self.depositor),
            address_word(self.recipient),
        )
        return (said[:4], said[5:10]) == (mine, ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcrossTerms:
    """How we use it.

    `fill_window_s` after which what nobody filled is refunded (at most 6 hours); `slow_after_s`
    after which we ask the bridge itself to pay, if then `slow_needs_s` are left for its bundle;
    `p50_ms`, `p95_ms` what fills take.
    """

    fill_window_s: int = 4 * 3_600
    slow_after_s: int = 1_800
    slow_needs_s: int = 2 * 3_600
    p50_ms: int = 10_000
    p95_ms: int = 120_000
    caps: Mapping[Asset, int] = field(default_factory=dict)


class Across:
    """Answers the port Bridge. The service suggests fees as Across's own API does."""

    def __init__(
        self,
        readers: Mapping[ChainId, Reader],
        service: Service,
        terms: AcrossTerms | None = None,
        pools: Mapping[ChainId, str] = SPOKE_POOLS,
    ) -> None:
        self._readers = readers
        self._service = service
        self._terms = terms or AcrossTerms()
        self._pools = pools
        self.traits = Traits(
            name="across",
            trust=Trust.OPTIMISTIC,
            refundable=True,
            anyone_can_finish=True,
            expires=True,
            needs_destination_gas=False,
            caps=self._terms.caps,
        )

    async def quote(self, want: Want) -> tuple[Quote, ...] | NoQuote:
        if (want.source, want.target) not in ACROSS_PAIRS:
            return NoQuote(bridge="across", reason=NO_PAIR)
        origin, target = self._ends(want.source.chain_id, want.target.chain_id)
        if await origin.call(self._pool(origin), "pausedDeposits()", returns="(bool)"):
            return NoQuote(bridge="across", reason="paused", detail="deposits")
        if await target.call(self._pool(target), "pausedFills()", returns="(bool)"):
            return NoQuote(bridge="across", reason="paused", detail="fills")
        fee, most = await self._suggested(want)
        if want.units > most:
            return NoQuote(bridge="across", reason="liquidity", detail=f"at most {most}")
        if fee >= want.units:
            return NoQuote(bridge="across", reason="amount", detail="all of it is fee")
        received = await self._received(want, target)
        return (self._offer(want, received, want.units - fee),)

    def _offer(self, want: Want, received: Asset, units_out: int) -> Quote:
        return Quote(
            bridge="across",
            mode="",
            source=want.source,
            target=received,
            units_in=want.units,
            units_out=units_out,
            least_out=units_out,
            departure_gas=DEPOSIT_GAS,
            p50_ms=self._terms.p50_ms,
            p95_ms=self._terms.p95_ms,
            expires_at=Millis(want.now + self._terms.fill_window_s * 1_000),
            good_until=Millis(want.now + GOOD_MS),
        )

    async def _suggested(self, want: Want) -> tuple[int, int]:
        """Return the fee in units, rounded up, and the most units that can be sent."""
        said = await self._service.get(
            "/suggested-fees",
            {
                "inputToken": want.source.address,
                "outputToken": want.target.address,
                "originChainId": str(want.source.chain_id),
                "destinationChainId": str(want.target.chain_id),
                "amount": str(want.units),
            },
        )
        try:
            share = int(said["totalRelayFee"]["pct"])
            most = int(said["limits"]["maxDeposit"])
        except (LookupError, TypeError, ValueError):
            raise Transient("the suggested fees make no sense", said=str(said)[:200]) from None
        return divide(want.units * share, 10**18, Rounding.UP), most

    async def _received(self, want: Want, target: Reader) -> Asset:
        """Return what arrives: wrapped coin reaches an account without code as coin."""
        pool = self._pool(target)
        wrapped = await target.call(pool, "wrappedNativeToken()", returns="(address)")
        if wrapped != want.target.address:
            return want.target
        code = await target.code(want.recipient)
        is_contract = bool(code) and not code.startswith(bytes.fromhex("ef0100"))
        return want.target if is_contract else Asset(want.target.chain_id, NATIVE)

    async def depart(self, quote: Quote, want: Want) -> Departure:
        if want.now > quote.good_until:
            raise Rejected("the quote is too old", bridge=quote.bridge)
        origin, target = self._ends(want.source.chain_id, want.target.chain_id)
        now, there = await origin.block(), await target.block()
        until = there.timestamp + self._terms.fill_window_s
        pool = self._pool(origin)
        data = calldata(
            "deposit(bytes32,bytes32,bytes32,bytes32,uint256,uint256,uint256,bytes32,uint32,uint32,"
            "uint32,bytes)",
            *(address_word(want.sender), address_word(want.recipient)),
            *(address_word(want.source.address), address_word(want.target.address)),
            *(quote.units_in, quote.units_out, want.target.chain_id, address_word(ZERO)),
            *(now.timestamp, until, 0, b""),
        )
        return Departure(
            call=Call(to=pool, data=data),
            gas_limit=2 * DEPOSIT_GAS,
            spender=pool,
            approve=quote.units_in,
            watch_from=there.number,
            expires_at=Millis(until * 1_000),
        )

    async def observe(self, transfer: Transfer) -> Sighting:
        relay = await self._relay(transfer)
        if relay is None:
            return Unread(detail="the departure holds no deposit of ours")
        target = self._readers[relay.destination]
        status = await self._status(target, relay)
        if status == FILLED:
            return await self._arrival(target, relay, transfer)
        reference = f"{relay.origin}/{relay.deposit_id}"
        if (await target.block()).timestamp > relay.fill_deadline:
            return await self._after_deadline(target, relay, transfer, reference)
        if status == SLOW_REQUESTED:
            return SlowFilling(detail=f"deposit {reference} waits for a root bundle")
        return await self._unfilled(target, relay, transfer, reference)

    async def claim(self, transfer: Transfer) -> Claim:
        relay = await self._relay(transfer)
        if relay is None:
            raise Rejected("there is no deposit to ask a slow fill for")
        pool = self._pools[relay.destination]
        data = calldata(f"requestSlowFill({RELAY})", relay.fields())
        return Claim(
            chain_id=relay.destination,
            call=Call(to=pool, data=data),
            gas_limit=SLOW_FILL_GAS,
            what="slow fill",
        )

    async def _relay(self, transfer: Transfer) -> Relay | None:
        """Return the relay that the departure asked for, None if it asked for none."""
        if transfer.departure is None:
            return None
        chain_id = transfer.source.chain_id
        logs = await self._readers[chain_id].receipt_logs(transfer.departure.tx_hash)
        for log in FUNDS_DEPOSITED.found_in(logs, self._pools[chain_id]):
            relay = Relay.read(log, chain_id)
            if relay.depositor == transfer.sender and relay.input_token == transfer.source.address:
                return relay
        return None

    async def _status(self, target: Reader, relay: Relay, at: str = "latest") -> int:
        pool, digest = self._pool(target), relay.hash()
        found: int = await target.call(
            pool, "fillStatuses(bytes32)", digest, returns="(uint256)", at=at
        )
        return found

    async def _arrival(self, target: Reader, relay: Relay, transfer: Transfer) -> Arrived:
        pool, head = self._pool(target), await target.block()
        topics = [FILLED_RELAY.topic, topic(relay.origin), topic(relay.deposit_id)]
        found = await target.logs(pool, topics, transfer.watch_from, head.number)
        mine = [log for log in found if relay.is_filled_by(log)]
        if not mine:
            raise Transient("filled, and the fill's log is not found", deposit=relay.deposit_id)
        fill = mine[-1]
        logs = await target.receipt_logs(fill.tx_hash)
        paid = paid_to(logs, relay.output_token, transfer.recipient, after=fill.index)
        if paid is not None:
            return Arrived(
                asset=Asset(relay.destination, relay.output_token),
                units=int.from_bytes(paid.data, "big"),
                proof=paid.proof(relay.destination),
            )
        updated = fill.values(FILLED_RELAY.data)[-1]
        return Arrived(
            asset=Asset(relay.destination, NATIVE),
            units=updated[2],
            proof=fill.proof(relay.destination),
        )

    async def _unfilled(
        self, target: Reader, relay: Relay, transfer: Transfer, reference: str
    ) -> Sighting:
        now = (await target.block()).timestamp
        since = now - (transfer.departed_at or transfer.planned_at) // 1_000
        left = relay.fill_deadline - now
        if since >= self._terms.slow_after_s and left >= self._terms.slow_needs_s:
            return Claimable(reference=reference, detail="nobody fills it: ask for a slow fill")
        if await target.call(self._pool(target), "pausedFills()", returns="(bool)"):
            detail = "fills are paused on the target chain"
            return OnTheWay(waiting=Waiting.FILL, reference=reference, detail=detail)
        return OnTheWay(waiting=Waiting.FILL, reference=reference)

    async def _after_deadline(
        self, target: Reader, relay: Relay, transfer: Transfer, reference: str
    ) -> Sighting:
        """Say it is overdue only when no block that may still change could hold a fill."""
        final = await target.block("finalized")
        too_late = final.timestamp > relay.fill_deadline
        if not too_late or await self._status(target, relay, hex(final.number)) == FILLED:
            detail = "the deadline is over; not final yet"
            return OnTheWay(waiting=Waiting.FILL, reference=reference, detail=detail)
        refund = await self._refund(relay, transfer)
        if refund is not None:
            return refund
        return Overdue(detail=f"deposit {reference} was not filled by {relay.fill_deadline}")

    async def _refund(self, relay: Relay, transfer: Transfer) -> Refunded | None:
        """Find our deposit's part among the refunds to the depositor, which name no deposit."""
        origin = self._readers[relay.origin]
        pool, head = self._pool(origin), await origin.block()
        departed = transfer.departure.block_number if transfer.departure else 0
        first = max(0, departed - REFUND_LOOKBACK)
        given = await origin.logs(
            pool, [FUNDS_DEPOSITED.topic, None, None, topic(relay.depositor)], first, head.number
        )
        deposits = [Relay.read(log, relay.origin) for log in given]
        lapsed = [each for each in deposits if await self._lapsed(each, relay, head.timestamp)]
        logs = await origin.logs(pool, [REFUNDED.topic], first, head.number)
        payments = [
            (units, log)
            for log in logs
            for units in refunds_to(log, relay.depositor, relay.input_token)
        ]
        paid = matched(lapsed, payments).get(relay.deposit_id)
        if paid is None:
            return None
        found = await origin.receipt_logs(paid.tx_hash)
        sent = paid_to(found, relay.input_token, relay.depositor, before=paid.index)
        proof = (sent or paid).proof(relay.origin)
        return Refunded(units=relay.input_amount, proof=proof, detail=refund_words(relay, lapsed))

    async def _lapsed(self, deposit: Relay, relay: Relay, now: int) -> bool:
        """Whether a deposit of the same token ended unfilled, like ours."""
        if deposit.input_token != relay.input_token or deposit.fill_deadline >= now:
            return False
        reader = self._readers.get(deposit.destination)
        return reader is not None and await self._status(reader, deposit) != FILLED

    def _ends(self, source: ChainId, target: ChainId) -> tuple[Reader, Reader]:
        return self._readers[source], self._readers[target]

    def _pool(self, reader: Reader) -> str:
        return self._pools[reader.chain_id]


def refunds_to(log: Log, account: str, token: str) -> list[int]:
    """Return what one executed refund leaf paid an account in a token."""
    _, amounts, paid_in, addresses, _, _ = log.values(REFUNDED.data)
    if paid_in != token:
        return []
    return [units for units, to in zip(amounts, addresses, strict=True) if to == account]


def refund_words(relay: Relay, lapsed: Sequence[Relay]) -> str:
    """Return by what a refund was found to be a deposit's: the chain does not name the deposit."""
    name = f"{relay.origin}/{relay.deposit_id}"
    others = [each for each in lapsed if each.deposit_id != relay.deposit_id]
    if not others:
        return f"the only lapsed deposit of the account and token is {name}"
    words = f"matched to {name} in the order of deadlines, with {len(others)} other lapsed deposits"
    alike = [each.deposit_id for each in others if each.input_amount == relay.input_amount]
    if not alike:
        return words
    named = ", ".join(map(str, sorted(alike)))
    return f"{words}; the chain cannot tell it from those of the same amount: {named}"


def matched(deposits: list[Relay], payments: list[tuple[int, Log]]) -> dict[int, Log]:
    """Say which payment refunded which deposit.

    A leaf sums all that an account gets, and bundles cover deposits in the order in which they
    lapsed. So the k-th lapsed deposit is paid once all payments up to then cover the first k.
    """
    order = sorted(deposits, key=lambda each: (each.fill_deadline, each.deposit_id))
    found: dict[int, Log] = {}
    owed = paid = 0
    rest = iter(payments)
    last: Log | None = None
    for deposit in order:
        owed += deposit.input_amount
        while paid < owed and (payment := next(rest, None)) is not None:
            paid, last = paid + payment[0], payment[1]
        if paid < owed or last is None:
            break
        found[deposit.deposit_id] = last
    return found
