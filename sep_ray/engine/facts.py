"""What the router looks at before it decides, gathered once a turn for all its intents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from sep_ray.decomposition.decompose import Facts
from sep_ray.decomposition.net import Edge
from sep_ray.decomposition.rebalance import Ratio
from sep_ray.engine.appraisal import ChainView, forecast_of, priority_row
from sep_ray.engine.departing import Crossings
from sep_ray.engine.edges import bridge_edges, swap_edges
from sep_ray.engine.ports import Market
from sep_ray.engine.underway import UnderwayStore, coming
from sep_ray.intent.intent import Intent, IntentType, Side
from sep_ray.journal.ports import Ledger, Ticks
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId, Rounding
from sep_ray.portfolio.ledger import Bucket
from sep_ray.priority.features import PriorityRow
from sep_ray.priority.volatility import UNKNOWN, Volatility
from sep_ray.routing.prices import convert, mid_price
from sep_ray.routing.reasons import NoRoute

TICKS: Final = 240
"""Ticks a volatility forecast looks back on."""
GAS_MEMORY: Final = 0.02
"""Weight of the newest base fee in the slow average."""

Pair = tuple[Asset, Asset]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One turn's facts; from here on everything is a pure function."""

    available: Mapping[str, Mapping[Asset, int]]
    views: Mapping[ChainId, ChainView]
    forecasts: Mapping[Pair, Volatility]
    coming: Mapping[str, Mapping[Asset, int]] = field(default_factory=dict)
    edges: Mapping[UUID, Sequence[Edge]] = field(default_factory=dict)
    waiting: int = 1

    def row(self, intent: Intent, now: Millis) -> PriorityRow:
        """Return the prioritizer's row of an intent."""
        pair = _pair(intent)
        return priority_row(
            intent,
            self._held(intent),
            self.views.get(intent.chain_id),
            self.forecasts.get(pair, UNKNOWN) if pair else UNKNOWN,
            self.waiting,
            now,
        )

    def facts(self, intent: Intent, slices: int) -> Facts:
        """Return what the decomposition of an intent needs."""
        view = self.views.get(intent.chain_id)
        return Facts(
            available=self._held(intent),
            prices=_prices(intent, self.views),
            cost=_cost(intent, view) if view else None,
            slices=slices,
            coming=self.coming.get(intent.strategy_id, {}),
            edges=self.edges.get(intent.id, ()),
        )

    def worth(self, asset: Asset, units: int, other: Asset) -> int:
        """Return what units of one asset are worth in another at the mids; 0 where unknown."""
        views = self.views.get(asset.chain_id), self.views.get(other.chain_id)
        if views[0] is None or views[1] is None:
            return 0
        one, two = views[0].mid(asset), views[1].mid(other)
        if isinstance(one, NoRoute) or isinstance(two, NoRoute):
            return 0
        return units * one[0] * two[1] // (one[1] * two[0])

    def _held(self, intent: Intent) -> Mapping[Asset, int]:
        held = self.available.get(intent.strategy_id, {})
        return {asset: n for asset, n in held.items() if asset.chain_id in intent.chains}


