"""Buy what has fallen far below its average, sell what has risen far above it.

    sep strategy start examples/mean_reversion.py:MeanReversion --param size=0.25

One file is one strategy: parameters and state are declared as dataclasses, handlers are plain
functions. The platform calls them, keeps the state, and carries out what is submitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, pstdev

from sep_ray.strategy import BaseStrategy, Market, param


@dataclass(frozen=True, kw_only=True)
class Params:
    """Checked before the strategy starts; a wrong one is an error that names it."""

    chain_id: int = param(1, doc="where to trade")
    base: str = param("WETH", doc="what to trade")
    quote: str = param("USDC", doc="what to pay with")
    size: Decimal = param(Decimal("0.1"), low=Decimal("0.001"), doc="base per trade")
    window: int = param(50, low=10, high=1_000, doc="blocks the average is taken over")
    threshold: float = param(2.0, low=0.5, high=10.0, doc="standard deviations that are far")


@dataclass
class State:
    """Survives restarts; everything else on `self` does not."""

    trades: int = 0


class MeanReversion(BaseStrategy):
    params: Params
    state: State

    def on_block(self, market: Market) -> None:
        base, quote = self.asset(self.params.base), self.asset(self.params.quote)
        prices = market.prices(base, quote, self.params.window)
        if len(prices) < self.params.window or self.open_intents:
            return  # too early, or the last trade has not ended
        spread = pstdev(prices)
        score = (prices[-1] - fmean(prices)) / spread if spread else 0.0
        size = self.tokens.units(base, self.params.size)
        cost = market.value(base, size, quote) or 0
        why = f"{score:.1f} deviations from the average of {self.params.window} blocks"
        done = None
        if score < -self.params.threshold and self.portfolio.available(quote) > cost * 101 // 100:
            done = self.acquire(base, size, using=quote, max_slippage="0.005", note=why)
        elif score > self.params.threshold and self.portfolio.available(base) >= size:
            done = self.dispose(base, size, into=quote, max_slippage="0.005", note=why)
        if done:  # None while the strategy is paused or looks at an old block
            self.state.trades += 1
