"""Keeps the holdings of one chain at fixed weights, within a band, at set times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import PPM, Asset, Ppm, Rounding, divide
from sep_ray.strategy.base import BaseStrategy
from sep_ray.strategy.market import Market, Pair
from sep_ray.strategy.plain import param
from sep_ray.strategy.requests import ppm


@dataclass(frozen=True, kw_only=True)
class RebalanceParams:
    """How much of what, how exactly, and how often."""

    chain_id: int = param(1, doc="the chain whose holdings are rebalanced")
    weights: dict[str, Decimal] = param(
        factory=lambda: {"WETH": Decimal("0.5"), "USDC": Decimal("0.5")},
        doc="share of the value per token; the shares add up to 1",
    )
    quote: str = param("USDC", doc="the token in which values are compared")
    band: Decimal = param(
        Decimal("0.02"),
        low=Decimal("0.0001"),
        high=Decimal("0.5"),
        doc="act when a share is this far from its weight, and leave smaller gaps alone",
    )
    every_ms: int = param(60_000, low=0, high=31 * 86_400_000, doc="look at most this often")
    min_value: Decimal = param(Decimal(10), low=Decimal(0), doc="do nothing below, in `quote`")
    max_slippage: Decimal = param(
        Decimal("0.005"), low=Decimal("0.001"), high=Decimal("0.1"), doc="worst price accepted"
    )
    window_ms: int = param(600_000, low=60_000, high=3_600_000, doc="time allowed for the trades")

    def __post_init__(self) -> None:
        if len(self.weights) < 2 or sum(ppm("weights", w) for w in self.weights.values()) != PPM:
            raise Rejected("weights must be of two or more tokens and add up to 1")
        if min(self.weights.values()) < 0:
            raise Rejected("a weight is not below 0")


@dataclass
class RebalanceState:
    """The instant of the last look (market time, ms); 0 before the first."""

    looked_at: int = 0


class RebalanceStrategy(BaseStrategy):
    """Submits one REBALANCE when the band is left, and waits for its end before the next."""

    params: RebalanceParams
    state: RebalanceState

    def watches(self) -> Sequence[Pair]:
        quote = self.asset(self.params.quote)
        return [Pair(asset, quote) for asset in sorted(self._weights) if asset != quote]

    def on_block(self, market: Market) -> None:
        due = self.state.looked_at + self.params.every_ms <= market.at
        if not due or self.open_intents:
            return
        values = self._values(market)
        if values is None:
            return
        self.state.looked_at = market.at
        gap = widest_gap(values, self._weights)
        if gap is None or gap <= ppm("band", self.params.band):
            return
        self.rebalance(
            self._weights,
            tolerance=self.params.band,
            max_slippage=self.params.max_slippage,
            window_ms=self.params.window_ms,
            note=f"a share is {gap / 10_000:.2f} % from its weight",
        )

    @property
    def _weights(self) -> dict[Asset, Ppm]:
        return {self.asset(name): ppm(name, w) for name, w in self.params.weights.items()}

    def _values(self, market: Market) -> dict[Asset, int] | None:
        """Return each holding's value in units of quote; None when too little or not known."""
        quote = self.asset(self.params.quote)
        values: dict[Asset, int] = {}
        for asset in self._weights:
            value = market.value(asset, self.portfolio.held(asset), quote)
            if value is None:
                return None
            values[asset] = value
        enough = sum(values.values()) >= self.tokens.units(quote, self.params.min_value)
        return values if enough else None


def widest_gap(values: Mapping[Asset, int], weights: Mapping[Asset, Ppm]) -> Ppm | None:
    """Return the largest difference between a share of the value and its weight, rounded up."""
    total = sum(values.values())
    if total <= 0:
        return None
    gaps = (abs(values[asset] * PPM - weight * total) for asset, weight in weights.items())
    return Ppm(divide(max(gaps), total, Rounding.UP))
