"""How many parts an ADAPTIVE intent is given: the slice model on what a quote says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Protocol
from uuid import UUID

from sep_ray.decomposition.slicing import SliceRow, as_floats, recommend
from sep_ray.engine.facts import Known
from sep_ray.engine.ports import Model
from sep_ray.intent.intent import Intent, IntentType, Style
from sep_ray.kernel.units import PPM
from sep_ray.priority.volatility import BP, HOUR
from sep_ray.routing.cost import Conditions
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.planner import candidates, rows
from sep_ray.routing.reasons import NoRoute


class Slicer(Protocol):
    """Chooses how many parts an ADAPTIVE intent is given."""

    async def slices(self, intents: Sequence[Intent], known: Known) -> Mapping[UUID, int]:
        """Return a number of slices (1..MAX_SLICES) for each ADAPTIVE intent among these."""


class ModelSlicer:
    """Asks the slice model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def slices(self, intents: Sequence[Intent], known: Known) -> Mapping[UUID, int]:
        """Return the cheapest number of slices for each ADAPTIVE trade that has a quote."""
        asked = [(i, row) for i in intents if (row := slice_row(i, known)) is not None]
        if not asked:
            return {}
        scored = await self._model.score([as_floats(row) for _, row in asked])
        return {
            intent.id: recommend(row, impacts).slices
            for (intent, row), impacts in zip(asked, scored.rows, strict=True)
        }


def slice_row(intent: Intent, known: Known) -> SliceRow | None:
    """Describe an ADAPTIVE trade to the slice model; None where there is nothing to weigh."""
    view = known.views.get(intent.chain_id)
    request = _request(intent, known)
    if intent.constraints.style is not Style.ADAPTIVE or view is None or request is None:
        return None
    found = candidates(view.snapshot, request, Conditions())
    if isinstance(found, NoRoute):
        return None
    best = min(rows(found), key=lambda row: row.impact_ppm + row.fee_ppm)
    seen = known.row(intent, intent.created_at)
    return SliceRow(
        impact_bp=best.impact_ppm / 100,
        fee_bp=best.fee_ppm / 100,
        sigma_window_bp=seen.volatility.sigma_bp * sqrt(seen.window_s / HOUR),
        gas_bp=seen.gas_cost / seen.notional * BP if seen.notional > 0 else 0.0,
        urgency=intent.constraints.urgency / PPM,
        volatility_ratio=seen.volatility.ratio,
    )


def _request(intent: Intent, known: Known) -> RouteRequest | None:
    if intent.sell is None or intent.buy is None:
        return None
    amount = intent.amount
    if intent.type is IntentType.LIQUIDATE:
        amount = known.available.get(intent.strategy_id, {}).get(intent.sell, 0)
    if not amount:
        return None
    return RouteRequest(
        sell=intent.sell,
        buy=intent.buy,
        amount=amount,
        side=intent.side,
        max_slippage_ppm=intent.constraints.max_slippage,
        deadline_s=intent.deadline // 1_000,
        gas_price_wei=0,
        venues=intent.constraints.venues,
    )
