"""A model that always answers: itself, or the formula that stands in for it, saying which.

Both answers pass the same bounds. A model in shadow (its card says it does not beat its formula)
is run and compared, and does not decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, Protocol

from sep_ray.adapters.onnx.session import About, WrongRows, WrongScores
from sep_ray.engine.ports import Scored

MODEL: Final = "model"
FALLBACK: Final = "fallback"
REST_AFTER_SLOW: Final = 16
"""Calls answered by formula after one that took too long, so that slowness is not paid twice."""

Rows = Sequence[Sequence[float]]
Formula = Callable[[Rows], list[list[float]]]


class Scorer(Protocol):
    """What is guarded: an OnnxModel, or anything that scores rows as one does."""

    about: About

    def score(self, rows: Rows) -> list[list[float]]:
        """Return one list of outputs per row; raise WrongRows or WrongScores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """An output's name and range; no answer leaves the range, whoever gives it."""

    name: str
    floor: float
    ceiling: float

    def clip(self, value: float) -> float:
        """Return the nearest value in the range; the ceiling when it is no number."""
        if value != value:
            return self.ceiling
        return min(max(value, self.floor), self.ceiling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What the platform expects of a model, whatever its file says."""

    name: str
    features: tuple[str, ...]
    outputs: tuple[Bounds, ...]
    formula: Formula


@dataclass(slots=True)
class Shadow:
    """How far an undecided output lay from the formula: rows compared, sum of differences."""

    rows: int = 0
    difference: float = 0.0


class Guarded:
    """Scores rows by `model` where it decides and by the spec's formula everywhere else."""

    def __init__(
        self,
        spec: Spec,
        model: Scorer | None,
        *,
        budget_s: float,
        absent: str = "no model",
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.spec = spec
        self.model = model
        self.shadow = Shadow()
        self._budget_s = budget_s
        self._absent = absent
        self._timer = timer
        self._resting = 0

    def score_now(self, rows: Rows) -> Scored:
        """Return one list of outputs per row, each within its bounds; never raises for a model
        that is missing, slow or wrong, nor for rows that are."""
        if self.model is None:
            return self.fall_back(rows, self._absent)
        if self._resting > 0:
            self._resting -= 1
            return self.fall_back(rows, "resting after a slow answer")
        started = self._timer()
        try:
            scores = self.model.score(rows)
        except (WrongRows, WrongScores) as error:
            return self.fall_back(rows, str(error))
        spent = self._timer() - started
        if spent > self._budget_s:
            self._resting = REST_AFTER_SLOW
            limit = f"{self._budget_s * 1e3:.0f} ms"
            return self.fall_back(rows, f"slow: {spent * 1e3:.0f} ms of {limit}")
        return self._decide(rows, scores, self.model)

    async def score(self, rows: Rows) -> Scored:
        """The same, as the engine's Model port asks for it."""
        return self.score_now(rows)

    def fall_back(self, rows: Rows, reason: str) -> Scored:
        """Return the formula's answer with the reason; values that are no numbers count zero."""
        width = len(self.spec.features)
        clean = [[_finite(row, at) for at in range(width)] for row in rows]
        return Scored(rows=self._clipped(self.spec.formula(clean)), source=FALLBACK, reason=reason)

    def _decide(self, rows: Rows, scores: list[list[float]], model: Scorer) -> Scored:
        about = model.about
        deciding = [bounds.name in about.decides for bounds in self.spec.outputs]
        scores = self._clipped(scores)
        if all(deciding):
            return Scored(rows=scores, source=MODEL, reason=f"{about.name} {about.version}")
        formula = self.fall_back(rows, f"{about.name} {about.version} in shadow")
        self._compare(scores, formula.rows)
        if not any(deciding):
            return formula
        mixed = [
            [
                mine if yes else other
                for mine, other, yes in zip(ours, theirs, deciding, strict=True)
            ]
            for ours, theirs in zip(scores, formula.rows, strict=True)
        ]
        kept = ", ".join(
            b.name for b, yes in zip(self.spec.outputs, deciding, strict=True) if not yes
        )
        reason = f"{about.name} {about.version}; by formula: {kept}"
        return Scored(rows=mixed, source=MODEL, reason=reason)

    def _compare(self, scores: list[list[float]], formula: list[list[float]]) -> None:
        for ours, theirs in zip(scores, formula, strict=True):
            self.shadow.rows += 1
            self.shadow.difference += sum(abs(a - b) for a, b in zip(ours, theirs, strict=True))

    def _clipped(self, scores: list[list[float]]) -> list[list[float]]:
        outputs = self.spec.outputs
        return [[b.clip(value) for b, value in zip(outputs, row, strict=True)] for row in scores]


def _finite(row: Sequence[float], at: int) -> float:
    return row[at] if at < len(row) and isfinite(row[at]) else 0.0
