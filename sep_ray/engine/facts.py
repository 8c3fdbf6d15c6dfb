"""What the router looks at before it decides, gathered once a turn for all its intents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sep_ray.decomposition.decompose import Facts
from sep_ray.decomposition.rebalance import Ratio
from sep_ray.engine.appraisal import ChainView, priority_row
from sep_ray.engine.ports import Market
from sep_ray.intent.intent import Intent, Side
from sep_ray.journal.ports import Ledger, Ticks
from sep_ray.journal.records import Tick
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId, Rounding, divide
from sep_ray.portfolio.ledger import Bucket
from sep_ray.priority.features import PriorityRow
from sep_ray.routing.prices import mid_price

TICKS = 240
"""Ticks a volatility forecast looks back on."""
GAS_MEMORY = 0.02
"""Weight of the newest base fee in the slow average."""

Pair = tuple[Asset, Asset]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainAssets:
    """A chain's unit of account, and the wrapped form of its coin."""

    numeraire: Asset
    coin: Asset


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One turn's facts; from here on everything is a pure function."""

    available: Mapping[str, Mapping[Asset, int]]
    views: Mapping[ChainId, ChainView]
    ticks: Mapping[Pair, Sequence[Tick]]

    def row(self, intent: Intent, now: Millis) -> PriorityRow:
        """Return the prioritizer's row of an intent."""
        pair = _pair(intent)
        return priority_row(
            intent,
            self._held(intent),
            self.views.get(intent.chain_id),
            self.ticks.get(pair, ()) if pair else (),
            now,
        )

    def facts(self, intent: Intent, slices: int) -> Facts:
        """Return what the decomposition of an intent needs."""
        view = self.views.get(intent.chain_id)
        return Facts(
            available=self._held(intent),
            prices=_prices(intent, view) if view else {},
            cost=_cost(intent, view) if view else None,
            slices=slices,
        )

    def _held(self, intent: Intent) -> Mapping[Asset, int]:
        held = self.available.get(intent.strategy_id, {})
        return {asset: n for asset, n in held.items() if asset.chain_id == intent.chain_id}


class FactSource:
    """Gathers from the ledger, the ticks and the market."""

    def __init__(
        self,
        ledger: Ledger,
        ticks: Ticks,
        market: Market,
        assets: Mapping[ChainId, ChainAssets],
    ) -> None:
        self._ledger = ledger
        self._ticks = ticks
        self._market = market
        self._assets = assets
        self._usual_base_fee: dict[ChainId, float] = {}

    async def gather(self, intents: Sequence[Intent]) -> Known:
        """Read each strategy's holdings, each chain's snapshot and each pair's ticks once."""
        strategies = sorted({intent.strategy_id for intent in intents})
        chains = sorted({intent.chain_id for intent in intents})
        pairs = sorted({pair for intent in intents if (pair := _pair(intent))})
        available, views, ticks = await asyncio.gather(
            asyncio.gather(*map(self._available, strategies)),
            asyncio.gather(*map(self._view, chains)),
            asyncio.gather(*map(self._recent, pairs)),
        )
        return Known(
            available=dict(zip(strategies, available, strict=True)),
            views={c: view for c, view in zip(chains, views, strict=True) if view is not None},
            ticks=dict(zip(pairs, ticks, strict=True)),
        )

    async def _available(self, strategy_id: str) -> Mapping[Asset, int]:
        holdings = await self._ledger.holdings(strategy_id)
        return {h.asset: h.units for h in holdings if h.bucket is Bucket.AVAILABLE}

    async def _view(self, chain_id: ChainId) -> ChainView | None:
        snapshot = await self._market.snapshot(chain_id)
        assets = self._assets.get(chain_id)
        if snapshot is None or assets is None:
            return None
        fee = float(snapshot.base_fee_wei)
        usual = self._usual_base_fee.get(chain_id, fee)
        self._usual_base_fee[chain_id] = usual + GAS_MEMORY * (fee - usual)
        return ChainView(
            snapshot=snapshot,
            numeraire=assets.numeraire,
            coin=assets.coin,
            usual_base_fee_wei=usual,
        )

    async def _recent(self, pair: Pair) -> Sequence[Tick]:
        base, quote = pair
        return await self._ticks.recent_ticks(base.chain_id, base, quote, TICKS)


def _pair(intent: Intent) -> Pair | None:
    """Return the pair as ticks name it: in the order of the assets."""
    if intent.sell is None or intent.buy is None:
        return None
    low, high = sorted((intent.sell, intent.buy))
    return low, high


def _prices(intent: Intent, view: ChainView) -> Mapping[Asset, Ratio]:
    prices: dict[Asset, Ratio] = {}
    for target in intent.targets:
        if target.asset == view.numeraire:
            prices[target.asset] = (1, 1)
        elif price := mid_price(view.snapshot, target.asset, view.numeraire):
            prices[target.asset] = price
    return prices


def _cost(intent: Intent, view: ChainView) -> int | None:
    """Units of `sell` that the bought amount costs at the mid, rounded up."""
    if intent.side is not Side.BUY or None in (intent.sell, intent.buy, intent.amount):
        return None
    price = (
        mid_price(view.snapshot, intent.buy, intent.sell) if intent.buy and intent.sell else None
    )
    return divide((intent.amount or 0) * price[0], price[1], Rounding.UP) if price else None
