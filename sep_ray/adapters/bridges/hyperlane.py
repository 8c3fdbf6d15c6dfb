"""Hyperlane warp routes: tokens locked or burnt here, a signed message releases or mints there.

Contract functions and events: @hyperlane-xyz/core. A relayer usually delivers; when none does, we
deliver ourselves with the validators' signatures. A delivery that the target router cannot pay
(too little collateral) fails again and again and is never refunded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eth_hash.auto import keccak

from sep_ray.adapters.bridges.addresses import HYPERLANE, HyperlaneBook
from sep_ray.adapters.bridges.reading import Event, Reader, calldata, paid_to, topic
from sep_ray.adapters.bridges.services import Service
from sep_ray.adapters.evm.abi import address_word
from sep_ray.execution.ports import Call
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.settlement.ports import (
    NO_PAIR,
    Arrived,
    Blocked,
    Claim,
    Claimable,
    Departure,
    NoQuote,
    OnTheWay,
    Quote,
    Sighting,
    Traits,
    Trust,
    Unread,
    Want,
)
from sep_ray.settlement.transfer import Transfer, Waiting

DISPATCH: Final = Event(signature="Dispatch(address,uint32,bytes32,bytes)", data=("bytes",))
PROCESS_ID: Final = Event(signature="ProcessId(bytes32)", data=())
INSERTED: Final = Event(signature="InsertedIntoTree(bytes32,uint32)", data=("bytes32", "uint32"))
TRANSFER_GAS: Final = 250_000
PROCESS_GAS: Final = 300_000
GOOD_MS: Final = 60_000
_BODY: Final = 77  # version 1, nonce 4, origin 4, sender 32, destination 4, recipient 32


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperlaneTerms:
    """How we use it: what deliveries take, and after how long we deliver ourselves."""

    p50_ms: int = 60_000
    p95_ms: int = 300_000
    patience_s: int = 600
    caps: Mapping[Asset, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A dispatched message: its id, its bytes, its place in the validators' tree."""

    id: bytes
    message: bytes
    leaf: int

    @property
    def units(self) -> int:
        """What the target router is told to pay."""
        return int.from_bytes(self.message[_BODY + 32 : _BODY + 64], "big")


