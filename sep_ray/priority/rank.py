"""The order of the queue: money at stake per turn of waiting, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final
from uuid import UUID

from sep_ray.kernel.errors import InvariantBroken
from sep_ray.priority.features import FEATURES, PriorityRow, as_floats

MIN_SCORE_BP: Final = 0.0
MAX_SCORE_BP: Final = 1_000.0
"""No intent tolerates more than 10 % slippage, so none loses more by waiting."""

_FORMULA = FEATURES.index("formula_bp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A place in the queue: `score_bp` of the intent's own notional, `stake` = score times
    share of the portfolio times urgency (0.5 counts once), and the reason in words."""

    id: UUID
    place: int
    score_bp: float
    stake: float
    reason: str


def fallback(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the formula's score of each row of FEATURES, shaped like a model's answer."""
    return [[bounded(row[_FORMULA])] for row in rows]


def bounded(score: float) -> float:
    """Clip a score to its range; a score that is no number is a bug upstream."""
    if not isfinite(score):
        raise InvariantBroken("a score is not a finite number", score=score)
    return min(max(score, MIN_SCORE_BP), MAX_SCORE_BP)


def stake(row: PriorityRow, score_bp: float) -> float:
    """Return what is at stake, comparable between intents: never less for more notional,
    a higher score or more urgency."""
    return bounded(score_bp) * row.share_bp * (0.5 + row.urgency)


def order(rows: Sequence[PriorityRow], scores: Sequence[float]) -> list[Ranked]:
    """Return the queue, most at stake first; ties go to the nearer deadline, then the lower id.

    `scores` are bp of each row's own notional, in the rows' order.
    """
    if len(rows) != len(scores):
        raise InvariantBroken("as many scores as rows", rows=len(rows), scores=len(scores))
    pairs = zip(rows, scores, strict=True)
    weighed = [(stake(row, score), row, bounded(score)) for row, score in pairs]
    weighed.sort(key=lambda item: (-item[0], item[1].deadline, item[1].id))
    return [
        Ranked(id=row.id, place=place, score_bp=score, stake=at_stake, reason=explain(row, score))
        for place, (at_stake, row, score) in enumerate(weighed)
    ]


def explain(row: PriorityRow, score_bp: float) -> str:
    """Say in one line what the score rests on."""
    sigma, over_left, *_ = as_floats(row)
    moves = f"price moves {sigma:.1f} bp in a wait of {row.wait_s:.0f} s"
    parts = [_deadline(row, over_left), moves]
    if row.gas_ratio >= 1.2 or row.gas_ratio <= 0.8:
        parts.append(f"gas {row.gas_ratio:.1f}x its average")
    if row.volatility.ratio >= 1.3:
        parts.append(f"volatility {row.volatility.ratio:.1f}x its average")
    head = f"score {score_bp:.1f} bp on {row.share_bp / 100:.2f} % of the portfolio"
    return f"{head}: {', '.join(parts)}"


def _deadline(row: PriorityRow, over_left: float) -> str:
    if row.left_s <= 0:
        return "deadline passed"
    last = " (last chance)" if over_left >= 1 else ""
    return f"deadline in {row.left_s:.0f} s{last}"
