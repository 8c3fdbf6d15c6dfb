"""SettlementManager: looks at every transfer that has not ended, and books what chains say of it.

It keeps nothing: a process that starts reads the open transfers and goes on (P11). It writes under
a lease of its own, so that of two processes one settles (P5). It signs nothing: a claim is asked
for by the transfer's state, and the lane of the chain over there sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from sep_ray.decomposition.step import Step
from sep_ray.engine.finality import FinalityRule
from sep_ray.engine.proving import Prices, Prover
from sep_ray.engine.rules import Meter, NoMeter
from sep_ray.engine.settlement_booking import booked, confirming, repaired
from sep_ray.execution.attempt import TERMINAL as SPENT
from sep_ray.execution.ports import Chain, Finality, Head
from sep_ray.journal.ports import Attempts, Journal, Leases, Steps, Transfers
from sep_ray.journal.records import Commit, Lease, LeaseLost, VersionConflict
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import Indeterminate, Rejected, SepError, Transient
from sep_ray.kernel.units import ChainId
from sep_ray.portfolio.events import FundsObserved
from sep_ray.portfolio.ledger import InsufficientBalance
from sep_ray.settlement.following import Circumstances, Patience, blind, follow
from sep_ray.settlement.ports import Arrived, Bridge, Refunded, Sighting
from sep_ray.settlement.transfer import (
    CLAIMS,
    CREDITED,
    OUTSTANDING,
    ArrivalFinalized,
    ArrivalWithdrawn,
    Transfer,
    TransferEvent,
    TransferStatus,
)

log = structlog.get_logger()

LEASE: Final = "settlement"
OBSERVE_S: Final = 5.0
"""How long a bridge may take to say where a transfer is."""
AT_ONCE: Final = 16
"""Transfers looked at side by side."""
PACE_S: Final = 0.25
"""The least time between two looks."""
IDLE_S: Final = 1.0
LOOKED_AT: Final = OUTSTANDING | CREDITED | {TransferStatus.DEPARTURE_FINAL}
"""States in which the settlement, and no lane, moves a transfer on."""


class SettlementStore(Journal, Steps, Attempts, Transfers, Leases, Protocol):
    """What the settlement reads and writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRules:
    """`finality`: how deep an arrival of some worth must be for its step to rest on it, and an
    arrival or a refund to be final, by chain."""

    finality: Mapping[ChainId, FinalityRule]
    patience: Patience = field(default_factory=Patience)
    lease_ttl_ms: int = 3_000
    lease_margin_ms: int = 500


