"""How much to trade with a pool so that it ends at a price. Exact integers, no chain."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from sep_ray.kernel.units import PPM


@dataclass(frozen=True, slots=True)
class Ratio:
    """A price as units of token1 per unit of token0."""

    numerator: int
    denominator: int

    def above(self, other: Ratio) -> bool:
        return self.numerator * other.denominator > other.numerator * self.denominator

    def scaled(self, numerator: int, denominator: int) -> Ratio:
        return Ratio(self.numerator * numerator, self.denominator * denominator)

    def inverse(self) -> Ratio:
        return Ratio(self.denominator, self.numerator)


@dataclass(frozen=True, slots=True)
class Pull:
    """Which way to trade, and the price at which to stop."""

    sells_token0: bool
    stop: Ratio


def pull(pool: Ratio, fair: Ratio, band_ppm: int) -> Pull | None:
    """Say how a pool must be traded to come within `band_ppm` of the fair price; None if it is.

    With the pool's fee as band this is an arbitrageur's own limit: beyond it the fee eats the
    gain.
    """
    upper = fair.scaled(PPM, PPM - band_ppm)
    lower = fair.scaled(PPM - band_ppm, PPM)
    if pool.above(upper):
        return Pull(sells_token0=True, stop=upper)
    if lower.above(pool):
        return Pull(sells_token0=False, stop=lower)
    return None


def v2_amount_in(reserve_in: int, reserve_out: int, stop: Ratio, fee_ppm: int) -> int:
    """Units to put into a V2 pool until reserve_out/reserve_in falls to `stop`, rounded down.

    With k = 1 - fee the reserves after adding a are r + a and r*s/(r + k*a); setting their ratio
    to p gives k*a^2 + (1 + k)*r*a + r^2 - r*s/p = 0, of which this is the positive root.
    """
    kept = PPM - fee_ppm
    # times PPM throughout, so that k is an integer
    linear = (PPM + kept) * reserve_in
    constant = PPM * reserve_in**2 - PPM * reserve_in * reserve_out * stop.denominator // (
        stop.numerator
    )
    root = isqrt(max(0, linear**2 - 4 * kept * constant))
    return max(0, (root - linear) // (2 * kept))


def sqrt_price_x96(price: Ratio) -> int:
    """The square root of a price as V3 pools write it, rounded down."""
    return isqrt((price.numerator << 192) // price.denominator)
