"""A model behind Ray Serve, asked from an engine: it answers in time or its formula does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from sep_ray.adapters.onnx.catalogue import SPECS
from sep_ray.adapters.onnx.guarded import Guarded
from sep_ray.engine.ports import Scored

MODELS_APP: Final = "models"
REST: Final = 10
"""Questions answered by formula after one that failed, so that an outage is not waited for."""


class ServedModel:
    """Implements the engine's Model port over a Serve deployment named like the model.

    The deployment guards its own file and says whether model or formula answered; here its
    absence, its slowness and its errors are guarded against in the same way.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._formula = Guarded(SPECS[name], None, budget_s=timeout_s)
        self._handle: Any = None
        self._resting = 0

    async def score(self, rows: Sequence[Sequence[float]]) -> Scored:
        """Score rows; the answer names its source and, for a fallback, the reason."""
        if self._resting > 0:
            self._resting -= 1
            return self._formula.fall_back(rows, "resting after a failure")
        try:
            return await asyncio.wait_for(self._ask(rows), self._timeout_s)
        except TimeoutError:
            return self._failed(rows, f"no answer within {self._timeout_s * 1e3:.0f} ms")
        except (RayError, RayServeException) as error:
            return self._failed(rows, type(error).__name__)

    async def _ask(self, rows: Sequence[Sequence[float]]) -> Scored:
        if self._handle is None:
            from ray import serve

            self._handle = serve.get_deployment_handle(self._name, MODELS_APP)
        answer: Scored = await self._handle.score.remote([list(row) for row in rows])
        return answer

    def _failed(self, rows: Sequence[Sequence[float]], why: str) -> Scored:
        self._handle, self._resting = None, REST
        return self._formula.fall_back(rows, why)
