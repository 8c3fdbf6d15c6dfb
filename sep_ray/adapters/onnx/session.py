"""One ONNX model in this process: loaded once, checked at the door and on the way out.

The runtime is loaded with the first model: most processes only ask others for scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sep_ray.kernel.errors import InvariantBroken, Transient

if TYPE_CHECKING:
    import onnxruntime

PACKAGED: Final = Path(__file__).resolve().parents[2] / "_models"
IN_REPOSITORY: Final = Path(__file__).resolve().parents[3] / "models"

_MAX_FLOAT32: Final = float(np.finfo(np.float32).max)


class ModelUnavailable(Transient):
    """There is no usable model in the folder: absent, damaged, or of another shape."""


class WrongRows(InvariantBroken):
    """The rows given to a model are not what it was trained on."""


class WrongScores(InvariantBroken):
    """A model's answer has the wrong shape or holds values that are no numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What `model.json` says: `decides` names the outputs that beat their formula when tested."""

    name: str
    version: str
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    decides: frozenset[str]
    input: str
    output: str
    sha256: str

    @classmethod
    def read(cls, folder: Path) -> About:
        """Read `folder`/model.json. Raises ModelUnavailable when absent or malformed."""
        try:
            facts: dict[str, Any] = json.loads((folder / "model.json").read_text())
            outputs = [(entry["name"], entry["decides"] is True) for entry in facts["outputs"]]
            return cls(
                name=str(facts["name"]),
                version=str(facts["version"]),
                features=tuple(facts["features"]),
                outputs=tuple(name for name, _ in outputs),
                decides=frozenset(name for name, decides in outputs if decides),
                input=str(facts["input"]),
                output=str(facts["output"]),
                sha256=str(facts["sha256"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnavailable("model.json is missing or malformed", why=repr(error)) from error


class OnnxModel:
    """A session on one thread: 10 to 20 microseconds for a row."""

    def __init__(self, session: onnxruntime.InferenceSession, about: About) -> None:
        self._session = session
        self.about = about
        self._width = len(about.features)
        self._outputs = [about.output]

    @classmethod
    def load(cls, folder: Path, features: Sequence[str] | None = None) -> OnnxModel:
        """Load `folder`/model.onnx as `folder`/model.json describes it.

        Raises ModelUnavailable when a file is missing, its hash or shape is not the one
        described, or the model was trained on other features than `features`.
        """
        about = About.read(folder)
        if features is not None and tuple(features) != about.features:
            raise ModelUnavailable("trained on other features", model=about.name)
        try:
            raw = (folder / "model.onnx").read_bytes()
        except OSError as error:
            raise ModelUnavailable("model.onnx cannot be read", why=repr(error)) from error
        if hashlib.sha256(raw).hexdigest() != about.sha256:
            raise ModelUnavailable("model.onnx is not the file described", model=about.name)
        return cls(_session(raw, about), about)

    def score(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return one list of outputs (in the order of `about.outputs`) per row of features.

        Raises WrongRows for a wrong width or a value that is no finite float32, WrongScores when
        the model's answer is not rows x outputs of finite numbers.
        """
        if not rows:
            return []
        batch = self._batch(rows)
        try:
            answer = self._session.run(self._outputs, {self.about.input: batch})[0]
        except _runtime_errors() as error:
            raise WrongScores("the model failed", model=self.about.name, why=str(error)) from error
        if answer.shape != (len(rows), len(self.about.outputs)):
            raise WrongScores("wrong shape", model=self.about.name, shape=str(answer.shape))
        if not np.isfinite(answer).all():
            raise WrongScores("a score is no finite number", model=self.about.name)
        scores: list[list[float]] = answer.tolist()
        return scores

    def _batch(self, rows: Sequence[Sequence[float]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        try:
            batch = np.asarray(rows, dtype=np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise WrongRows("rows are not a table of numbers", why=str(error)) from error
        if batch.ndim != 2 or batch.shape[1] != self._width:
            raise WrongRows("wrong width", shape=str(batch.shape), expected=self._width)
        if not np.abs(batch).max() <= _MAX_FLOAT32:  # false for one that is no number, too
            raise WrongRows("a feature is no finite number")
        return batch.astype(np.float32)


def find_models(chosen: Path | None) -> Path:
    """Return the folder of models: the chosen one, else the wheel's, else the repository's."""
    if chosen is not None:
        return chosen
    return PACKAGED if PACKAGED.is_dir() else IN_REPOSITORY


@cache
def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return the runtime's own exceptions, which have no common base."""
    import onnxruntime

    known = vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    return tuple(kind for kind in known if isinstance(kind, type) and issubclass(kind, Exception))


def _session(raw: bytes, about: About) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except _runtime_errors() as error:
        raise ModelUnavailable("not a usable ONNX model", why=str(error)[:200]) from error
    inputs = {entry.name: entry.shape for entry in session.get_inputs()}
    outputs = {entry.name: entry.shape for entry in session.get_outputs()}
    if list(inputs) != [about.input] or inputs[about.input][-1] != len(about.features):
        raise ModelUnavailable("the model reads other rows than described", shape=str(inputs))
    if outputs.get(about.output, [None])[-1] != len(about.outputs):
        raise ModelUnavailable("the model answers otherwise than described", shape=str(outputs))
    return session
