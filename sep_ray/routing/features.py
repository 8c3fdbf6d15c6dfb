"""A quoted route as a cost model sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sep_ray.intent.intent import Side
from sep_ray.kernel.units import PPM
from sep_ray.routing.cost import Conditions, CostRow, default_volatility_ppm, ratio_ppm
from sep_ray.routing.paths import Step
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.prices import Ratio, pool_price
from sep_ray.routing.snapshot import Snapshot


def cost_row(
    legs: Sequence[Sequence[Step]],
    snapshot: Snapshot,
    request: RouteRequest,
    conditions: Conditions,
) -> CostRow:
    """Describe a quoted route to a cost model, with what is known when planning.

    Hops and ticks are added up over the legs, as gas is; fee and impact are means by the legs'
    input.
    """
    steps = [step for leg in legs for step in leg]
    venues = [step.pool.venue for step in steps]
    price = request.gas_price_wei
    volatility = conditions.volatility_ppm
    if volatility is None:
        volatility = default_volatility_ppm(conditions.block_time_ms)
    return CostRow(
        hops=len(steps),
        v2_hops=venues.count(Venue.UNISWAP_V2),
        v3_hops=len(steps) - venues.count(Venue.UNISWAP_V2),
        ticks_crossed=sum(step.quote.ticks_crossed for step in steps),
        exact_out=int(request.side is Side.BUY),
        fee_ppm=_mean(legs, lambda leg: sum(step.pool.fee_ppm for step in leg)),
        impact_ppm=_mean(legs, _impact_ppm),
        size_over_depth_ppm=max(_size_ppm(step) for step in steps),
        gas_price_over_ewma_ppm=_known_ratio_ppm(price, conditions.gas_price_ewma_wei or 0),
        gas_price_over_base_ppm=_known_ratio_ppm(price, snapshot.base_fee_wei),
        volatility_ppm=volatility,
        delay_blocks=conditions.delay_blocks,
        block_time_ms=conditions.block_time_ms,
    )


def _known_ratio_ppm(price: int, other: int) -> int:
    return ratio_ppm(price, other) if price and other else PPM


def _mean(legs: Sequence[Sequence[Step]], ppm: Callable[[Sequence[Step]], int]) -> int:
    """Return the mean over the legs, weighted by what goes in, rounded down."""
    amounts = [leg[0].quote.amount_in for leg in legs]
    return sum(ppm(leg) * amount for leg, amount in zip(legs, amounts, strict=True)) // sum(amounts)


def _size_ppm(step: Step) -> int:
    return ratio_ppm(step.quote.amount_in, step.pool.depth(step.token_in))


def _impact_ppm(steps: Sequence[Step]) -> int:
    """Return 1 - out / (in * mid * (1 - fees)), rounded down, not below 0."""
    numerator, denominator = path_price(steps)
    for step in steps:
        numerator, denominator = numerator * (PPM - step.pool.fee_ppm), denominator * PPM
    ideal = steps[0].quote.amount_in * numerator
    behind = ideal - steps[-1].quote.amount_out * denominator
    return max(ratio_ppm(behind, ideal), 0)


def path_price(steps: Sequence[Step]) -> Ratio:
    """Return the path's mid price: the product of its pools' prices."""
    numerator, denominator = 1, 1
    for step in steps:
        n, d = pool_price(step.pool, step.token_in)
        numerator, denominator = numerator * n, denominator * d
    return numerator, denominator
