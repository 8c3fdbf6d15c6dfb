"""What a momentum signal reads: how far the price has come, measured in its own volatility.

The same code makes the features in training, in backtests and live. Bars may have any length;
everything is counted in bars and in standard deviations, so nothing depends on price or scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, log, pi, sqrt
from typing import Final

from sep_ray.priority.volatility import BP, volatility

HORIZON: Final = 6
"""The move that is predicted: over the next six bars (half an hour of 5-minute bars)."""
LOOK_BACKS: Final = (1, 3, 6, 12, 36, 72)
WARM_UP: Final = 289
"""Closes that are looked at: a day of 5-minute bars. Fewer will do, see `features`."""
FEATURES: Final[tuple[str, ...]] = (
    *(f"momentum_{bars}" for bars in LOOK_BACKS),
    "range_position",
    "volatility_ratio",
    "volatility_jump",
    "sigma_horizon_bp",
)
"""The names of the model's inputs, in the order of `features`."""
OUTPUTS: Final = ("direction", "size_bp")
MAX_Z: Final = 10.0
MAX_RATIO: Final = 20.0
MAX_SIGMA_BP: Final = 5_000.0
MEAN_ABSOLUTE: Final = sqrt(2 / pi)
"""E|Z| of a standard normal."""

_BAR_S: Final = 300.0
"""`volatility` counts its half-lives in seconds; here 12 bars are its hour."""


def features(closes: Sequence[float]) -> list[float]:
    """Return the features after the last close, in the order of FEATURES.

    Only the last WARM_UP closes count, so that the answer does not depend on how long the caller
    has been watching. momentum_k = log(close / close k bars ago) / (sigma sqrt(k)), zero where
    history is shorter; range_position is the close's place between the lowest (-1) and highest
    (1) of 73 closes. Closes must be positive, oldest first.
    """
    closes = closes[-WARM_UP:]
    known = volatility(closes, _BAR_S)
    bar_bp = known.sigma_bp / sqrt(12)
    return [
        *(_momentum(closes, bars, bar_bp) for bars in LOOK_BACKS),
        _range_position(closes[-LOOK_BACKS[-1] - 1 :]),
        min(known.ratio, MAX_RATIO),
        min(known.jump, MAX_RATIO),
        min(bar_bp * sqrt(HORIZON), MAX_SIGMA_BP),
    ]


def fallback(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return direction and size by rule, from rows of FEATURES.

    direction = erf(momentum over 12 bars / 2), in -1..1: go with the last dozen bars; size =
    sigma sqrt(horizon) sqrt(2 / pi), the mean absolute move of a random walk.
    """
    momentum, sigma = FEATURES.index("momentum_12"), FEATURES.index("sigma_horizon_bp")
    return [[erf(row[momentum] / 2), row[sigma] * MEAN_ABSOLUTE] for row in rows]


def _momentum(closes: Sequence[float], bars: int, bar_bp: float) -> float:
    if len(closes) <= bars or bar_bp <= 0:
        return 0.0
    move = log(closes[-1] / closes[-1 - bars]) * BP / (bar_bp * sqrt(bars))
    return min(max(move, -MAX_Z), MAX_Z)


def _range_position(window: Sequence[float]) -> float:
    low, high = (min(window), max(window)) if window else (0.0, 0.0)
    return (2 * window[-1] - low - high) / (high - low) if high > low else 0.0
