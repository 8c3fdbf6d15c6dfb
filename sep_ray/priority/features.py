"""What is known about a waiting intent, and the scale-free row a model reads of it.

The model answers one question: how many bp of its own notional does this intent lose if it is
passed over now and served later, after a wait that is exponential with mean `wait_s`? Multiplied
by the notional that is the money at stake, and that decides the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, pi, sqrt
from typing import Final
from uuid import UUID

from sep_ray.kernel.clock import Millis
from sep_ray.priority.volatility import HOUR, UNKNOWN, Volatility

FEATURES: Final[tuple[str, ...]] = (
    "sigma_wait_bp",
    "wait_over_left",
    "max_slippage_bp",
    "gas_bp",
    "gas_ratio",
    "volatility_ratio",
    "volatility_jump",
    "log_wait_hours",
    "formula_bp",
)
"""The names of the model's inputs, in the order of `as_floats`."""

MAX_OVER_LEFT: Final = 4.0
MAX_SIGMA_BP: Final = 5_000.0
MAX_GAS_BP: Final = 1_000.0
MAX_RATIO: Final = 20.0
MIN_WAIT_S: Final = 1.0
MEAN_ADVERSE_MOVE: Final = sqrt(1 / (2 * pi)) * sqrt(pi) / 2
"""E[max(0, Z)] of a standard normal times E[sqrt(T)] of a unit exponential: 1/sqrt(8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityRow:
    """One waiting intent as it looks now. Money is in any one unit of account (say, USD).

    `left_s` seconds to the deadline of a window of `window_s`; `wait_s` seconds it is expected to
    wait if it is not served now (see `expected_wait_s`); `gas_cost` what sending it now costs;
    `gas_ratio` the gas price over its slow average; `urgency` 0..1 as the intent stated it (0.5
    by default).
    """

    id: UUID
    type: str
    deadline: Millis
    notional: float
    portfolio: float
    left_s: float
    window_s: float
    wait_s: float
    max_slippage_bp: float
    volatility: Volatility = UNKNOWN
    gas_cost: float = 0.0
    gas_ratio: float = 1.0
    urgency: float = 0.5

    @property
    def share_bp(self) -> float:
        """The notional in bp of the portfolio, 0..10,000."""
        if self.portfolio <= 0 or self.notional <= 0:
            return 0.0
        return min(self.notional / self.portfolio, 1.0) * 10_000.0


def as_floats(row: PriorityRow) -> list[float]:
    """Return the row as the model's input, in the order of FEATURES; every value is finite
    and within the bounds above when the row's own values are finite."""
    wait = max(row.wait_s, MIN_WAIT_S)
    gas_bp = row.gas_cost / row.notional * 10_000.0 if row.notional > 0 else MAX_GAS_BP
    sigma_wait = min(row.volatility.sigma_bp * sqrt(wait / HOUR), MAX_SIGMA_BP)
    over_left = min(wait / row.left_s, MAX_OVER_LEFT) if row.left_s > 0 else MAX_OVER_LEFT
    return [
        sigma_wait,
        over_left,
        row.max_slippage_bp,
        min(gas_bp, MAX_GAS_BP),
        min(row.gas_ratio, MAX_RATIO),
        min(row.volatility.ratio, MAX_RATIO),
        min(row.volatility.jump, MAX_RATIO),
        log(wait / HOUR),
        waiting_loss_bp(sigma_wait, over_left, row.max_slippage_bp),
    ]


def expected_wait_s(waiting: int, turn_s: float) -> float:
    """Return the mean wait of an intent passed over: half the queue, at least one turn."""
    return turn_s * max(1.0, waiting / 2)


def waiting_loss_bp(sigma_wait: float, over_left: float, bound: float) -> float:
    """Return by formula what waiting costs, in bp of the notional, 0..bound.

    drift = sigma sqrt(wait) / sqrt(8), the mean of max(0, move) over an exponential wait, at most
    the slippage bound; a missed deadline costs the bound, which is what the owner would have paid
    to be done; the deadline is missed with chance exp(-left/wait).
    """
    drift = min(sigma_wait * MEAN_ADVERSE_MOVE, bound)
    missed = exp(-1 / over_left) if over_left > 0 else 0.0
    return drift + missed * (bound - drift)
