"""The models behind Ray Serve: each scores rows in batches, or its formula does, saying so.

A row costs microseconds and a hop milliseconds: callers send all rows of a turn at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from sep_ray.adapters.onnx.catalogue import SPECS, guarded
from sep_ray.engine.ports import Scored
from sep_ray.logs import configure
from sep_ray.settings import Settings

INLINE_ROWS: Final = 32
"""Up to so many rows are scored at once; more go to a thread, so that the loop stays free."""

log = structlog.get_logger()


class ServedScorer:
    """One model of the catalogue in a replica."""

    name: str

    def __init__(self, *_: object) -> None:
        """Load the model; what is bound as an argument is only deployed together with it."""
        settings = Settings()
        configure(settings.log_format, settings.log_level)
        budget_s = settings.model_timeout_ms / 1_000
        self._guarded = guarded(SPECS[self.name], settings.models_dir, budget_s)
        about = self._guarded.model.about if self._guarded.model else None
        log.info("model_ready", model=self.name, version=about.version if about else "formula")

    async def score(self, rows: Sequence[Sequence[float]]) -> Scored:
        """Return one list of outputs per row, by the model or by its formula."""
        if len(rows) <= INLINE_ROWS:
            return self._guarded.score_now(rows)
        return await asyncio.to_thread(self._guarded.score_now, rows)

    async def about(self) -> dict[str, str]:
        """Say which version answers."""
        model = self._guarded.model
        return {"name": self.name, "version": model.about.version if model else "formula"}


class Prioritizer(ServedScorer):
    """What loses most by waiting."""

    name = "prioritizer"


class CostModel(ServedScorer):
    """Gas, drift and delay of a path."""

    name = "cost"


class SliceModel(ServedScorer):
    """Into how many parts an adaptive intent is cut."""

    name = "slice"


SERVED: Final[tuple[type[ServedScorer], ...]] = (Prioritizer, CostModel, SliceModel)
