"""The models that are shipped: complete, small, the ones described, and right on golden rows."""

import hashlib
import json
from pathlib import Path

import pytest

from sep_ray.adapters.onnx.catalogue import SIGNALS, SPECS, guarded
from sep_ray.adapters.onnx.session import IN_REPOSITORY, OnnxModel

ALL = {**SPECS, **SIGNALS}
MAX_BYTES = 300 * 1024

pytestmark = pytest.mark.skipif(not IN_REPOSITORY.is_dir(), reason="no models/ folder here")


def golden(name: str) -> dict[str, list[list[float]]]:
    return json.loads((IN_REPOSITORY / name / "golden.json").read_text())


def test_every_model_folder_is_in_the_catalogue_and_the_other_way_round() -> None:
    folders = {file.parent.name for file in IN_REPOSITORY.glob("*/model.onnx")}
    assert folders == set(ALL)


@pytest.mark.parametrize("name", ALL)
class TestShippedModel:
    def test_the_folder_is_complete_and_small(self, name: str) -> None:
        folder = IN_REPOSITORY / name
        for file in ("card.md", "train.py", "model.json", "golden.json", "model.onnx"):
            assert (folder / file).stat().st_size > 0
        assert (folder / "model.onnx").stat().st_size < MAX_BYTES

    def test_it_loads_as_the_catalogue_expects(self, name: str) -> None:
        spec = ALL[name]
        about = OnnxModel.load(IN_REPOSITORY / name, spec.features).about
        assert about.name == name
        assert about.outputs == tuple(bounds.name for bounds in spec.outputs)
        described = json.loads((IN_REPOSITORY / name / "model.json").read_text())
        hashed = hashlib.sha256(",".join(spec.features).encode()).hexdigest()
        assert described["features_sha256"] == hashed

    def test_golden_rows_give_golden_scores(self, name: str) -> None:
        expected = golden(name)
        scores = OnnxModel.load(IN_REPOSITORY / name).score(expected["rows"])
        assert len(scores) == len(expected["scores"]) == 64
        for got, wanted in zip(scores, expected["scores"], strict=True):
            assert got == pytest.approx(wanted, rel=1e-5, abs=1e-5)

    def test_one_row_scores_like_a_batch(self, name: str) -> None:
        model, rows = OnnxModel.load(IN_REPOSITORY / name), golden(name)["rows"]
        singly = [model.score([row])[0] for row in rows]
        for one, batched in zip(singly, model.score(rows), strict=True):
            assert one == pytest.approx(batched, rel=1e-6)

    def test_golden_answers_and_the_formulas_lie_in_the_bounds(self, name: str) -> None:
        spec, rows = ALL[name], golden(name)["rows"]
        model = guarded(spec, IN_REPOSITORY, budget_s=10.0)
        for answer in (model.score_now(rows), model.fall_back(rows, "asked")):
            assert len(answer.rows) == len(rows)
            for row in answer.rows:
                for value, bounds in zip(row, spec.outputs, strict=True):
                    assert bounds.floor <= value <= bounds.ceiling

    def test_a_model_that_decides_nothing_leaves_the_formula_in_charge(self, name: str) -> None:
        spec, rows = ALL[name], golden(name)["rows"]
        model = guarded(spec, IN_REPOSITORY, budget_s=10.0)
        assert model.model is not None
        decides = model.model.about.decides
        answer, formula = model.score_now(rows), model.fall_back(rows, "asked")
        assert answer.source == ("model" if decides else "fallback")
        for place, bounds in enumerate(spec.outputs):
            if bounds.name not in decides:
                column = [row[place] for row in answer.rows]
                assert column == [row[place] for row in formula.rows]
                assert bounds.name in answer.reason or "shadow" in answer.reason

    def test_the_card_says_what_the_description_says(self, name: str) -> None:
        card = (IN_REPOSITORY / name / "card.md").read_text()
        described = json.loads((IN_REPOSITORY / name / "model.json").read_text())
        assert described["decides"] == any(o["decides"] for o in described["outputs"])
        assert ("shadow" in card) >= (not all(o["decides"] for o in described["outputs"]))
        for word in ("- Kind", "- Input", "- Fallback", "## Limits", "95 % interval"):
            assert word in card


def test_the_repository_and_the_wheel_are_told_apart(tmp_path: Path) -> None:
    from sep_ray.adapters.onnx.session import PACKAGED, find_models

    assert find_models(tmp_path) == tmp_path
    assert find_models(None) == (PACKAGED if PACKAGED.is_dir() else IN_REPOSITORY)
