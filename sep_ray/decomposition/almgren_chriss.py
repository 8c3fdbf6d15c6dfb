"""Optimal execution in closed form: Almgren and Chriss, "Optimal execution of portfolio
transactions" (2000), discrete time, linear impact.

Times are in any one unit (the paper: days), prices in any one currency. Floats: these are
schedules' shapes and expected costs; amounts are cut exactly elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import acosh, exp, expm1, inf, sinh

from sep_ray.kernel.errors import InvariantBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """An order of `size` units sold over `horizon` in `slices` equal intervals.

    `sigma` is absolute volatility per square root of time; `epsilon` the fixed cost per unit (half
    spread and fees); `gamma` permanent impact per unit; `eta` temporary impact per unit of speed.
    """

    size: float
    horizon: float
    slices: int
    sigma: float
    epsilon: float
    gamma: float
    eta: float

    def __post_init__(self) -> None:
        if self.slices < 1 or self.horizon <= 0 or self.eta_tilde <= 0:
            raise InvariantBroken(
                "needs slices >= 1, a horizon and eta above gamma tau / 2", slices=self.slices
            )

    @property
    def tau(self) -> float:
        """The length of one interval."""
        return self.horizon / self.slices

    @property
    def eta_tilde(self) -> float:
        """eta - gamma tau / 2: temporary impact once the permanent part is taken out."""
        return self.eta - self.gamma * self.tau / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`holdings` at times 0..slices (first is the size, last is zero), `trades` of each interval,
    `expected` shortfall and its `variance`, `half_life` = 1/kappa (infinite without risk
    aversion)."""

    holdings: tuple[float, ...]
    trades: tuple[float, ...]
    expected: float
    variance: float
    half_life: float


def kappa(programme: Programme, risk_aversion: float) -> float:
    """Return the urgency: 2/tau^2 (cosh(kappa tau) - 1) = risk_aversion sigma^2 / eta_tilde."""
    squared = risk_aversion * programme.sigma**2 / programme.eta_tilde
    return acosh(1 + squared * programme.tau**2 / 2) / programme.tau


def optimal(programme: Programme, risk_aversion: float) -> Outcome:
    """Return the schedule that minimises expected + risk_aversion * variance.

    x_j = X sinh(kappa (T - t_j)) / sinh(kappa T); a straight line where kappa is zero.
    """
    rate = kappa(programme, risk_aversion)
    places = range(programme.slices + 1)
    left = [_left(rate * programme.horizon, 1 - at / programme.slices) for at in places]
    return outcome(programme, tuple(programme.size * share for share in left), rate)


def outcome(programme: Programme, holdings: tuple[float, ...], rate: float = 0.0) -> Outcome:
    """Return what any schedule costs.

    E = gamma X^2 / 2 + epsilon sum |n_k| + eta_tilde / tau sum n_k^2; V = sigma^2 tau sum x_k^2.
    """
    trades = tuple(before - after for before, after in pairwise(holdings))
    expected = (
        programme.gamma * programme.size**2 / 2
        + programme.epsilon * sum(abs(trade) for trade in trades)
        + programme.eta_tilde / programme.tau * sum(trade**2 for trade in trades)
    )
    variance = programme.sigma**2 * programme.tau * sum(held**2 for held in holdings[1:])
    return Outcome(
        holdings=holdings,
        trades=trades,
        expected=expected,
        variance=variance,
        half_life=1 / rate if rate > 0 else inf,
    )


def _left(whole: float, share: float) -> float:
    """Return sinh(whole * share) / sinh(whole), the part held when `share` of the time is left."""
    if whole == 0:
        return share
    if whole > 100:  # sinh overflows near 710; this is the same quotient without it
        return exp(whole * (share - 1)) * expm1(-2 * whole * share) / expm1(-2 * whole)
    return sinh(whole * share) / sinh(whole)
