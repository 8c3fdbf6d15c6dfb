"""CCTP V2: USDC burnt here is minted there once Circle has signed the message.

Contract functions, message layout and rules: Circle's TokenMessengerV2 and
MessageTransmitterV2; service: Circle's attestation API. Until it is attested a burn has no number
but its transaction; nothing is ever refunded, and anyone may mint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from sep_ray.adapters.bridges.addresses import CCTP, CctpBook
from sep_ray.adapters.bridges.reading import Event, Reader, calldata, paid_to
from sep_ray.adapters.bridges.services import Service
from sep_ray.adapters.evm.abi import address_word
from sep_ray.execution.ports import Call
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import PPM, Asset, ChainId, Rounding, divide
from sep_ray.settlement.ports import (
    NO_PAIR,
    Arrived,
    Blocked,
    Claim,
    Claimable,
    Departure,
    Lapsed,
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

MESSAGE_SENT: Final = Event(signature="MessageSent(bytes)", data=("bytes",))
MESSAGE_RECEIVED: Final = Event(
    signature="MessageReceived(address,uint32,bytes32,bytes32,uint32,bytes)",
    data=("uint32", "bytes32", "bytes"),
)
MINTED: Final = Event(
    signature="MintAndWithdraw(address,uint256,address,uint256)", data=("uint256", "uint256")
)
FAST, STANDARD = 1_000, 2_000
MODES: Final = {"fast": FAST, "standard": STANDARD}
BURN_GAS: Final = 200_000
MINT_GAS: Final = 250_000
GOOD_MS: Final = 60_000
_NONCE = slice(12, 44)
_BODY = 148
_EXPIRATION = slice(_BODY + 196, _BODY + 228)
_FILLED_IN = (_NONCE, slice(144, 148), slice(_BODY + 164, _BODY + 196), _EXPIRATION)
"""What the attesters write into a message: nonce, executed threshold, fee, expiration block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CctpTerms:
    """What the two ways take, by mode: (p50, p95) in milliseconds."""

    times_ms: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {"fast": (20_000, 120_000), "standard": (900_000, 1_800_000)}
    )
    caps: Mapping[Asset, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """A message as the attesters completed it; attestation empty while they have not signed."""

    message: bytes
    attestation: bytes

    @property
    def nonce(self) -> bytes:
        return self.message[_NONCE]

    @property
    def expires_at_block(self) -> int:
        """The target chain's block from which it must be signed again; 0: never."""
        return int.from_bytes(self.message[_EXPIRATION], "big")


def same_burn(sent: bytes, attested: bytes) -> bool:
    """Whether an attested message is the one that was sent, but for what attesters fill in."""
    if len(sent) != len(attested):
        return False
    ours, theirs = bytearray(sent), bytearray(attested)
    for part in _FILLED_IN:
        ours[part] = theirs[part] = bytes(part.stop - part.start)
    return ours == theirs


class Cctp:
    """Answers the port Bridge."""

    def __init__(
        self,
        readers: Mapping[ChainId, Reader],
        service: Service,
        terms: CctpTerms | None = None,
        books: Mapping[ChainId, CctpBook] = CCTP,
    ) -> None:
        self._readers = readers
        self._service = service
        self._terms = terms or CctpTerms()
        self._books = books
        self.traits = Traits(
            name="cctp",
            trust=Trust.ISSUER,
            refundable=False,
            anyone_can_finish=True,
            expires=False,
            needs_destination_gas=True,
            caps=self._terms.caps,
        )

    async def quote(self, want: Want) -> tuple[Quote, ...] | NoQuote:
        here, there = self._books.get(want.source.chain_id), self._books.get(want.target.chain_id)
        if here is None or there is None or here is there:
            return NoQuote(bridge="cctp", reason=NO_PAIR)
        if (want.source.address, want.target.address) != (here.usdc, there.usdc):
            return NoQuote(bridge="cctp", reason=NO_PAIR)
        for chain_id, book in ((want.source.chain_id, here), (want.target.chain_id, there)):
            if await self._paused(chain_id, book):
                return NoQuote(bridge="cctp", reason="paused", detail=f"chain {chain_id}")
        fees = await self._fees(here.domain, there.domain)
        found = tuple(
            quote
            for mode, threshold in MODES.items()
            if threshold in fees
            for quote in self._offer(want, mode, fees[threshold])
        )
        return found or NoQuote(bridge="cctp", reason="amount", detail="all of it is fee")

    def _offer(self, want: Want, mode: str, fee_ppm: int) -> list[Quote]:
        """Offer one way; the fee asked now, up to twice that at worst."""
        fee = divide(want.units * fee_ppm, PPM, Rounding.UP)
        most = 2 * fee
        if most >= want.units:
            return []
        p50, p95 = self._terms.times_ms[mode]
        return [
            Quote(
                bridge="cctp",
                mode=mode,
                source=want.source,
                target=want.target,
                units_in=want.units,
                units_out=want.units - fee,
                least_out=want.units - most,
                departure_gas=BURN_GAS,
                claim_gas=MINT_GAS,
                p50_ms=p50,
                p95_ms=p95,
                good_until=Millis(want.now + GOOD_MS),
            )
        ]

    async def _fees(self, source: int, target: int) -> dict[int, int]:
        """Return ppm by finality threshold; the service asks in basis points, or parts of them."""
        said = await self._service.get(f"/v2/burn/USDC/fees/{source}/{target}")
        try:
            return {int(each["finalityThreshold"]): _ppm(each["minimumFee"]) for each in said}
        except (LookupError, TypeError, ValueError, ArithmeticError):
            raise Transient("the fees make no sense", said=str(said)[:200]) from None

    async def _paused(self, chain_id: ChainId, book: CctpBook) -> bool:
        reader = self._readers[chain_id]
        for contract in (book.transmitter, book.usdc):
            if await reader.call(contract, "paused()", returns="(bool)"):
                return True
        return False

    async def depart(self, quote: Quote, want: Want) -> Departure:
        if want.now > quote.good_until:
            raise Rejected("the quote is too old", bridge=quote.bridge)
        here, there = self._books[want.source.chain_id], self._books[want.target.chain_id]
        data = calldata(
            "depositForBurn(uint256,uint32,bytes32,address,bytes32,uint256,uint32)",
            *(quote.units_in, there.domain, address_word(want.recipient), here.usdc),
            *(bytes(32), quote.units_in - quote.least_out, MODES[quote.mode]),
        )
        return Departure(
            call=Call(to=here.messenger, data=data),
            gas_limit=2 * BURN_GAS,
            spender=here.messenger,
            approve=quote.units_in,
            watch_from=(await self._readers[want.target.chain_id].block()).number,
        )

    async def observe(self, transfer: Transfer) -> Sighting:
        sent = await self._sent(transfer)
        if sent is None:
            return Unread(detail="the departure burnt nothing through this bridge")
        if transfer.reference.startswith("0x"):  # attested before: the chain alone knows the rest
            arrived = await self._arrival(transfer, bytes.fromhex(transfer.reference[2:]))
            if arrived is not None:
                return arrived
        departed = transfer.departure.tx_hash[2:] if transfer.departure is not None else ""
        unnamed = transfer.reference or f"burn {departed}"
        try:
            attested = await self._attested(transfer, sent)
        except (Transient, Rejected) as silent:
            detail = f"the attester does not answer: {silent}"
            return OnTheWay(waiting=Waiting.ATTESTATION, reference=unnamed, detail=detail)
        if attested is None:
            return OnTheWay(waiting=Waiting.ATTESTATION, reference=unnamed)
        return await self._mintable(transfer, attested)

    async def claim(self, transfer: Transfer) -> Claim:
        sent = await self._sent(transfer)
        attested = await self._attested(transfer, sent) if sent is not None else None
        if attested is None:
            raise Transient("the burn is not attested now")
        chain_id = transfer.target.chain_id
        data = calldata("receiveMessage(bytes,bytes)", attested.message, attested.attestation)
        return Claim(
            chain_id=chain_id,
            call=Call(to=self._books[chain_id].transmitter, data=data),
            gas_limit=MINT_GAS,
            what="mint",
        )

    async def _sent(self, transfer: Transfer) -> bytes | None:
        """Return the message that the departure sent, its nonce still zero; None if none."""
        if transfer.departure is None:
            return None
        chain_id = transfer.source.chain_id
        logs = await self._readers[chain_id].receipt_logs(transfer.departure.tx_hash)
        for log in MESSAGE_SENT.found_in(logs, self._books[chain_id].transmitter):
            (message,) = log.values(MESSAGE_SENT.data)
            if message[_BODY + 36 : _BODY + 68] == address_word(transfer.recipient):
                return bytes(message)
        return None

    async def _attested(self, transfer: Transfer, sent: bytes) -> Attested | None:
        """Ask the service; None while it has not signed this very message."""
        domain = self._books[transfer.source.chain_id].domain
        tx_hash = transfer.departure.tx_hash if transfer.departure is not None else ""
        said = await self._service.get(f"/v2/messages/{domain}", {"transactionHash": tx_hash})
        for each in _complete(said):
            if same_burn(sent, each.message):
                return each
        return None

    async def _mintable(self, transfer: Transfer, attested: Attested) -> Sighting:
        arrived = await self._arrival(transfer, attested.nonce)
        if arrived is not None:
            return arrived
        reference = "0x" + attested.nonce.hex()
        target = self._readers[transfer.target.chain_id]
        book = self._books[target.chain_id]
        until = attested.expires_at_block
        if until and until <= (await target.block()).number + 1:
            return await self._expired(reference, until)
        if await self._paused(target.chain_id, book):
            return Blocked(reference=reference, detail="the target chain's contracts are paused")
        why = await target.reverts(
            book.transmitter, "receiveMessage(bytes,bytes)", attested.message, attested.attestation
        )
        if why is not None:
            return Blocked(reference=reference, detail=f"a mint would fail: {why}")
        return Claimable(reference=reference, detail="attested")

    async def _expired(self, reference: str, until: int) -> Sighting:
        """Ask for new signatures; that the service does not answer changes nothing."""
        try:
            await self._service.post(f"/v2/reattest/{reference}")
        except (Transient, Rejected) as silent:
            return Lapsed(detail=f"expired at block {until}; cannot be signed again yet: {silent}")
        return Lapsed(detail=f"expired at block {until}; asked to be signed again")

    async def _arrival(self, transfer: Transfer, nonce: bytes) -> Arrived | None:
        """Return the mint of a nonce, whoever sent it; None while it is unused."""
        target = self._readers[transfer.target.chain_id]
        book = self._books[target.chain_id]
        used = await target.call(
            book.transmitter, "usedNonces(bytes32)", nonce, returns="(uint256)"
        )
        if not used:
            return None
        head = await target.block()
        topics = [MESSAGE_RECEIVED.topic, None, "0x" + nonce.hex()]
        found = await target.logs(book.transmitter, topics, transfer.watch_from, head.number)
        if not found:
            raise Transient("minted, and the mint's log is not found", nonce=nonce.hex())
        logs = await target.receipt_logs(found[-1].tx_hash)
        mints = [m for m in MINTED.found_in(logs, book.messenger) if m.index < found[-1].index]
        at = mints[-1].index if mints else 0
        paid = paid_to(logs, book.usdc, transfer.recipient, before=at)
        if paid is None:
            raise Transient("minted, and no payment is found", tx_hash=found[-1].tx_hash)
        return Arrived(
            asset=transfer.target,
            units=int.from_bytes(paid.data, "big"),
            proof=paid.proof(target.chain_id),
        )


def _ppm(basis_points: Any) -> int:
    """Read basis points such as 1 or 1.3 as ppm, rounded up."""
    found = Decimal(str(basis_points)) * 100
    if not 0 <= found <= PPM:
        raise ValueError("a fee is from 0 to 10000 basis points")
    return int(found.to_integral_value(ROUND_CEILING))


def _complete(said: Any) -> list[Attested]:
    """Read the signed messages out of the service's answer; what is pending is left out."""
    try:
        return [
            Attested(
                message=bytes.fromhex(each["message"][2:]),
                attestation=bytes.fromhex(each["attestation"][2:]),
            )
            for each in (said or {}).get("messages", ())
            if each["status"] == "complete"
        ]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise Transient("the attester's answer makes no sense", said=str(said)[:200]) from None
