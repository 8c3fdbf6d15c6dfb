"""The momentum features, and signal models in a strategy's process."""

import math
import shutil
from pathlib import Path

import pytest

from sep_ray.adapters.onnx.session import IN_REPOSITORY
from sep_ray.adapters.onnx.signals import LocalSignals
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.strategy.signals import FEATURES, LOOK_BACKS, WARM_UP, fallback, features

RISING = [100.0 * math.exp(0.001 * number + 0.002 * (number % 3)) for number in range(400)]


def by_name(closes: list[float]) -> dict[str, float]:
    return dict(zip(FEATURES, features(closes), strict=True))


class TestFeatures:
    def test_a_rise_is_positive_and_its_mirror_negative(self) -> None:
        rise, fall = by_name(RISING), by_name([1e4 / close for close in RISING])
        for bars in LOOK_BACKS[1:]:
            assert rise[f"momentum_{bars}"] > 0
            assert fall[f"momentum_{bars}"] == pytest.approx(-rise[f"momentum_{bars}"])
        assert fall["sigma_horizon_bp"] == pytest.approx(rise["sigma_horizon_bp"])

    def test_the_scale_of_the_price_does_not_matter(self) -> None:
        assert features([1e-9 * close for close in RISING]) == pytest.approx(features(RISING))

    def test_only_the_last_closes_count(self) -> None:
        assert features(RISING) == features(RISING[-WARM_UP:])
        assert features([7.0, 900.0, *RISING]) == features(RISING)

    def test_nothing_after_the_last_close_is_seen(self) -> None:
        at_300 = features(RISING[:300])
        changed = RISING[:300] + [1.0] * 100
        assert features(changed[:300]) == at_300

    @pytest.mark.parametrize("closes", [[], [5.0], [5.0, 5.0], [5.0] * 400, [1e-9, 1e9]])
    def test_little_history_gives_finite_features(self, closes: list[float]) -> None:
        found = features(closes)
        assert len(found) == len(FEATURES)
        assert all(map(math.isfinite, found))
        for direction, size in fallback([found]):
            assert -1 <= direction <= 1
            assert 0 <= size < 10_000

    def test_the_range_position_is_one_at_the_top(self) -> None:
        assert by_name([*RISING, 1e6])["range_position"] == 1.0
        assert by_name([*RISING, 1.0])["range_position"] == -1.0

    def test_the_rule_goes_with_the_last_dozen_bars(self) -> None:
        rise, fall = fallback([features(RISING), features(RISING[::-1])])
        assert rise[0] > 0 > fall[0]


@pytest.mark.skipif(not IN_REPOSITORY.is_dir(), reason="no models/ folder here")
class TestLocalSignals:
    def test_the_platforms_momentum_answers_with_its_source(self) -> None:
        found = LocalSignals(None, budget_s=10.0).predict("momentum", features(RISING))
        assert found.source == "model"
        assert "by formula: direction" in found.reason
        assert found.value == pytest.approx(fallback([features(RISING)])[0][0])

    def test_without_its_file_the_formula_answers(self, tmp_path: Path) -> None:
        found = LocalSignals(tmp_path, budget_s=10.0).predict("momentum", features(RISING))
        assert found.source == "fallback"
        assert "missing" in found.reason
        assert list(found.values) == pytest.approx(fallback([features(RISING)])[0])

    def test_a_users_own_model_is_a_folder(self, tmp_path: Path) -> None:
        shutil.copytree(IN_REPOSITORY / "momentum", tmp_path / "my-model")
        signals = LocalSignals(tmp_path, budget_s=10.0)
        found = signals.predict("my-model", features(RISING))
        assert (found.source, found.reason, len(found.values)) == ("model", "my-model", 2)
        with pytest.raises(Rejected, match="wrong width"):
            signals.predict("my-model", [1.0])

    def test_an_unknown_model_is_transient(self, tmp_path: Path) -> None:
        with pytest.raises(Transient):
            LocalSignals(tmp_path, budget_s=10.0).predict("nothing", [1.0])

    @pytest.mark.parametrize("name", ["", "..", "../momentum", "a/b", "/etc", "x" * 65, "a b"])
    def test_a_name_is_not_a_path(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(Rejected, match="not the name of a model"):
            LocalSignals(tmp_path, budget_s=10.0).predict(name, [1.0])
