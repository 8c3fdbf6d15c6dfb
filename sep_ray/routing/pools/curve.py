"""One direction of a pool in floats: what the search moves along, never what is signed.

Every pool of the Uniswap families is a chain of segments of constant liquidity L in w, the square
root of its price in tokens out per token in (before fees). Selling moves w downwards:

    in  = L * (1/w_end - 1/w_start) / (1 - fee)        out = L * (w_start - w_end)

so that the next unit in gives (1 - fee) * w^2 out. V2 is one segment down to w = 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sep_ray.kernel.units import PPM
from sep_ray.routing.pools.v3_math import MAX_TICK, MIN_TICK, Q96

if TYPE_CHECKING:
    from sep_ray.routing.pools.ticks import TickMap

_HALF_LOG_TICK = math.log(1.0001) / 2
SMALLEST = 1e-30
"""Where V2's only segment ends, as a share of its start: beyond all that 112 bits can hold."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Segments from `start` on: the w at which each ends (falling), and its liquidity."""

    start: float
    ends: tuple[float, ...]
    liquidity: tuple[float, ...]
    keeps: float
    """1 - fee."""


def constant_product(reserve_in: int, reserve_out: int, fee_ppm: int) -> Curve | None:
    """Return a pair's curve; None when it is empty."""
    if reserve_in == 0 or reserve_out == 0:
        return None
    start = math.sqrt(reserve_out / reserve_in)
    liquidity = math.sqrt(reserve_in) * math.sqrt(reserve_out)
    return Curve(start, (start * SMALLEST,), (liquidity,), (PPM - fee_ppm) / PPM)


def concentrated(
    sqrt_price: int, tick: int, liquidity: int, ticks: TickMap, fee_ppm: int, downwards: bool
) -> Curve | None:
    """Return a V3 pool's curve in one direction, as far as its ticks are known; None when empty.

    Downwards sells token0. A tick that would leave negative liquidity ends the curve.
    """
    ends: list[float] = []
    amounts: list[float] = []
    for place, net in _stops(ticks, tick, downwards):
        ends.append(math.exp(_HALF_LOG_TICK * (place if downwards else -place)))
        amounts.append(float(liquidity))
        liquidity += -net if downwards else net
        if liquidity < 0:
            break
    while amounts and amounts[-1] == 0.0:
        amounts.pop()
        ends.pop()
    if not amounts:
        return None
    root = sqrt_price / Q96 if downwards else Q96 / sqrt_price
    ends = [min(end, root) for end in ends]
    return Curve(root, tuple(ends), tuple(amounts), (PPM - fee_ppm) / PPM)


def _stops(ticks: TickMap, tick: int, downwards: bool) -> Iterable[tuple[int, int]]:
    """Yield the initialised ticks on the way, and where what is known ends."""
    low, high = MIN_TICK, MAX_TICK
    if ticks.words is not None:
        low = max(low, (ticks.words[0] << 8) * ticks.spacing)
        high = min(high, ((ticks.words[1] + 1 << 8) - 1) * ticks.spacing)
    if downwards:
        yield from ((at, net) for at, net in reversed(ticks.ticks) if low <= at <= tick)
        yield low, 0
    else:
        yield from ((at, net) for at, net in ticks.ticks if tick < at <= high)
        yield high, 0
