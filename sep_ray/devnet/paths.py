"""Price paths for a moving market: the same seed gives the same prices."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from math import exp, sqrt
from typing import Final

from sep_ray.devnet.market import PRICES

Prices = Mapping[str, int]
"""Dollars in millionths per whole token, by symbol."""

_MOVING: Final = ("WETH", "WBTC")
_SHARED: Final = 0.8
"""Correlation of each coin's moves with the market's, as the two coins' own is about 0.64."""


def geometric_path(
    seed: int, *, start: Prices = PRICES, drift_ppm: int = 0, volatility_ppm: int = 800
) -> Iterator[Prices]:
    """Yield prices without end: a correlated geometric walk of WETH and WBTC, dollars at rest.

    drift and volatility are per step, in parts per million of the price (of its logarithm). The
    first prices are one step away from `start`.
    """
    chance = random.Random(f"{seed}/path")
    prices = dict(start)
    drift, volatility = drift_ppm / 1e6, volatility_ppm / 1e6
    while True:
        market = chance.gauss(0, 1)
        for symbol in _MOVING:
            own = chance.gauss(0, 1)
            move = volatility * (_SHARED * market + sqrt(1 - _SHARED**2) * own)
            grown = prices[symbol] * exp(drift - volatility**2 / 2 + move)
            prices[symbol] = max(1, round(grown))
        yield dict(prices)
