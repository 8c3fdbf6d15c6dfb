"""The platform's models: what each reads and answers, its bounds, and the formula behind it.

The same entry guards a model in this process, behind Ray Serve, and where it is asked from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sep_ray.adapters.onnx.guarded import Bounds, Guarded, Spec
from sep_ray.adapters.onnx.session import ModelUnavailable, OnnxModel, find_models
from sep_ray.decomposition import slicing
from sep_ray.priority import features as priority
from sep_ray.priority import rank
from sep_ray.routing import cost
from sep_ray.strategy import signals

PRIORITIZER: Final = Spec(
    name="prioritizer",
    features=priority.FEATURES,
    outputs=(Bounds(name="loss_bp", floor=rank.MIN_SCORE_BP, ceiling=rank.MAX_SCORE_BP),),
    formula=rank.fallback,
)


_MAX_FEATURE: Final = 10**15
"""Far above any feature of a cost row; the formula stays within floats."""


def _cost_formula(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    whole = ([min(max(int(value), 0), _MAX_FEATURE) for value in row] for row in rows)
    named = (dict(zip(cost.FEATURES, row, strict=True)) for row in whole)
    estimates = [cost.estimate(cost.CostRow(**row)) for row in named]
    return [[float(e.gas), float(e.slippage_ppm), float(e.inclusion_blocks)] for e in estimates]


COST: Final = Spec(
    name="cost",
    features=cost.FEATURES,
    outputs=(
        Bounds(name="gas", floor=21_000.0, ceiling=30_000_000.0),
        Bounds(name="slippage_ppm", floor=0.0, ceiling=1_000_000.0),
        Bounds(name="inclusion_blocks", floor=1.0, ceiling=100.0),
    ),
    formula=_cost_formula,
)

SLICE: Final = Spec(
    name="slice",
    features=slicing.FEATURES,
    outputs=tuple(
        Bounds(name=f"impact_{slices}_bp", floor=0.0, ceiling=slicing.MAX_IMPACT_BP)
        for slices in slicing.ACTIONS[1:]
    ),
    formula=slicing.fallback,
)

MOMENTUM: Final = Spec(
    name="momentum",
    features=signals.FEATURES,
    outputs=(
        Bounds(name="direction", floor=-1.0, ceiling=1.0),
        Bounds(name="size_bp", floor=0.0, ceiling=10_000.0),
    ),
    formula=signals.fallback,
)

SPECS: Final[Mapping[str, Spec]] = MappingProxyType(
    {spec.name: spec for spec in (PRIORITIZER, COST, SLICE)}
)
"""Every model behind Serve, by name."""
SIGNALS: Final[Mapping[str, Spec]] = MappingProxyType({MOMENTUM.name: MOMENTUM})
"""Signal models with a formula of their own, which run in their strategy's process."""


def guarded(spec: Spec, models: Path | None, budget_s: float) -> Guarded:
    """Load a model of the catalogue; without a usable file the formula answers, saying why."""
    try:
        model = OnnxModel.load(find_models(models) / spec.name, spec.features)
    except ModelUnavailable as error:
        return Guarded(spec, None, budget_s=budget_s, absent=str(error))
    if model.about.outputs != tuple(bounds.name for bounds in spec.outputs):
        return Guarded(spec, None, budget_s=budget_s, absent="the model answers other questions")
    return Guarded(spec, model, budget_s=budget_s)
