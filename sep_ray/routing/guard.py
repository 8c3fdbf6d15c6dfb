"""Is a plan's price one that others would call a price? Checked against what it does not rest on.

The reference is the time-weighted mean of V3's own observations (`UniswapV3Pool.observe`), which
one block's trades hardly move; where there is none, the mid of pools that the plan does not pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sep_ray.kernel.units import PPM, Rounding, divide
from sep_ray.routing.plan import Plan
from sep_ray.routing.prices import Ratio, price_between
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot

TIME_WEIGHTED: Final = "v3_time_weighted"
OTHER_POOLS: Final = "other_pools"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An independent price: units of `buy` per unit of `sell`, and whose word it is.

    `off_ppm` is how far the plan's own price, fees and impact included, is from it; below zero
    where the plan gives less.
    """

    source: str
    price: Ratio
    off_ppm: int


def guarded(plan: Plan, snapshot: Snapshot, tolerance_ppm: int | None) -> Plan | NoRoute:
    """Return the plan with its reference, or PRICE_GUARD where it is further off than allowed.

    Too good a price is refused as well: then what we know of the pools is what is wrong. Without
    a tolerance, or where no reference is to be had, the plan passes.
    """
    if tolerance_ppm is None:
        return plan
    reference = reference_of(plan, snapshot)
    if reference is None:
        return plan
    if abs(reference.off_ppm) > tolerance_ppm:
        numerator, denominator = reference.price
        detail = (
            f"{reference.off_ppm} ppm off {reference.source} "
            f"({numerator}/{denominator}), allowed {tolerance_ppm}"
        )
        return NoRoute(reason=Reason.PRICE_GUARD, detail=detail)
    return replace(plan, reference=(reference.source, reference.price, reference.off_ppm))


def reference_of(plan: Plan, snapshot: Snapshot) -> Reference | None:
    """Return the best independent price there is, or None."""
    for source, market in _markets(plan, snapshot):
        price = price_between(market, plan.sell.address, plan.buy.address)
        if not isinstance(price, NoRoute) and price[0] > 0:
            return Reference(source=source, price=price, off_ppm=_off(plan, price))
    return None


def strays(price: Ratio, sell: str, buy: str, snapshot: Snapshot, tolerance_ppm: int) -> bool:
    """Whether a price of `sell` in `buy` is off the time-weighted mean, where there is one."""
    mean = price_between(snapshot.at_means, sell, buy)
    return not isinstance(mean, NoRoute) and abs(_apart(price, mean)) > tolerance_ppm


def _off(plan: Plan, price: Ratio) -> int:
    return _apart((plan.amount_out, plan.amount_in), price)


def _apart(price: Ratio, fair: Ratio) -> int:
    """Return price / fair - 1 in ppm, rounded down."""
    expected = price[1] * fair[0]
    return divide((price[0] * fair[1] - expected) * PPM, expected, Rounding.DOWN)


def _markets(plan: Plan, snapshot: Snapshot) -> Iterable[tuple[str, Snapshot]]:
    """Yield what a price may be taken from, the most independent first."""
    yield TIME_WEIGHTED, snapshot.at_means
    passed = set(plan.route.pools)
    others = tuple(pool for pool in snapshot.pools if pool.address not in passed)
    yield OTHER_POOLS, replace(snapshot, pools=others, means=())
