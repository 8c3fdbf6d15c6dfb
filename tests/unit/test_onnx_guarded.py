"""A model that is missing, damaged, slow or wrong gives way to its formula, which says so."""

import asyncio
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sep_ray.adapters.onnx.catalogue import COST, MOMENTUM, PRIORITIZER, SIGNALS, SPECS, guarded
from sep_ray.adapters.onnx.guarded import REST_AFTER_SLOW, Guarded, Spec
from sep_ray.adapters.onnx.session import (
    IN_REPOSITORY,
    About,
    ModelUnavailable,
    OnnxModel,
    WrongRows,
    WrongScores,
)
from sep_ray.kernel.errors import InvariantBroken, Transient

ALL = {**SPECS, **SIGNALS}
ROW = [10.0, 0.5, 50.0, 1.0, 1.0, 1.0, 0.8, -5.0, 7.0]

pytestmark = pytest.mark.skipif(not IN_REPOSITORY.is_dir(), reason="no models/ folder here")


class FakeModel:
    """Answers what it was told to, or raises it."""

    def __init__(self, answer: list[list[float]] | Exception, decides: Sequence[str]) -> None:
        outputs = ("loss_bp",)
        self.about = About(
            name="fake",
            version="9",
            features=PRIORITIZER.features,
            outputs=outputs,
            decides=frozenset(decides),
            input="rows",
            output="scores",
            sha256="",
        )
        self.answer = answer
        self.calls = 0

    def score(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def ticking(*instants: float) -> Callable[[], float]:
    times: Iterator[float] = iter(instants)
    return lambda: next(times, instants[-1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the prioritizer that a test may damage."""
    shutil.copytree(IN_REPOSITORY / "prioritizer", tmp_path / "prioritizer")
    return tmp_path


def edit(folder: Path, **facts: object) -> None:
    path = folder / "prioritizer" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def answers_by_formula(models: Path, spec: Spec = PRIORITIZER) -> str:
    scored = guarded(spec, models, budget_s=10.0).score_now([ROW])
    assert scored.source == "fallback"
    assert scored.rows == [[7.0]]
    return scored.reason


def test_the_shipped_model_decides() -> None:
    scored = guarded(PRIORITIZER, IN_REPOSITORY, budget_s=10.0).score_now([ROW])
    assert scored.source == "model"
    assert scored.reason == "prioritizer 1.0.0"


class TestUnusableFiles:
    def test_a_missing_folder(self, tmp_path: Path) -> None:
        assert "model.json is missing" in answers_by_formula(tmp_path)

    def test_a_missing_model_file(self, folder: Path) -> None:
        (folder / "prioritizer" / "model.onnx").unlink()
        assert "model.onnx cannot be read" in answers_by_formula(folder)

    def test_a_damaged_model_file(self, folder: Path) -> None:
        path = folder / "prioritizer" / "model.onnx"
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        path.write_bytes(raw)
        assert "not the file described" in answers_by_formula(folder)

    def test_a_file_that_is_no_model(self, folder: Path) -> None:
        import hashlib

        raw = b"this is no model"
        (folder / "prioritizer" / "model.onnx").write_bytes(raw)
        edit(folder, sha256=hashlib.sha256(raw).hexdigest())
        assert "not a usable ONNX model" in answers_by_formula(folder)

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"outputs": 5}', '{"name": "x", "outputs": [{"name": "y"}]}']
    )
    def test_a_malformed_description(self, folder: Path, text: str) -> None:
        (folder / "prioritizer" / "model.json").write_text(text)
        assert "missing or malformed" in answers_by_formula(folder)

    def test_other_features(self, folder: Path) -> None:
        edit(folder, features=["something", "else"])
        assert "trained on other features" in answers_by_formula(folder)

    def test_other_outputs(self, folder: Path) -> None:
        edit(folder, outputs=[{"name": "gain", "decides": True}])
        assert "answers other questions" in answers_by_formula(folder)

    def test_a_width_that_the_file_does_not_have(self, folder: Path) -> None:
        edit(folder, features=["one", "two"])
        with pytest.raises(ModelUnavailable, match="other rows"):
            OnnxModel.load(folder / "prioritizer")

    def test_more_outputs_than_the_file_has(self, folder: Path) -> None:
        two = [{"name": "loss_bp", "decides": True}, {"name": "more", "decides": True}]
        edit(folder, outputs=two)
        with pytest.raises(ModelUnavailable, match="answers otherwise"):
            OnnxModel.load(folder / "prioritizer")


class TestWrongRows:
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e39])
    def test_values_that_are_no_numbers(self, bad: float) -> None:
        model = OnnxModel.load(IN_REPOSITORY / "prioritizer")
        with pytest.raises(WrongRows, match="no finite number"):
            model.score([ROW, [bad, *ROW[1:]]])
        scored = guarded(PRIORITIZER, IN_REPOSITORY, budget_s=10.0).score_now([[bad, *ROW[1:]]])
        assert (scored.source, scored.rows) == ("fallback", [[7.0]])
        assert "no finite number" in scored.reason

    @pytest.mark.parametrize("rows", [[ROW[:-1]], [[*ROW, 1.0]], [[]], [ROW, ROW[:-1]]])
    def test_a_wrong_width(self, rows: list[list[float]]) -> None:
        with pytest.raises(WrongRows):
            OnnxModel.load(IN_REPOSITORY / "prioritizer").score(rows)
        scored = guarded(PRIORITIZER, IN_REPOSITORY, budget_s=10.0).score_now(rows)
        assert scored.source == "fallback"
        assert len(scored.rows) == len(rows)

    @pytest.mark.parametrize("name", ALL)
    def test_formulas_survive_any_rubbish(self, name: str) -> None:
        spec = ALL[name]
        model = guarded(spec, IN_REPOSITORY, budget_s=10.0)
        width = len(spec.features)
        for value in (math.nan, math.inf, -math.inf, -1e300, 1e300, -5.0, 0.0, 1e-300):
            scored = model.fall_back([[value] * width], "asked")
            for got, bounds in zip(scored.rows[0], spec.outputs, strict=True):
                assert bounds.floor <= got <= bounds.ceiling

    def test_no_rows_give_no_scores(self) -> None:
        assert guarded(PRIORITIZER, IN_REPOSITORY, budget_s=10.0).score_now([]).rows == []


class TestJudgement:
    def test_an_answer_out_of_bounds_is_clipped(self) -> None:
        fake = FakeModel([[5e9]], ["loss_bp"])
        assert Guarded(PRIORITIZER, fake, budget_s=1.0).score_now([ROW]).rows == [[1000.0]]

    def test_a_failing_model_is_named_in_the_reason(self) -> None:
        fake = FakeModel(WrongScores("wrong shape", model="fake", shape="(1, 7)"), ["loss_bp"])
        scored = Guarded(PRIORITIZER, fake, budget_s=1.0).score_now([ROW])
        assert scored.source == "fallback"
        assert scored.reason == "wrong shape (model=fake, shape=(1, 7))"

    def test_a_slow_answer_is_dropped_and_the_model_rests(self) -> None:
        fake = FakeModel([[3.0]], ["loss_bp"])
        model = Guarded(PRIORITIZER, fake, budget_s=0.25, timer=ticking(0.0, 1.0, 1.0, 1.1))
        assert "slow: 1000 ms of 250 ms" in model.score_now([ROW]).reason
        for _ in range(REST_AFTER_SLOW):
            scored = model.score_now([ROW])
            assert (scored.source, scored.reason) == ("fallback", "resting after a slow answer")
        assert fake.calls == 1
        assert model.score_now([ROW]).source == "model"

    def test_in_shadow_the_formula_decides_and_the_difference_is_counted(self) -> None:
        model = Guarded(PRIORITIZER, FakeModel([[3.0], [9.0]], []), budget_s=1.0)
        scored = model.score_now([ROW, ROW])
        assert (scored.source, scored.rows) == ("fallback", [[7.0], [7.0]])
        assert scored.reason == "fake 9 in shadow"
        assert (model.shadow.rows, model.shadow.difference) == (2, 6.0)

    def test_outputs_that_do_not_decide_are_the_formulas(self) -> None:
        model = guarded(MOMENTUM, IN_REPOSITORY, budget_s=10.0)
        row = [1.0] * len(MOMENTUM.features)
        scored = model.score_now([row])
        formula = model.fall_back([row], "asked").rows[0]
        assert scored.source == "model"
        assert "by formula: direction" in scored.reason
        assert scored.rows[0][0] == formula[0]
        assert scored.rows[0][1] != formula[1]

    def test_the_engines_port_gets_the_same_answer(self) -> None:
        model = guarded(COST, IN_REPOSITORY, budget_s=10.0)
        row = [1.0, 0, 1, 2, 0, 3000, 10, 100, 1e6, 2e6, 400, 5, 12_000]
        assert asyncio.run(model.score([row])) == model.score_now([row])


def test_the_errors_belong_to_their_families() -> None:
    assert issubclass(ModelUnavailable, Transient)
    assert issubclass(WrongRows, InvariantBroken)
    assert issubclass(WrongScores, InvariantBroken)
