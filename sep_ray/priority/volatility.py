"""How far a price is likely to move: exponentially weighted variance of log returns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from typing import Final

BP: Final = 10_000.0
HOUR: Final = 3_600.0
SHORT_HALF_LIFE_S: Final = 3_600.0
LONG_HALF_LIFE_S: Final = 86_400.0
DEFAULT_SIGMA_BP: Final = 60.0
"""Over one hour, when nothing is known: WBTC/WETH moved 40 bp over 20 minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volatility:
    """`sigma_bp`: forecast standard deviation over one hour, in bp. `ratio`: that over the
    slow average. `jump`: the newest absolute return in units of what was expected for it."""

    sigma_bp: float = DEFAULT_SIGMA_BP
    ratio: float = 1.0
    jump: float = 0.8


UNKNOWN: Final = Volatility()


def volatilities(closes: Sequence[float], interval_s: float) -> list[Volatility]:
    """Return the forecast after each close (the first knows nothing).

    Var_t = (1-a) Var_{t-1} + a r_t^2, a = 1 - 2^(-interval/half-life), r in bp per sqrt(hour);
    a starts at 1/t, so that early forecasts are plain means. Closes must be positive.
    """
    known = [UNKNOWN] if closes else []
    return known + [_volatility(*state) for state in _states(closes, interval_s)]


def volatility(closes: Sequence[float], interval_s: float) -> Volatility:
    """Return the forecast after the last close; UNKNOWN when fewer than two are known."""
    last = deque(_states(closes, interval_s), maxlen=1)
    return _volatility(*last[0]) if last else UNKNOWN


def _states(
    closes: Sequence[float], interval_s: float
) -> Iterator[tuple[float, float, float, float]]:
    """Yield short and long variance per hour, the newest square, and what was expected of it."""
    short = long = 0.0
    per_hour = HOUR / interval_s * BP**2
    a_short = 1 - 2 ** (-interval_s / SHORT_HALF_LIFE_S)
    a_long = 1 - 2 ** (-interval_s / LONG_HALF_LIFE_S)
    for count, (before, after) in enumerate(pairwise(closes), start=1):
        square = log(after / before) ** 2 * per_hour
        expected = short
        short += max(a_short, 1 / count) * (square - short)
        long += max(a_long, 1 / count) * (square - long)
        yield short, long, square, expected


def _volatility(short: float, long: float, square: float, expected: float) -> Volatility:
    return Volatility(
        sigma_bp=sqrt(short),
        ratio=sqrt(short / long) if long > 0 else 1.0,
        jump=sqrt(square / expected) if expected > 0 else 0.8,
    )
