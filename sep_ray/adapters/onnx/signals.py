"""Signal models in a strategy's own process: the platform's and the user's, by folder name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sep_ray.adapters.onnx.catalogue import SIGNALS, guarded
from sep_ray.adapters.onnx.guarded import MODEL, Guarded
from sep_ray.adapters.onnx.session import OnnxModel, WrongRows, WrongScores, find_models
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.strategy.desk import Prediction

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class LocalSignals:
    """Implements the strategies' SignalModels port over a folder of models.

    A model is loaded when it is first asked for and kept. `models` is the folder, None for the
    platform's own.
    """

    def __init__(self, models: Path | None, budget_s: float) -> None:
        self._folder = find_models(models)
        self._models = models
        self._budget_s = budget_s
        self._guarded: dict[str, Guarded] = {}
        self._own: dict[str, OnnxModel] = {}

    def predict(self, name: str, features: Sequence[float]) -> Prediction:
        """Return the outputs for one row of features.

        A model of the catalogue always answers, by its formula if need be. Raises Rejected for a
        name or a row that cannot be right, Transient when a user's model is absent or fails.
        """
        if not _NAME.fullmatch(name):
            raise Rejected("not the name of a model", name=name[:100])
        if name in SIGNALS:
            return self._by_catalogue(name, features)
        try:
            if name not in self._own:
                self._own[name] = OnnxModel.load(self._folder / name)
            values = self._own[name].score([features])[0]
        except WrongRows as error:
            raise Rejected(error.message, model=name, **error.facts) from error
        except WrongScores as error:
            raise Transient(error.message, **{"model": name, **error.facts}) from error
        return Prediction(values=tuple(values), source=MODEL, reason=name)

    def _by_catalogue(self, name: str, features: Sequence[float]) -> Prediction:
        if name not in self._guarded:
            self._guarded[name] = guarded(SIGNALS[name], self._models, self._budget_s)
        scored = self._guarded[name].score_now([features])
        return Prediction(values=tuple(scored.rows[0]), source=scored.source, reason=scored.reason)
