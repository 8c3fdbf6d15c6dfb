"""From ready bridging steps to departures: quotes of all bridges, the choice, the call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from sep_ray.decomposition.step import Step
from sep_ray.engine.crossing import Departing
from sep_ray.engine.drafting import Deferred, Purse, Refused, Scattered
from sep_ray.engine.tills import Tills
from sep_ray.execution.fees import Fees
from sep_ray.execution.gas_limit import APPROVAL_GAS
from sep_ray.intent.states import Reason
from sep_ray.journal.ports import Ledger, Transfers
from sep_ray.journal.records import TransferFilter
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import Indeterminate, Rejected, Transient
from sep_ray.kernel.ids import IdSource
from sep_ray.kernel.units import Asset, ChainId, Rounding
from sep_ray.portfolio.ledger import TREASURY, Bucket
from sep_ray.routing.prices import convert, mid_price
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot
from sep_ray.settlement.choice import Chosen, NoBridge, Offer, State, Terms, choose
from sep_ray.settlement.ports import Bridge, NoQuote, Quote, Want
from sep_ray.settlement.track import REMEMBERED, track
from sep_ray.settlement.transfer import Transfer
from sep_ray.settlement.weighed import Choice

log = structlog.get_logger()

DEPARTURE_GAS: Final = 600_000
"""Gas an account must be able to pay before bridges are asked."""
LAST_MS: Final = 1_000
"""How long before its deadline a step that no bridge takes is given up."""
QUOTE_S: Final = 2.0
"""How long bridges may think about a quote or a departure."""


Bridged = Departing | Refused | Deferred | Scattered
"""What may be decided about a bridging step."""


class DepartingStore(Transfers, Ledger, Protocol):
    """What departing reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Far:
    """Another chain as this one's departures see it: who receives there, and what a claim is
    reckoned to pay for its gas, out of the treasury's coin over there."""

    recipient: str
    coin: Asset
    gas_price_wei: int = 10_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """The bridges a chain's executor may use, the chains it reaches, and tokens' decimals."""

    bridges: tuple[Bridge, ...]
    fars: Mapping[ChainId, Far]
    decimals: Mapping[Asset, int] = field(default_factory=dict)

    def par(self, source: Asset, target: Asset, units: int) -> int:
        """Return what would arrive if nothing cost anything, rounded down."""
        more = self.decimals.get(target, 18) - self.decimals.get(source, 18)
        scale: int = 10 ** abs(more)
        return units * scale if more >= 0 else units // scale


