"""A quoted route as a cost model sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sep_ray.intent.intent import Side
from sep_ray.kernel.units import PPM
from sep_ray.routing.cost import (
    Conditions,
    CostEstimate,
    CostRow,
    Drift,
    default_volatility_ppm,
    ratio_ppm,
)
from sep_ray.routing.paths import Quoted
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.snapshot import Snapshot


class Describer:
    """Describes quoted routes to a cost model, with what is known when planning.

    What is the same for all routes of a request is worked out once.
    """

    def __init__(self, snapshot: Snapshot, request: RouteRequest, conditions: Conditions) -> None:
        price, volatility = request.gas_price_wei, conditions.volatility_ppm
        if volatility is None:
            volatility = default_volatility_ppm(conditions.block_time_ms)
        self._exact_out = int(request.side is Side.BUY)
        self._over_ewma = _known_ratio_ppm(price, conditions.gas_price_ewma_wei or 0)
        self._over_base = _known_ratio_ppm(price, snapshot.base_fee_wei)
        self._volatility_ppm = volatility
        self._delay_blocks = conditions.delay_blocks
        self._block_time_ms = conditions.block_time_ms
        self._drift = Drift.over(self._over_base, volatility, conditions.delay_blocks)

    def formula(self, legs: Sequence[Quoted]) -> CostEstimate:
        """Return what a route costs by formula; cheaper than to describe it first."""
        hops = v2_hops = ticks = 0
        for leg in legs:
            v2_hops += leg.way.v2_hops
            for quote in leg.quotes:
                hops += 1
                ticks += quote.ticks_crossed
        return self._drift.estimate(v2_hops, hops - v2_hops, ticks)

    def row(self, legs: Sequence[Quoted]) -> CostRow:
        """Return a route's features.

        Hops and ticks are added up over the legs, as gas is; fee and impact are means by the legs'
        input.
        """
        hops = sum(len(leg.quotes) for leg in legs)
        v2_hops = sum(leg.way.v2_hops for leg in legs)
        return CostRow(
            hops=hops,
            v2_hops=v2_hops,
            v3_hops=hops - v2_hops,
            ticks_crossed=sum(quote.ticks_crossed for leg in legs for quote in leg.quotes),
            exact_out=self._exact_out,
            fee_ppm=_mean(legs, lambda leg: leg.way.fee_ppm),
            impact_ppm=_mean(legs, _impact_ppm),
            size_over_depth_ppm=max(_size_ppm(leg) for leg in legs),
            gas_price_over_ewma_ppm=self._over_ewma,
            gas_price_over_base_ppm=self._over_base,
            volatility_ppm=self._volatility_ppm,
            delay_blocks=self._delay_blocks,
            block_time_ms=self._block_time_ms,
        )


def _known_ratio_ppm(price: int, other: int) -> int:
    return ratio_ppm(price, other) if price and other else PPM


def _mean(legs: Sequence[Quoted], ppm: Callable[[Quoted], int]) -> int:
    """Return the mean over the legs, weighted by what goes in, rounded down."""
    if len(legs) == 1:
        return ppm(legs[0])
    amounts = [leg.amount_in for leg in legs]
    return sum(ppm(leg) * amount for leg, amount in zip(legs, amounts, strict=True)) // sum(amounts)


def _size_ppm(leg: Quoted) -> int:
    """Return what goes into a pool over what it holds of that, for the pool it fills most."""
    pairs = zip(leg.quotes, leg.way.depths, strict=True)
    return max(ratio_ppm(quote.amount_in, depth) for quote, depth in pairs)


def _impact_ppm(leg: Quoted) -> int:
    """Return 1 - out / (in * mid * (1 - fees)), rounded down, not below 0."""
    numerator, denominator = leg.way.kept
    ideal = leg.amount_in * numerator
    behind = ideal - leg.amount_out * denominator
    return max(ratio_ppm(behind, ideal), 0)
