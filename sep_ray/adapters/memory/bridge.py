"""A bridge in memory between two chains in memory: the twin of every adapter of a real one.

It comes in three families. FILL: somebody pays over there, what nobody fills in time is refunded.
ATTESTED: witnesses sign, then we or others mint; nothing comes back. PUSHED: it is run over there
by a sequencer, and by us when that fails. `Knobs` make it misbehave as real ones do. `work` does
what relayers, witnesses and sequencers do; like them it looks at the chains only, so that what a
reorganisation takes away is done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sep_ray.adapters.memory.chain import MemoryChain
from sep_ray.adapters.memory.contracts import BRIDGE_GAS, to_hex
from sep_ray.execution.ports import Call
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import PPM, Asset, ChainId
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
    Overdue,
    Quote,
    RedeemNeeded,
    Refunded,
    Sighting,
    SlowFilling,
    Traits,
    Trust,
    Unread,
    Want,
)
from sep_ray.settlement.transfer import Proof, Transfer, Waiting

SOMEBODY: Final = "0x" + "fe" * 20
FOREVER_S: Final = 10**12


class Family(StrEnum):
    """How a movement is completed."""

    FILL = "fill"
    ATTESTED = "attested"
    PUSHED = "pushed"


WAITS: Final[Mapping[Family, Waiting]] = {
    Family.FILL: Waiting.FILL,
    Family.ATTESTED: Waiting.ATTESTATION,
    Family.PUSHED: Waiting.QUEUE,
}


@dataclass(slots=True, kw_only=True)
class Knobs:
    """How it behaves now; all may be turned while movements are under way.

    `latency_s` from the departure's block to the fill, the attestation or the run; `fill_s` how
    long a fill may take before it is refunded, `refund_s` how long after that; `valid_s` how long
    an attestation lasts. The flags are the ways in which bridges fail.
    """

    latency_s: int = 3
    fee_ppm: int = 500
    fee_wei: int = 0
    fill_s: int = 60
    refund_s: int = 10
    valid_s: int = FOREVER_S
    quotes: bool = True
    readable: bool = True
    completes: bool = True  # fillers fill, witnesses sign, the sequencer delivers
    runs: bool = True  # the sequencer's run succeeds
    third_party: bool = False  # somebody else mints what is attested
    slow_after_s: int = FOREVER_S  # when it is asked to pay by itself
    other: Asset | None = None  # what it pays instead


class MemoryBridge:
    """Answers the port Bridge. `pairs` are the assets that correspond, both ways."""

    def __init__(
        self,
        name: str,
        family: Family,
        chains: Mapping[ChainId, MemoryChain],
        pairs: Mapping[Asset, Asset],
        *,
        knobs: Knobs | None = None,
        trust: Trust = Trust.ATTESTED,
        caps: Mapping[Asset, int] | None = None,
    ) -> None:
        self.knobs = knobs or Knobs()
        self.family = family
        self.address = "0x" + name.encode().hex().rjust(40, "b")[-40:]
        self._chains = chains
        self._pairs = {**pairs, **{target: source for source, target in pairs.items()}}
        self._signed: dict[str, int] = {}
        self.traits = Traits(
            name=name,
            trust=trust,
            refundable=family is Family.FILL,
            anyone_can_finish=True,
            expires=family is Family.FILL,
            needs_destination_gas=family is not Family.FILL,
            caps=caps or {},
        )

    # The port

    async def quote(self, want: Want) -> tuple[Quote, ...] | NoQuote:
        if self._pairs.get(want.source) != want.target:
            return NoQuote(bridge=self.traits.name, reason=NO_PAIR)
        if not self.knobs.quotes:
            return NoQuote(bridge=self.traits.name, reason="paused")
        out = want.units - -(-want.units * self.knobs.fee_ppm // PPM)
        if out <= 0:
            return NoQuote(bridge=self.traits.name, reason="amount", detail="all of it is fee")
        latency_ms = self.knobs.latency_s * 1_000
        fills = self.family is Family.FILL
        expires_at = Millis(want.now + self.knobs.fill_s * 1_000) if fills else None
        quote = Quote(
            bridge=self.traits.name,
            mode="",
            source=want.source,
            target=want.target,
            units_in=want.units,
            units_out=out,
            least_out=out,
            fee_wei=self.knobs.fee_wei,
            departure_gas=BRIDGE_GAS,
            claim_gas=0 if fills else BRIDGE_GAS,
            p50_ms=latency_ms,
            p95_ms=2 * latency_ms,
            expires_at=expires_at,
            good_until=Millis(want.now + 30_000),
        )
        return (quote,)

    async def depart(self, quote: Quote, want: Want) -> Departure:
        if want.now > quote.good_until:
            raise Rejected("the quote is too old", bridge=quote.bridge)
        said = self._says(
            "depart",
            token=quote.source.address,
            units=quote.units_in,
            token_out=quote.target.address,
            units_out=quote.units_out,
            chain_out=quote.target.chain_id,
            recipient=want.recipient,
            sender=want.sender,
            until=quote.expires_at // 1_000 if quote.expires_at is not None else None,
        )
        return Departure(
            call=Call(to=self.address, data=to_hex(said), value_wei=quote.fee_wei),
            gas_limit=2 * quote.departure_gas,
            spender=self.address,
            approve=quote.units_in,
            watch_from=self._chains[quote.target.chain_id].newest.head.number,
            expires_at=quote.expires_at,
        )

    async def observe(self, transfer: Transfer) -> Sighting:
        if not self.knobs.readable:
            raise Transient("the bridge cannot be read", bridge=self.traits.name)
        source = self._chains[transfer.source.chain_id]
        target = self._chains[transfer.target.chain_id]
        name = transfer.departure.tx_hash if transfer.departure is not None else ""
        written = source.newest.after.notes.get(f"{self.address}/out/{name}")
        if written is None:
            return Unread(detail=f"{name} is no departure by {self.address}")
        paid = self._paid(target, name)
        if paid is not None:
            return paid
        refund = self._log_of(source, "back", name)
        if refund is not None:
            return Refunded(units=refund[1], proof=refund[2])
        return self._under_way(target, name, json.loads(written))

    async def claim(self, transfer: Transfer) -> Claim:
        name = transfer.reference
        source = self._chains[transfer.source.chain_id]
        written = source.newest.after.notes.get(f"{self.address}/out/{name}")
        if written is None:
            raise Rejected("there is nothing to claim", reference=name)
        call = self._payment(name, json.loads(written))
        chain_id = transfer.target.chain_id
        return Claim(chain_id=chain_id, call=call, gas_limit=2 * BRIDGE_GAS, what="mint")

    # What others do

    def work(self) -> None:
        """Do what relayers, witnesses and sequencers do with what the chains show now."""
        for source, name, said in self._departures():
            target = self._chains[ChainId(said["chain_out"])]
            if f"{self.address}/in/{name}" not in target.newest.after.notes:
                self._further(source, target, name, said)

    def pause(self, chain_id: ChainId, paused: bool) -> None:
        """Let the contract on one chain refuse to pay, or pay again, from the next block on."""
        said = self._says("pause", paused="yes" if paused else "")
        self._chains[chain_id].act(SOMEBODY, Call(to=self.address, data=to_hex(said)))

    def _further(
        self, source: MemoryChain, target: MemoryChain, name: str, said: dict[str, Any]
    ) -> None:
        age = target.newest.head.timestamp - said["at"]
        if self.family is Family.FILL:
            self._fill_or_refund(source, target, name, said, age)
        elif self._is_delivered(target, name, said, age):
            target.act(SOMEBODY, self._payment(name, said))

    def _is_delivered(self, target: MemoryChain, name: str, said: dict[str, Any], age: int) -> bool:
        """Whether others bring it in now."""
        if self.family is Family.PUSHED:
            return self.knobs.runs and self._is_due(age)
        return self.knobs.third_party and self._is_signed(target, name, said)

    def _fill_or_refund(
        self, source: MemoryChain, target: MemoryChain, name: str, said: dict[str, Any], age: int
    ) -> None:
        now = target.newest.head.timestamp
        if now > said["until"]:
            if now > said["until"] + self.knobs.refund_s:
                back = self._says(
                    "refund", id=name, token=said["token"], units=said["units"], to=said["sender"]
                )
                source.act(SOMEBODY, Call(to=self.address, data=to_hex(back)))
        elif self._is_due(age) or age >= 2 * self.knobs.slow_after_s:
            target.act(SOMEBODY, self._payment(name, said))
        elif age >= self.knobs.slow_after_s:
            asked = self._says("ask_slow", id=name)
            target.act(SOMEBODY, Call(to=self.address, data=to_hex(asked)))

    def _is_due(self, age: int) -> bool:
        return self.knobs.completes and age >= self.knobs.latency_s

    def _is_signed(self, target: MemoryChain, name: str, said: dict[str, Any]) -> bool:
        """Whether an attestation that still holds is there; witnesses sign when asked."""
        now = target.newest.head.timestamp
        if name not in self._signed and self._is_due(now - said["at"]):
            self._signed[name] = now
        return name in self._signed and now <= self._signed[name] + self.knobs.valid_s

    def _under_way(self, target: MemoryChain, name: str, said: dict[str, Any]) -> Sighting:
        notes, now = target.newest.after.notes, target.newest.head.timestamp
        if self.family is Family.FILL:
            return self._unfilled(target, name, said)
        if notes.get(f"{self.address}/paused"):
            return Blocked(reference=name, detail="the contract over there is paused")
        if self.family is Family.ATTESTED:
            return self._attested(target, name, said)
        if self._is_due(now - said["at"]) and not self.knobs.runs:
            return RedeemNeeded(reference=name, detail="its run failed")
        return OnTheWay(waiting=WAITS[self.family], reference=name)

    def _unfilled(self, target: MemoryChain, name: str, said: dict[str, Any]) -> Sighting:
        now = target.newest.head.timestamp
        asked = target.newest.after.notes.get(f"{self.address}/slow/{name}")
        if now > said["until"]:
            return Overdue(detail=f"not filled by {said['until']}, seen at {now}")
        if asked is not None:
            return SlowFilling(detail=f"asked in {asked}")
        return OnTheWay(waiting=Waiting.FILL, reference=name)

    def _attested(self, target: MemoryChain, name: str, said: dict[str, Any]) -> Sighting:
        if self._is_signed(target, name, said):
            if self.knobs.third_party:
                return OnTheWay(waiting=Waiting.QUEUE, reference=name)
            return Claimable(reference=name)
        if name in self._signed:
            del self._signed[name]
            return Lapsed(detail="asked to be signed again")
        return OnTheWay(waiting=Waiting.ATTESTATION, reference=name)

    def _payment(self, name: str, said: dict[str, Any]) -> Call:
        other = self.knobs.other
        here = other is not None and other.chain_id == said["chain_out"]
        token = other.address if other is not None and here else said["token_out"]
        signed = self._signed.get(name)
        payment = self._says(
            "pay",
            id=name,
            token=token,
            units=said["units_out"],
            to=said["recipient"],
            mint=True,
            until=said["until"],
            signed_until=signed + self.knobs.valid_s if signed is not None else None,
        )
        return Call(to=self.address, data=to_hex(payment))

    def _paid(self, target: MemoryChain, name: str) -> Arrived | None:
        found = self._log_of(target, "in", name)
        if found is None:
            return None
        token, units, proof = found
        return Arrived(asset=Asset(target.chain_id, token), units=units, proof=proof)

    def _log_of(self, chain: MemoryChain, side: str, name: str) -> tuple[str, int, Proof] | None:
        """Return token, units and proof of the payment noted under a side, if it stands."""
        tx_hash = chain.newest.after.notes.get(f"{self.address}/{side}/{name}")
        for block in reversed(chain.blocks) if tx_hash is not None else ():
            for moved in block.transfers:
                if moved.tx_hash == tx_hash:
                    proof = Proof(
                        chain_id=chain.chain_id,
                        block_number=block.head.number,
                        block_hash=block.head.hash,
                        tx_hash=moved.tx_hash,
                        log_index=moved.log_index,
                    )
                    return moved.token, moved.units, proof
        return None

    def _departures(self) -> Iterator[tuple[MemoryChain, str, dict[str, Any]]]:
        prefix = f"{self.address}/out/"
        for chain in self._chains.values():
            for note, written in list(chain.newest.after.notes.items()):
                if note.startswith(prefix):
                    yield chain, note.removeprefix(prefix), json.loads(written)

    def _says(self, do: str, **more: Any) -> dict[str, Any]:
        return {"bridge": self.address, "do": do, **more}
