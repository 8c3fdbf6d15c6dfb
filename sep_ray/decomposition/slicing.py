"""In how many equal slices: impact and gas against the risk of waiting.

A slice moves the pool; arbitrage brings it back, but only to within the fee of the market's
price, since closer no arbitrage pays. So slicing saves impact only where an order moves the pool
by more than the fee, or where the market itself moves by about the fee between slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, pi, sqrt
from typing import Final

from sep_ray.kernel.errors import InvariantBroken

ACTIONS: Final[tuple[int, ...]] = (1, 2, 4, 8, 16)
"""Numbers of slices that are weighed against one another; 1 is to trade at once."""
FEATURES: Final[tuple[str, ...]] = (
    "impact_bp",
    "impact_over_fee",
    "sigma_over_fee",
    "volatility_ratio",
    *(f"formula_{slices}_bp" for slices in ACTIONS[1:]),
)
"""The names of the model's inputs, in the order of `as_floats`."""
RISK_AT_FULL_URGENCY: Final = 0.2
"""bp of expected cost that an owner of urgency 1 pays to be rid of 1 bp of standard deviation."""
MIN_FEE_BP: Final = 0.5
MAX_IMPACT_BP: Final = 5_000.0
MAX_RATIO: Final = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow:
    """An order as slicing sees it.

    `impact_bp`: how far the exact quote for the whole order at once, fees taken out, lies behind
    mid. `fee_bp`: the path's pool fees. `sigma_window_bp`: volatility over the order's window.
    `gas_bp`: gas of one transaction over the order's value. `urgency`: 0..1 as stated.
    """

    impact_bp: float
    fee_bp: float
    sigma_window_bp: float
    gas_bp: float
    urgency: float = 0.5
    volatility_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionCost:
    """What trading in `slices` parts is expected to cost, in bp of the order's value."""

    slices: int
    impact_bp: float
    gas_bp: float
    risk_bp: float

    @property
    def total_bp(self) -> float:
        return self.impact_bp + self.gas_bp + self.risk_bp


def as_floats(row: SliceRow) -> list[float]:
    """Return the row as the model's input, in the order of FEATURES."""
    fee = max(row.fee_bp, MIN_FEE_BP)
    impact = min(max(row.impact_bp, 0.0), MAX_IMPACT_BP)
    return [
        impact,
        min(impact / fee, MAX_RATIO),
        min(row.sigma_window_bp / fee, MAX_RATIO),
        row.volatility_ratio,
        *(impact_bp(impact, fee, row.sigma_window_bp, slices) for slices in ACTIONS[1:]),
    ]


def impact_bp(impact: float, fee: float, sigma_window: float, slices: int) -> float:
    """Return the mean impact of `slices` equal parts, between impact/slices and impact.

    The whole order moves the pool by twice its mean impact. Before each slice the displacement
    left by the earlier ones is what remains within the fee band, decayed by the market's own
    movement: a random walk between walls 2 fee apart forgets at the rate pi^2 sigma^2 / (8 fee^2).
    """
    part = 2 * impact / slices
    variance = (sigma_window / fee) ** 2 / slices
    kept = exp(-min(pi**2 / 8 * variance, 700.0))
    displaced = total = 0.0
    for _ in range(slices):
        total += displaced + part / 2
        displaced = min(displaced + part, fee) * kept
    return total / slices


def fallback(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the formula's impacts of ACTIONS[1:] for each row of FEATURES."""
    first = FEATURES.index(f"formula_{ACTIONS[1]}_bp")
    return [list(row[first:]) for row in rows]


def action_costs(row: SliceRow, impacts: Sequence[float]) -> list[ActionCost]:
    """Return the cost of every action; `impacts` are a model's (or the formula's) for ACTIONS[1:].

    Impacts are kept between impact/slices and impact; gas is paid per slice; risk is
    RISK_AT_FULL_URGENCY * urgency * sd, sd^2 = sigma^2 (n-1)(2n-1) / (6 n^2), the variance of the
    mean of prices at n equal steps from the start.
    """
    if len(impacts) != len(ACTIONS) - 1:
        raise InvariantBroken("one impact per action but the first", got=len(impacts))
    at_once = min(max(row.impact_bp, 0.0), MAX_IMPACT_BP)
    aversion = RISK_AT_FULL_URGENCY * row.urgency
    costs = []
    for slices, impact in zip(ACTIONS, (at_once, *impacts), strict=True):
        if not isfinite(impact):
            raise InvariantBroken("an impact is not a finite number", slices=slices)
        deviation = row.sigma_window_bp * sqrt((slices - 1) * (2 * slices - 1) / 6) / slices
        costs.append(
            ActionCost(
                slices=slices,
                impact_bp=min(max(impact, at_once / slices), at_once),
                gas_bp=row.gas_bp * slices,
                risk_bp=aversion * deviation,
            )
        )
    return costs


def recommend(row: SliceRow, impacts: Sequence[float], most: int = ACTIONS[-1]) -> ActionCost:
    """Return the cheapest action of at most `most` slices; of equals, the fewest slices."""
    allowed = [cost for cost in action_costs(row, impacts) if cost.slices <= max(most, 1)]
    return min(allowed, key=lambda cost: (cost.total_bp, cost.slices))


def explain(row: SliceRow, chosen: ActionCost) -> str:
    """Say in one line why that many slices."""
    return (
        f"{chosen.slices} slices: impact {chosen.impact_bp:.1f} bp (at once {row.impact_bp:.1f}), "
        f"gas {chosen.gas_bp:.1f} bp, risk {chosen.risk_bp:.1f} bp"
    )