class FactSource:
    """Gathers from the ledger, the ticks and the market."""

    def __init__(
        self,
        ledger: Ledger,
        ticks: Ticks,
        market: Market,
        numeraires: Mapping[ChainId, Asset],
        *,
        underway: UnderwayStore | None = None,
        crossings: Mapping[ChainId, Crossings] | None = None,
    ) -> None:
        """`underway` is where open steps and transfers are read for a REBALANCE, `crossings` are
        the bridges that may be taken from each chain; without them there is nothing of either.
        """
        self._underway = underway
        self._crossings = crossings or {}
        self._ledger = ledger
        self._ticks = ticks
        self._market = market
        self._numeraires = numeraires
        self._usual_base_fee: dict[ChainId, float] = {}

    async def gather(self, intents: Sequence[Intent], now: Millis) -> Known:
        """Read each strategy's holdings, each chain's snapshot and each pair's ticks once."""
        strategies = sorted({intent.strategy_id for intent in intents})
        chains = sorted({chain_id for intent in intents for chain_id in intent.chains})
        pairs = sorted({pair for intent in intents if (pair := _pair(intent))})
        available, views, forecasts = await asyncio.gather(
            asyncio.gather(*map(self._available, strategies)),
            asyncio.gather(*map(self._view, chains)),
            asyncio.gather(*map(self._forecast, pairs)),
        )
        known = Known(
            available=dict(zip(strategies, available, strict=True)),
            views={c: view for c, view in zip(chains, views, strict=True) if view is not None},
            forecasts=dict(zip(pairs, forecasts, strict=True)),
            waiting=len(intents),
        )
        wide = [i for i in intents if i.type is IntentType.REBALANCE]
        return await self._widened(known, wide, now) if wide else known

    async def _widened(self, known: Known, intents: Sequence[Intent], now: Millis) -> Known:
        """Add what rebalancing needs to know: what is under way, and the ways between assets."""
        coming_by = {}
        if self._underway is not None:
            for strategy_id in sorted({i.strategy_id for i in intents}):
                coming_by[strategy_id] = await coming(self._underway, strategy_id, known.worth)
        over = [i for i in intents if len(i.chains) > 1]
        edges = await asyncio.gather(*(self._edges(known, each, now) for each in over))
        named = {each.id: found for each, found in zip(over, edges, strict=True)}
        return replace(known, coming=coming_by, edges=named)

    async def _edges(self, known: Known, intent: Intent, now: Millis) -> Sequence[Edge]:
        assets = sorted({asset for t in intent.targets for asset in (t.asset, *t.pooled)})
        units = _probes(known, intent, assets)
        bridges = await bridge_edges(
            self._crossings, known.views, assets, units, intent.constraints, now
        )
        return [*swap_edges(known.views, assets, units, intent.constraints), *bridges]

    async def _available(self, strategy_id: str) -> Mapping[Asset, int]:
        holdings = await self._ledger.holdings(strategy_id)
        return {h.asset: h.units for h in holdings if h.bucket is Bucket.AVAILABLE}

    async def _view(self, chain_id: ChainId) -> ChainView | None:
        snapshot = await self._market.snapshot(chain_id)
        numeraire = self._numeraires.get(chain_id)
        if snapshot is None or numeraire is None:
            return None
        fee = float(snapshot.base_fee_wei)
        usual = self._usual_base_fee.get(chain_id, fee)
        self._usual_base_fee[chain_id] = usual + GAS_MEMORY * (fee - usual)
        return ChainView(
            snapshot=snapshot,
            numeraire=numeraire,
            usual_base_fee_wei=usual,
        )

    async def _forecast(self, pair: Pair) -> Volatility:
        base, quote = pair
        return forecast_of(await self._ticks.recent_ticks(base.chain_id, base, quote, TICKS))


def _pair(intent: Intent) -> Pair | None:
    """Return the pair as ticks name it: in the order of the assets."""
    if intent.sell is None or intent.buy is None:
        return None
    low, high = sorted((intent.sell, intent.buy))
    return low, high


def _prices(intent: Intent, views: Mapping[ChainId, ChainView]) -> Mapping[Asset, Ratio]:
    """Return mids in the chains' units of account, which are one dollar each."""
    assets = (asset for t in intent.targets for asset in (t.asset, *t.pooled))
    priced = [(a, views[a.chain_id].mid(a)) for a in assets if a.chain_id in views]
    return {asset: price for asset, price in priced if not isinstance(price, NoRoute)}


def _probes(known: Known, intent: Intent, assets: Sequence[Asset]) -> dict[Asset, int]:
    """Return how much of each asset the ways out of it are asked for: half of all there is, in
    that asset's units."""
    held, prices = known.facts(intent, 1).available, _prices(intent, known.views)
    total = sum(convert(held.get(a, 0), p, Rounding.DOWN) for a, p in prices.items())
    return {a: total // 2 * p[1] // p[0] for a, p in prices.items() if a in assets}


def _cost(intent: Intent, view: ChainView) -> int | None:
    """Units of `sell` that the bought amount costs at the mid, rounded up."""
    if intent.side is not Side.BUY or intent.sell is None or intent.buy is None:
        return None
    price = mid_price(view.snapshot, intent.buy, intent.sell)
    if isinstance(price, NoRoute):
        return None
    return convert(intent.amount or 0, price, Rounding.UP)