class SettlementManager:
    """Drive it by `run`, or turn by turn."""

    def __init__(
        self,
        store: SettlementStore,
        bridges: Sequence[Bridge],
        chains: Mapping[ChainId, Chain],
        rules: SettlementRules,
        *,
        clock: Clock,
        steady: Clock,
        holder: str,
        on_claim: Callable[[ChainId], None],
        meter: Meter | None = None,
        prices: Prices | None = None,
        words: Mapping[ChainId, Finality] | None = None,
    ) -> None:
        """`on_claim` hears of chains whose executor has a claim to send; `prices` and `words` are
        what a Prover has of them."""
        self._store = store
        self._bridges = {bridge.traits.name: bridge for bridge in bridges}
        self._chains = chains
        self._rules = rules
        self._prover = Prover(chains=chains, rules=rules.finality, prices=prices, words=words or {})
        self._clock = clock
        self._steady = steady
        self._holder = holder
        self._on_claim = on_claim
        self._meter = meter or NoMeter()
        self._lease: Lease | None = None
        self._sure_until = Millis(0)
        self._hinted = asyncio.Event()

    def hint(self) -> None:
        """Say that a look is worth it."""
        self._hinted.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until told to stop; the lease is given back."""
        try:
            while not stop.is_set():
                self._hinted.clear()
                try:
                    open_now = await self.turn()
                except (Transient, Indeterminate, LeaseLost) as error:
                    open_now = 0
                    log.warning("settlement_turn_cut_short", why=str(error))
                await self._rest(stop, PACE_S if open_now else IDLE_S)
        finally:
            await self._release()

    async def turn(self) -> int:
        """Look at every open transfer once; return how many there are (0 without the lease)."""
        if not await self._lead():
            return 0
        found = await self._store.open_transfers(None)
        due = [each for each in found if each.status in LOOKED_AT]
        if not due:
            return len(found)
        heads = await self._heads(due)
        gate = asyncio.Semaphore(AT_ONCE)

        async def look(transfer: Transfer) -> None:
            async with gate:
                await self._guarded(transfer, heads)

        await asyncio.gather(*map(look, due))
        return len(found)

    # One transfer

    async def _guarded(self, transfer: Transfer, heads: Mapping[ChainId, Head]) -> None:
        """Look at one; what goes wrong with it is no matter of the others."""
        try:
            if transfer.status in CREDITED:
                await self._mind(transfer, heads)
            else:
                await self._observe(transfer, heads)
        except VersionConflict:
            self._hinted.set()
        except InsufficientBalance as error:
            log.warning("settlement_unsettled", transfer_id=str(transfer.id), why=str(error))
        except (Transient, Indeterminate, Rejected) as error:
            if isinstance(error, LeaseLost):
                raise
            log.warning("transfer_unread", transfer_id=str(transfer.id), why=str(error))
            await self._blind(transfer, str(error))

    async def _observe(self, transfer: Transfer, heads: Mapping[ChainId, Head]) -> None:
        bridge = self._bridges.get(transfer.bridge)
        if bridge is None:
            raise Transient("no such bridge here", bridge=transfer.bridge)
        try:
            async with asyncio.timeout(OBSERVE_S):
                seen = await bridge.observe(transfer)
        except TimeoutError:
            raise Transient("the bridge does not answer", bridge=transfer.bridge) from None
        at = await self._circumstances(transfer, seen, heads)
        events = follow(transfer, seen, at, self._rules.patience)
        await self._write(transfer, events)

    async def _circumstances(
        self, transfer: Transfer, seen: Sighting, heads: Mapping[ChainId, Head]
    ) -> Circumstances:
        now = self._clock.now()
        if isinstance(seen, Arrived | Refunded):
            asset = seen.asset if isinstance(seen, Arrived) else transfer.source
            head = heads[seen.proof.chain_id]
            found = await self._prover.judge(seen.proof, asset, seen.units, head)
            observed = isinstance(seen, Arrived) and await self._observed(transfer, seen)
            return Circumstances(now=now, stands=found.stands, final=found.final, observed=observed)
        return Circumstances(now=now, claim_over=await self._claim_over(transfer))

    async def _claim_over(self, transfer: Transfer) -> str:
        """Return how the claim's attempt ended, "" while it may still do something."""
        if transfer.status is not TransferStatus.ARRIVAL_SENT or transfer.claim_id is None:
            return ""
        attempt = await self._store.attempt(transfer.claim_id)
        if attempt is None or attempt.status not in SPENT:
            return ""
        return f"{attempt.status.value}: {attempt.detail or attempt.newest.tx_hash}"

    async def _observed(self, transfer: Transfer, seen: Arrived) -> bool:
        """Whether an audit has booked this arrival as money of unknown origin."""
        stream = f"account/{seen.asset.chain_id}/{transfer.recipient}"
        units = 0
        for row in await self._store.stream(stream):
            event = row.event
            if isinstance(event, FundsObserved) and event.asset == seen.asset:
                units += event.units if _tells_of(event, seen) else 0
        return units == seen.units

    async def _mind(self, transfer: Transfer, heads: Mapping[ChainId, Head]) -> None:
        """Withdraw a credit whose block has gone; make final what is deep enough."""
        if transfer.arrival is None or transfer.arrived_asset is None:
            return
        head = heads[transfer.arrival.chain_id]
        found = await self._prover.judge(
            transfer.arrival, transfer.arrived_asset, transfer.arrived, head
        )
        if not found.stands:
            gone = ArrivalWithdrawn(block_hash=transfer.arrival.block_hash)
            await self._write(transfer, (gone,))
        elif found.final:
            await self._write(transfer, (ArrivalFinalized(block_number=head.number),))
        elif found.confirmed:
            await self._confirm(transfer, head.number)

    async def _confirm(self, transfer: Transfer, number: int) -> None:
        """Let the step rest on an arrival that is deep enough for that."""
        step = await self._store.step(transfer.step_id)
        commit = confirming(transfer, step, number, self._clock.now(), self._fence())
        if commit is not None:
            await self._store.commit(commit)

    async def _blind(self, transfer: Transfer, why: str) -> None:
        event = blind(transfer, self._clock.now(), why, self._rules.patience)
        if event is not None:
            await self._write(transfer, (event,))

    async def _write(self, transfer: Transfer, events: Sequence[TransferEvent]) -> None:
        """Make it durable, with what it means for the books and the step."""
        step = await self._store.step(transfer.step_id)
        now = self._clock.now()
        if not events:
            await self._repair(transfer, step, now)
            return
        commit, after = booked(transfer, step, events, now, self._fence())
        await self._store.commit(commit)
        self._tell(after, events)
        if after.status in CLAIMS:
            self._on_claim(after.target.chain_id)

    async def _repair(self, transfer: Transfer, step: Step | None, now: Millis) -> None:
        commit: Commit | None = repaired(transfer, step, now, self._fence())
        if commit is not None:
            await self._store.commit(commit)

    def _tell(self, after: Transfer, events: Sequence[TransferEvent]) -> None:
        for event in events:
            log.info(
                "transfer_moved",
                transfer_id=str(after.id),
                intent_id=str(after.intent_id),
                bridge=after.bridge,
                event_kind=type(event).__name__,
                status=after.status.value,
                detail=after.detail,
            )
            labels = {"bridge": after.bridge, "status": after.status.value}
            self._meter.count("transfers_moved", labels)

    # The lease, the chains, the pace

    async def _heads(self, transfers: Sequence[Transfer]) -> dict[ChainId, Head]:
        """Return the heads of the chains these touch; Transient when one cannot be asked: while
        blind on one side nothing is decided."""
        wanted = sorted({c for t in transfers for c in (t.source.chain_id, t.target.chain_id)})
        known = [chain_id for chain_id in wanted if chain_id in self._chains]
        heads = await asyncio.gather(*(self._chains[c].head() for c in known))
        return dict(zip(known, heads, strict=True))

    async def _lead(self) -> bool:
        """Take or prolong the lease; whether it is held."""
        asked, ttl = self._steady.now(), self._rules.lease_ttl_ms
        if self._lease is not None and self._sure_until - asked > ttl // 2:
            return True
        lease = None
        if self._lease is not None:
            lease = await self._store.renew(self._lease, ttl)
        if lease is None:
            lease = await self._store.acquire(LEASE, self._holder, ttl)
        self._lease = lease
        self._sure_until = Millis(asked + ttl - self._rules.lease_margin_ms)
        return lease is not None

    def _fence(self) -> Lease:
        if self._lease is None:
            raise LeaseLost("the settlement's lease is lost")
        return self._lease

    async def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                await self._store.release(lease)
            except SepError as error:
                log.warning("lease_not_released", lane=LEASE, why=str(error))

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        """Sleep, until hinted or told to stop."""
        waiters = [asyncio.ensure_future(event.wait()) for event in (self._hinted, stop)]
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)


def _tells_of(event: FundsObserved, seen: Arrived) -> bool:
    """Whether an observation is this arrival: by its transaction, or, for a token the books had
    never heard of, by what was suddenly found on the account."""
    found = "/balance/" in event.evidence and abs(event.units) == seen.units
    return seen.proof.tx_hash in event.evidence or (
        found and event.block_number >= seen.proof.block_number
    )
