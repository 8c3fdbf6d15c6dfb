"""A model behind Ray Serve, asked from an engine: it answers in time or its formula does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from ray.exceptions import RayError

from sep_ray.adapters.onnx.catalogue import SPECS
from sep_ray.adapters.onnx.guarded import Guarded
from sep_ray.engine.ports import Scored
from sep_ray.kernel.errors import Transient

MODELS_APP: Final = "models"
SERVE: Final = "ray.serve"
PROBE_S: Final = 10.0
"""How long a probe may take: the first question of a process also finds the deployment."""
PAUSE_S: Final = 0.5
WARM_S: Final = 2.0
"""How long after its start a process leaves its processor to what was interrupted."""

_FAILURES: Final = (RayError, Transient, TimeoutError)


class ServedModel:
    """Implements the engine's Model port over a Serve deployment named like the model.

    The deployment guards its own file and says whether model or formula answered; here its
    absence, its slowness and its errors are guarded against in the same way. After a failure
    nobody waits for it again until a probe in the background has had an answer.

    Serve's library takes a second to load. It is loaded beside the engine, a little after the
    start: an engine that comes back after a crash works by the formula meanwhile.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._formula = Guarded(SPECS[name], None, budget_s=timeout_s)
        self._handle: Any = None
        self._trouble: str | None = "not asked yet"
        self._probing: asyncio.Task[None] | None = None

    def warm(self) -> None:
        """Begin to probe, so that the first question need not be the slow one."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.get_running_loop().create_task(self._probe())

    async def score(self, rows: Sequence[Sequence[float]]) -> Scored:
        """Score rows; the answer names its source and, for a fallback, the reason."""
        if self._trouble is None:
            try:
                return await asyncio.wait_for(self._ask(rows), self._timeout_s)
            except _FAILURES as error:
                self._trouble = self._words(error)
        self.warm()
        return self._formula.fall_back(rows, self._trouble)

    async def _ask(self, rows: Sequence[Sequence[float]]) -> Scored:
        from ray import serve
        from ray.serve.exceptions import RayServeException

        try:
            if self._handle is None:
                self._handle = serve.get_deployment_handle(self._name, MODELS_APP)
            answer: Scored = await self._handle.score.remote([list(row) for row in rows])
        except RayServeException as error:
            raise Transient(type(error).__name__) from error
        return answer

    async def _probe(self) -> None:
        """Ask until there is an answer; then questions go to the deployment again."""
        row = [0.0] * len(SPECS[self._name].features)
        if SERVE not in sys.modules:
            await asyncio.sleep(WARM_S)
            await asyncio.to_thread(import_module, SERVE)
        while self._trouble is not None:
            try:
                await asyncio.wait_for(self._ask([row]), PROBE_S)
                self._trouble = None
            except _FAILURES as error:
                self._handle, self._trouble = None, self._words(error)
                await asyncio.sleep(PAUSE_S)

    def _words(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout_s * 1e3:.0f} ms"
        return str(error) if isinstance(error, Transient) else type(error).__name__