class Hyperlane:
    """Answers the port Bridge. The service holds the validators' signed checkpoints."""

    def __init__(
        self,
        readers: Mapping[ChainId, Reader],
        service: Service,
        terms: HyperlaneTerms | None = None,
        books: Mapping[ChainId, HyperlaneBook] = HYPERLANE,
    ) -> None:
        self._readers = readers
        self._service = service
        self._terms = terms or HyperlaneTerms()
        self._books = books
        self.traits = Traits(
            name="hyperlane",
            trust=Trust.ATTESTED,
            refundable=False,
            anyone_can_finish=True,
            expires=False,
            needs_destination_gas=True,
            caps=self._terms.caps,
        )

    async def quote(self, want: Want) -> tuple[Quote, ...] | NoQuote:
        router, remote = self._routers(want.source, want.target)
        if router is None or remote is None:
            return NoQuote(bridge="hyperlane", reason=NO_PAIR)
        origin, target = self._readers[want.source.chain_id], self._readers[want.target.chain_id]
        enrolled = await origin.call(
            router, "routers(uint32)", want.target.chain_id, returns="(bytes32)"
        )
        if enrolled != address_word(remote):
            return NoQuote(bridge="hyperlane", reason=NO_PAIR)
        held = await self._collateral(target, want.target, remote)
        if held is not None and held < want.units:
            detail = f"{held} in the target's router"
            return NoQuote(bridge="hyperlane", reason="liquidity", detail=detail)
        fee = await origin.call(
            router, "quoteGasPayment(uint32)", want.target.chain_id, returns="(uint256)"
        )
        quote = Quote(
            bridge="hyperlane",
            mode="",
            source=want.source,
            target=want.target,
            units_in=want.units,
            units_out=want.units,
            least_out=want.units,
            fee_wei=fee,
            departure_gas=TRANSFER_GAS,
            p50_ms=self._terms.p50_ms,
            p95_ms=self._terms.p95_ms,
            good_until=Millis(want.now + GOOD_MS),
        )
        return (quote,)

    async def depart(self, quote: Quote, want: Want) -> Departure:
        if want.now > quote.good_until:
            raise Rejected("the quote is too old", bridge=quote.bridge)
        router, _ = self._routers(want.source, want.target)
        if router is None:
            raise Rejected("no route of ours", asset=str(want.source))
        data = calldata(
            "transferRemote(uint32,bytes32,uint256)",
            *(want.target.chain_id, address_word(want.recipient), quote.units_in),
        )
        locks = router != want.source.address  # a synthetic token burns by itself
        return Departure(
            call=Call(to=router, data=data, value_wei=quote.fee_wei),
            gas_limit=2 * TRANSFER_GAS,
            spender=router if locks else "",
            approve=quote.units_in if locks else 0,
            watch_from=(await self._readers[want.target.chain_id].block()).number,
        )

    async def observe(self, transfer: Transfer) -> Sighting:
        sent = await self._sent(transfer)
        if sent is None:
            return Unread(detail="the departure dispatched no message of ours")
        target = self._readers[transfer.target.chain_id]
        mailbox = self._books[target.chain_id].mailbox
        at = await target.call(mailbox, "processedAt(bytes32)", sent.id, returns="(uint48)")
        if at:
            return await self._arrival(target, sent, transfer, at)
        reference = "0x" + sent.id.hex()
        _, remote = self._routers(transfer.source, transfer.target)
        held = await self._collateral(target, transfer.target, remote) if remote else None
        if held is not None and held < sent.units:
            detail = f"{held} in the target's router, {sent.units} to be paid"
            return Blocked(reference=reference, detail=detail)
        return await self._undelivered(target, sent, transfer, reference)

    async def claim(self, transfer: Transfer) -> Claim:
        sent = await self._sent(transfer)
        if sent is None:
            raise Rejected("there is no message to deliver")
        metadata = await self._metadata(transfer.source.chain_id, sent)
        if metadata is None:
            raise Transient("the validators have not signed it")
        chain_id = transfer.target.chain_id
        data = calldata("process(bytes,bytes)", metadata, sent.message)
        return Claim(
            chain_id=chain_id,
            call=Call(to=self._books[chain_id].mailbox, data=data),
            gas_limit=PROCESS_GAS,
            what="deliver",
        )

    def _routers(self, source: Asset, target: Asset) -> tuple[str | None, str | None]:
        here, there = self._books.get(source.chain_id), self._books.get(target.chain_id)
        if here is None or there is None or source.chain_id == target.chain_id:
            return None, None
        return here.routes.get(source.address), there.routes.get(target.address)

    async def _collateral(self, target: Reader, asset: Asset, router: str) -> int | None:
        """Return what a router can pay out, None if it mints."""
        if router == asset.address:
            return None
        held: int = await target.call(
            asset.address, "balanceOf(address)", router, returns="(uint256)"
        )
        return held

    async def _sent(self, transfer: Transfer) -> Sent | None:
        """Return the message that the departure dispatched, None if there is none."""
        if transfer.departure is None:
            return None
        origin = self._readers[transfer.source.chain_id]
        book = self._books[origin.chain_id]
        router, _ = self._routers(transfer.source, transfer.target)
        logs = await origin.receipt_logs(transfer.departure.tx_hash)
        leaves: dict[bytes, int] = {}
        for log in INSERTED.found_in(logs, book.merkle_hook):
            message_id, leaf = log.values(INSERTED.data)
            leaves[message_id] = leaf
        for log in DISPATCH.found_in(logs, book.mailbox):
            (message,) = log.values(DISPATCH.data)
            if router is not None and log.topics[1] == topic(router):
                found = keccak(message)
                return Sent(id=found, message=message, leaf=leaves.get(found, 0))
        return None

    async def _arrival(self, target: Reader, sent: Sent, transfer: Transfer, at: int) -> Arrived:
        mailbox = self._books[target.chain_id].mailbox
        found = await target.logs(mailbox, [PROCESS_ID.topic, "0x" + sent.id.hex()], at, at)
        if not found:
            raise Transient("delivered, and the delivery's log is not found", block=at)
        logs = await target.receipt_logs(found[-1].tx_hash)
        processed = found[-1].index
        paid = paid_to(logs, transfer.target.address, transfer.recipient, after=processed)
        if paid is None:
            raise Transient("delivered, and no payment is found", tx_hash=found[-1].tx_hash)
        return Arrived(
            asset=transfer.target,
            units=int.from_bytes(paid.data, "big"),
            proof=paid.proof(target.chain_id),
        )

    async def _undelivered(
        self, target: Reader, sent: Sent, transfer: Transfer, reference: str
    ) -> Sighting:
        now = (await target.block()).timestamp
        since = now - (transfer.departed_at or transfer.planned_at) // 1_000
        if since < self._terms.patience_s:
            return OnTheWay(waiting=Waiting.ATTESTATION, reference=reference)
        try:
            metadata = await self._metadata(transfer.source.chain_id, sent)
        except (Transient, Rejected) as silent:
            detail = f"the validators' signatures cannot be had: {silent}"
            return OnTheWay(waiting=Waiting.ATTESTATION, reference=reference, detail=detail)
        if metadata is None:
            detail = "the validators have not signed it"
            return OnTheWay(waiting=Waiting.ATTESTATION, reference=reference, detail=detail)
        return await self._deliverable(target, sent, metadata, reference)

    async def _deliverable(
        self, target: Reader, sent: Sent, metadata: bytes, reference: str
    ) -> Sighting:
        mailbox = self._books[target.chain_id].mailbox
        why = await target.reverts(mailbox, "process(bytes,bytes)", metadata, sent.message)
        if why is not None:
            return Blocked(reference=reference, detail=f"a delivery would fail: {why}")
        return Claimable(reference=reference, detail="no relayer delivers it: deliver it ourselves")

    async def _metadata(self, origin: ChainId, sent: Sent) -> bytes | None:
        """Return what the target's ISM asks for: hook, root, index, signatures, if signed."""
        said: Any = await self._service.get(f"/checkpoints/{origin}/{sent.leaf}")
        if said is None:
            return None
        try:
            root = bytes.fromhex(said["root"][2:])
            signatures = b"".join(bytes.fromhex(each[2:]) for each in said["signatures"])
            signed_id = said["message_id"]
        except (LookupError, TypeError, ValueError):
            raise Transient("the checkpoint makes no sense", said=str(said)[:200]) from None
        if signed_id != "0x" + sent.id.hex():
            raise Transient("the checkpoint is of another message", leaf=sent.leaf)
        hook = address_word(self._books[origin].merkle_hook)
        return hook + root + sent.leaf.to_bytes(4, "big") + signatures