class Departer:
    """Plans departures. Keeps nothing."""

    def __init__(
        self, crossings: Crossings, store: DepartingStore, clock: Clock, ids: IdSource
    ) -> None:
        self._crossings = crossings
        self._bridges = {bridge.traits.name: bridge for bridge in crossings.bridges}
        self._store = store
        self._clock = clock
        self._ids = ids

    async def round(
        self, steps: Sequence[Step], purse: Purse, tills: Tills, fees: Fees, snapshot: Snapshot
    ) -> list[Bridged]:
        """Decide about steps in order, up to the first that departs: what a bridge may hold counts
        what the journal says, so there is one departure a round."""
        found: list[Bridged] = []
        for step in steps:
            found.append(await self._plan(step, purse, tills, fees, snapshot))
            if isinstance(found[-1], Departing):
                break
        return found

    async def _plan(
        self, step: Step, purse: Purse, tills: Tills, fees: Fees, snapshot: Snapshot
    ) -> Bridged:
        """Decide about one step; what is to depart has been taken out of the purse and a till."""
        short = _short(step, purse)
        if short is not None:
            return short
        far = self._far(step)
        if far is None:
            return Refused(step=step, reason=Reason.NO_BRIDGE, detail="no bridge reaches the chain")
        wei = fees.most_wei(DEPARTURE_GAS)
        if not purse.pays(wei) or not tills.pays(wei):
            return Deferred(step=step, why=f"the treasury's coin does not cover {wei} wei of gas")
        account = tills.place(step.sell, step.amount, wei)
        if account is None:
            return Scattered(step=step, reserve=step.amount)
        want = self._want(step, account, far)
        chosen = await self._choose(step, want, far, fees, snapshot)
        if isinstance(chosen, NoBridge):
            return _unbridged(step, chosen, want.now)
        return await self._depart(step, want, chosen, purse, fees)

    async def weigh(
        self, step: Step, account: str, fees: Fees, snapshot: Snapshot
    ) -> Chosen | NoBridge:
        """Choose a bridge as if an account had the step's units and the gas; nothing is begun."""
        far = self._far(step)
        if far is None:
            choice = Choice(reason=f"no bridge reaches chain {step.buy.chain_id}")
            return NoBridge(choice=choice, passing=False)
        return await self._choose(step, self._want(step, account, far), far, fees, snapshot)

    def _far(self, step: Step) -> Far | None:
        return self._crossings.fars.get(step.buy.chain_id)

    def _want(self, step: Step, account: str, far: Far) -> Want:
        return Want(
            source=step.sell,
            target=step.buy,
            units=step.amount,
            sender=account,
            recipient=far.recipient,
            now=self._clock.now(),
        )

    async def _choose(
        self, step: Step, want: Want, far: Far, fees: Fees, snapshot: Snapshot
    ) -> Chosen | NoBridge:
        asked = await asyncio.gather(*(self._quotes(b, want) for b in self._bridges.values()))
        refusals = [answer for answer in asked if isinstance(answer, NoQuote)]
        quotes = [q for answer in asked if not isinstance(answer, NoQuote) for q in answer]
        wei = await self._spare_wei(far)
        par = self._crossings.par(step.sell, step.buy, step.amount)
        offers = []
        for quote in quotes:
            claim_wei = quote.claim_gas * far.gas_price_wei
            if claim_wei > wei:
                detail = f"a claim takes {claim_wei} wei, {wei} left over there"
                refusals.append(NoQuote(bridge=quote.bridge, reason="gas", detail=detail))
                continue
            own = fees.most_wei(quote.departure_gas + APPROVAL_GAS, 2) + quote.fee_wei
            gas = _in_target(snapshot, want, par, own + claim_wei)
            offers.append(
                Offer(quote=quote, traits=self._bridges[quote.bridge].traits, gas_units=gas)
            )
        terms = Terms(
            par_units=par,
            by=step.constraints.bridge_by,
            allowed=step.constraints.bridges,
            most_ppm=step.constraints.max_slippage,
            most_ms=step.constraints.bridge_ms,
        )
        return choose(offers, refusals, terms, await self._state())

    async def _quotes(self, bridge: Bridge, want: Want) -> tuple[Quote, ...] | NoQuote:
        name = bridge.traits.name
        try:
            async with asyncio.timeout(QUOTE_S):
                return await bridge.quote(want)
        except (Transient, Indeterminate, TimeoutError) as error:
            return NoQuote(bridge=name, reason="unreachable", detail=str(error))
        except Rejected as error:
            return NoQuote(bridge=name, reason="refused", detail=str(error))

    async def _spare_wei(self, far: Far) -> int:
        """Return the treasury's coin over there, without what open claims may take."""
        holdings = await self._store.holdings(TREASURY)
        has = sum(h.units for h in holdings if h.asset == far.coin and h.bucket is Bucket.AVAILABLE)
        opened = await self._store.open_transfers(far.coin.chain_id)
        promised = sum(t.claim_gas for t in opened if t.target.chain_id == far.coin.chain_id)
        return has - promised * far.gas_price_wei

    async def _state(self) -> State:
        """Return the bridges' records and what each holds now."""
        pages = await asyncio.gather(
            *(
                self._store.page_of_transfers(TransferFilter(bridge=name), None, REMEMBERED)
                for name in self._bridges
            )
        )
        held: dict[tuple[str, Asset], int] = {}
        for transfer in await self._store.open_transfers(None):
            key = transfer.bridge, transfer.source
            held[key] = held.get(key, 0) + transfer.exposed
        now = self._clock.now()
        tracks = {name: track(page, now) for name, page in zip(self._bridges, pages, strict=True)}
        return State(now=now, tracks=tracks, exposure=held)

    async def _depart(
        self, step: Step, want: Want, chosen: Chosen, purse: Purse, fees: Fees
    ) -> Departing | Refused | Deferred:
        quote = chosen.quote
        try:
            async with asyncio.timeout(QUOTE_S):
                departure = await self._bridges[quote.bridge].depart(quote, want)
        except (Transient, Indeterminate, Rejected, TimeoutError) as error:
            return Deferred(step=step, why=f"{quote.bridge} cannot take it now: {error}")
        wei = fees.most_wei(departure.gas_limit + 2 * APPROVAL_GAS, 3) + quote.fee_wei
        if not purse.pays(wei):
            return Deferred(step=step, why=f"the treasury's coin does not cover {wei} wei")
        transfer = Transfer(
            id=self._ids.next(),
            intent_id=step.intent_id,
            step_id=step.id,
            strategy_id=step.strategy_id,
            bridge=quote.bridge,
            mode=quote.mode,
            source=step.sell,
            target=quote.target,
            sender=want.sender,
            recipient=want.recipient,
            units=step.amount,
            quoted_out=quote.units_out,
            least_out=quote.least_out,
            fee_wei=quote.fee_wei,
            p50_ms=quote.p50_ms,
            p95_ms=quote.p95_ms,
            planned_at=Millis(want.now),
            claim_gas=quote.claim_gas,
            expires_at=departure.expires_at,
            watch_from=departure.watch_from,
            memo=departure.memo,
            choice=chosen.choice,
        )
        cap = self._bridges[quote.bridge].traits.caps.get(step.sell)
        found = Departing(step=step, transfer=transfer, departure=departure, cap=cap)
        purse.spend(step, found.reserve, wei)
        return found


def _unbridged(step: Step, none: NoBridge, now: Millis) -> Refused | Deferred:
    words = "; ".join(f"{each.bridge}: {each.verdict}" for each in none.choice.alternatives)
    if none.passing and now < step.deadline - LAST_MS:
        return Deferred(step=step, why=words)
    return Refused(step=step, reason=Reason.NO_BRIDGE, detail=words or none.choice.reason)


def _short(step: Step, purse: Purse) -> Refused | Deferred | None:
    """Return why the step cannot be paid for, if it cannot."""
    available = purse.available(step)
    if step.amount <= available:
        return None
    if purse.expects(step):
        return Deferred(step=step, why="waits for funds on their way")
    detail = f"needs {step.amount}, available {available} of {step.sell}"
    return Refused(step=step, reason=Reason.INSUFFICIENT_BALANCE, detail=detail)


def _in_target(snapshot: Snapshot, want: Want, par_units: int, wei: int) -> int:
    """Return what so much coin is worth in units of the target, rounded up; 0 where no pool of
    this chain says."""
    coin = Asset(snapshot.chain_id, "native")
    price = mid_price(snapshot, coin, want.source)
    if isinstance(price, NoRoute):
        return 0
    return -(-convert(wei, price, Rounding.UP) * par_units // max(want.units, 1))
