"""What the router looks at before it decides, gathered once a turn for all its intents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sep_ray.decomposition.decompose import Facts
from sep_ray.decomposition.rebalance import Ratio
from sep_ray.engine.appraisal import ChainView, forecast_of, priority_row
from sep_ray.engine.ports import Market
from sep_ray.intent.intent import Intent, Side
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
        numeraires: Mapping[ChainId, Asset],
    ) -> None:
        self._ledger = ledger
        self._ticks = ticks
        self._market = market
        self._numeraires = numeraires
        self._usual_base_fee: dict[ChainId, float] = {}

    async def gather(self, intents: Sequence[Intent]) -> Known:
        """Read each strategy's holdings, each chain's snapshot and each pair's ticks once."""
        strategies = sorted({intent.strategy_id for intent in intents})
        chains = sorted({intent.chain_id for intent in intents})
        pairs = sorted({pair for intent in intents if (pair := _pair(intent))})
        available, views, forecasts = await asyncio.gather(
            asyncio.gather(*map(self._available, strategies)),
            asyncio.gather(*map(self._view, chains)),
            asyncio.gather(*map(self._forecast, pairs)),
        )
        return Known(
            available=dict(zip(strategies, available, strict=True)),
            views={c: view for c, view in zip(chains, views, strict=True) if view is not None},
            forecasts=dict(zip(pairs, forecasts, strict=True)),
            waiting=len(intents),
        )

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


def _prices(intent: Intent, view: ChainView) -> Mapping[Asset, Ratio]:
    priced = [(t.asset, view.mid(t.asset)) for t in intent.targets]
    return {asset: price for asset, price in priced if not isinstance(price, NoRoute)}


def _cost(intent: Intent, view: ChainView) -> int | None:
    """Units of `sell` that the bought amount costs at the mid, rounded up."""
    if intent.side is not Side.BUY or intent.sell is None or intent.buy is None:
        return None
    price = mid_price(view.snapshot, intent.buy, intent.sell)
    if isinstance(price, NoRoute):
        return None
    return convert(intent.amount or 0, price, Rounding.UP)
