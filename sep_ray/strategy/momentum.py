"""Goes with the market's last moves: buys when the signal points up, sells when it points down.

The signal is the model "momentum" (see models/momentum/card.md, which says honestly how little
direction can be predicted); its features and its fallback are in sep_ray/strategy/signals.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import PPM, Asset, Ppm
from sep_ray.strategy import signals
from sep_ray.strategy.base import BaseStrategy
from sep_ray.strategy.market import Bar, Market, Mid
from sep_ray.strategy.plain import param
from sep_ray.strategy.requests import Bounds, ppm


@dataclass(frozen=True, kw_only=True)
class MomentumParams:
    """What is traded, on which signal, and within which limits."""

    chain_id: int = param(1, doc="the chain to trade on")
    base: str = param("WETH", doc="what is bought and sold")
    quote: str = param("USDC", doc="what it is paid with")
    bar_blocks: int = param(1, low=1, high=10_000, doc="blocks to a bar; it decides once a bar")
    enter: float = param(0.3, low=0.0, high=1.0, doc="least direction (0..1) that is acted on")
    min_move_bp: float = param(0.0, low=0.0, doc="least predicted move that is acted on, in bp")
    size: Decimal = param(Decimal("0.1"), low=Decimal(0), doc="base per trade")
    max_position: Decimal = param(Decimal(10), low=Decimal(0), doc="most base ever held")
    min_position: Decimal = param(Decimal(0), low=Decimal(0), doc="base never sold")
    min_notional: Decimal = param(
        Decimal(5), low=Decimal(0), doc="least value of a trade, in quote"
    )
    cool_down_blocks: int = param(10, low=0, doc="blocks between two trades")
    max_slippage: Decimal = param(
        Decimal("0.005"), low=Decimal("0.001"), high=Decimal("0.1"), doc="worst price accepted"
    )
    window_ms: int = param(60_000, low=60_000, high=3_600_000, doc="time allowed for a trade")

    def __post_init__(self) -> None:
        if self.min_position > self.max_position:
            raise Rejected("min_position is above max_position")


@dataclass
class MomentumState:
    """`traded_at` is the block of the last trade asked for; -1 before the first."""

    traded_at: int = -1
    trades: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLimits:
    """The limits in smallest units: of base, `min_notional` of quote, slippage in ppm."""

    size: int
    max_position: int
    min_position: int
    min_notional: int
    max_slippage: Ppm


class MomentumStrategy(BaseStrategy):
    """At most one intent at a time; each is for an exact amount of base."""

    params: MomentumParams
    state: MomentumState

    @property
    def bar_blocks(self) -> int:
        return self.params.bar_blocks

    @property
    def warm_up(self) -> int:
        return self.params.bar_blocks * (signals.WARM_UP + 1)

    def on_bar(self, bar: Bar) -> None:
        market = self.market
        if market is None or bar.last_block + self.params.bar_blocks <= market.block_number:
            return  # one of several that were missed; the newest decides
        rested = self.state.traded_at + self.params.cool_down_blocks < market.block_number
        if self.open_intents or not (rested or self.state.traded_at < 0):
            return
        self._decide(market, bar.pair.base, bar.pair.quote)

    def _decide(self, market: Market, base: Asset, quote: Asset) -> None:
        mid = market.mid(base, quote)
        closes = market.closes(base, quote, self.params.bar_blocks, signals.WARM_UP)
        if mid is None or len(closes) < 2:
            return
        signal = self.predict_with_model(
            "momentum", signals.features(closes), fallback=_direction_by_rule
        )
        move_bp = signal.values[1] if len(signal.values) > 1 else self.params.min_move_bp
        if abs(signal.value) < self.params.enter or move_bp < self.params.min_move_bp:
            return
        self._trade(base, quote, signal.value > 0, mid, market.block_number)

    def _trade(self, base: Asset, quote: Asset, buy: bool, mid: Mid, block: int) -> None:
        limits = self._limits(base, quote)
        own = self.portfolio
        units = (
            units_to_buy(limits, mid, held=own.held(base), cash=own.available(quote))
            if buy
            else units_to_sell(limits, mid, held=own.held(base), available=own.available(base))
        )
        if not units:
            return
        bounds = Bounds(max_slippage=limits.max_slippage, window_ms=self.params.window_ms)
        done = (
            self.acquire(base, units, using=quote, **bounds)
            if buy
            else self.dispose(base, units, into=quote, **bounds)
        )
        if done:
            self.state.traded_at = block
            self.state.trades += 1

    def _limits(self, base: Asset, quote: Asset) -> PositionLimits:
        return PositionLimits(
            size=self.tokens.units(base, self.params.size),
            max_position=self.tokens.units(base, self.params.max_position),
            min_position=self.tokens.units(base, self.params.min_position),
            min_notional=self.tokens.units(quote, self.params.min_notional),
            max_slippage=ppm("max_slippage", self.params.max_slippage),
        )


def units_to_buy(limits: PositionLimits, mid: Mid, *, held: int, cash: int) -> int:
    """Return units of base: `size`, or what the position limit and the cash leave; 0 for none.

    The cash must do at the worst price accepted: units * mid * (1 + slippage) <= cash.
    """
    worst = mid.numerator * (PPM + limits.max_slippage)
    affordable = cash * mid.denominator * PPM // worst if worst else 0
    return _worth_while(limits, mid, min(limits.size, limits.max_position - held, affordable))


def units_to_sell(limits: PositionLimits, mid: Mid, *, held: int, available: int) -> int:
    """Return units of base: `size`, or what may be and can be sold; 0 for none."""
    return _worth_while(limits, mid, min(limits.size, held - limits.min_position, available))


def _worth_while(limits: PositionLimits, mid: Mid, units: int) -> int:
    return units if units > 0 and mid.worth(units) >= limits.min_notional else 0


def _direction_by_rule(features: Sequence[float]) -> float:
    """What the platform's own fallback says, for a host without models."""
    return signals.fallback([features])[0][0]
