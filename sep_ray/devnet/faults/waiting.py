"""Raw transactions on their way: held back, swallowed, and replaced by geth's rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from eth_utils.crypto import keccak

from sep_ray.adapters.evm.transactions import parse, sender
from sep_ray.devnet.faults.rules import Fault
from sep_ray.devnet.faults.upstream import Refused, Upstream
from sep_ray.kernel.errors import Rejected

BUMP_PERCENT: Final = 10
"""go-ethereum's txpool.pricebump: both fees of a replacement, at least so much above the old."""
KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a raw transaction offers; `slot` is its sender and nonce."""

    tx_hash: str
    raw: str
    slot: tuple[str, int]
    max_fee_wei: int
    tip_wei: int

    def may_replace(self, old: Offer) -> bool:
        """Apply go-ethereum core/txpool/legacypool/list.go: more, and 10 % more, of both."""
        pairs = ((self.max_fee_wei, old.max_fee_wei), (self.tip_wei, old.tip_wei))
        return all(new > was and new >= was * (100 + BUMP_PERCENT) // 100 for new, was in pairs)


def read_offer(raw: str) -> Offer | None:
    """Read a signed type-2 transaction; None for anything else."""
    try:
        data = bytes.fromhex(raw[2:])
        fields = parse(data)
        nonce, tip, fee = (int.from_bytes(bytes(fields[n]), "big") for n in (1, 2, 3))
        slot = sender(data), nonce
    except (Rejected, ValueError, TypeError):
        return None
    return Offer(
        tx_hash="0x" + keccak(data).hex(),
        raw=raw,
        slot=slot,
        max_fee_wei=fee,
        tip_wei=tip,
    )


def hash_of(raw: str) -> str:
    """Return the hash of signed bytes."""
    return "0x" + keccak(bytes.fromhex(raw[2:])).hex()


class Waiting:
    """What the proxy knows of transactions that the node behind it may not have."""

    def __init__(self, upstream: Upstream, *, strict: bool) -> None:
        self._upstream = upstream
        self._newest: dict[tuple[str, int], Offer] = {}
        self.strict = strict
        self.held: dict[str, str] = {}
        self.swallowed: list[str] = []

    async def admit(self, raw: str) -> None:
        """Raises Refused as geth would: known already, or a replacement that offers too little."""
        if hash_of(raw) in self.held:
            raise Refused({"code": -32000, "message": "already known"})
        offer = read_offer(raw) if self.strict else None
        if offer is None:
            return
        old = self._newest.get(offer.slot)
        if old is not None and old.tx_hash != offer.tx_hash and await self._pending(old.tx_hash):
            if not offer.may_replace(old):
                text = "replacement transaction underpriced"
                raise Refused({"code": -32000, "message": text})
            self.held.pop(old.tx_hash, None)

    def sent(self, raw: str) -> None:
        """Note that the node took the bytes, or was said to."""
        offer = read_offer(raw) if self.strict else None
        if offer is not None:
            self._newest.pop(offer.slot, None)
            self._newest[offer.slot] = offer
            while len(self._newest) > KEPT:
                self._newest.pop(next(iter(self._newest)))

    def keep(self, raw: str, fault: Fault) -> str:
        """Hold the bytes back or lose them; return the hash that is answered."""
        tx_hash = hash_of(raw)
        if fault is Fault.HOLD:
            self.held[tx_hash] = raw
            self.sent(raw)
        elif len(self.swallowed) < KEPT:
            self.swallowed.append(tx_hash)
        return tx_hash

    async def release(self) -> list[Any]:
        """Hand over what was held, in order; return the node's replies (result or error)."""
        held, self.held = list(self.held.values()), {}
        calls = [
            {"jsonrpc": "2.0", "method": "eth_sendRawTransaction", "params": [r]} for r in held
        ]
        replies = await self._upstream.forward(calls)
        return [reply.get("result", reply.get("error")) for reply in replies]

    async def _pending(self, tx_hash: str) -> bool:
        if tx_hash in self.held:
            return True
        found = await self._upstream.ask("eth_getTransactionByHash", tx_hash)
        return found is not None and found.get("blockNumber") is None
