"""Schedules in closed form, and the choice of how many slices."""

import math
from itertools import pairwise

import pytest

from sep_ray.adapters.onnx.catalogue import SLICE, guarded
from sep_ray.adapters.onnx.session import IN_REPOSITORY
from sep_ray.decomposition.almgren_chriss import Programme, kappa, optimal, outcome
from sep_ray.decomposition.slicing import (
    ACTIONS,
    FEATURES,
    SliceRow,
    action_costs,
    as_floats,
    explain,
    fallback,
    impact_bp,
    recommend,
)
from sep_ray.kernel.errors import InvariantBroken
from tests.fixtures.vectors import vectors

PROGRAMME = Programme(
    size=1e6, horizon=5, slices=5, sigma=0.95, epsilon=0.0625, gamma=2.5e-7, eta=2.5e-6
)
ROW = SliceRow(impact_bp=60.0, fee_bp=5.0, sigma_window_bp=30.0, gas_bp=2.0)


class TestAlmgrenChriss:
    def test_the_published_rows(self) -> None:
        given = vectors("almgren_chriss_part.json")
        names = {"size": "X", "horizon": "T", "slices": "N", "sigma": "sigma"}
        facts = {ours: given["params"][theirs] for ours, theirs in names.items()}
        facts |= {name: given["params"][name] for name in ("epsilon", "gamma", "eta")}
        programme = Programme(**facts)
        for row in given["published"]:
            aversion = row["lambda_per_usd"]
            best = optimal(programme, aversion)
            objective = best.expected + aversion * best.variance
            found = (best.expected / 1e6, best.variance / 1e12, objective / 1e6, best.half_life)
            assert found == pytest.approx(row["recomputed"], rel=1e-12)
            assert round(found[0], 4) == row["published"]["E_musd"]
            assert round(found[1], 4) == row["published"]["V_tusd2"]
            assert round(found[2], 4) == row["published"]["objective_musd"]
        for row in given["closed_form"]:
            best = optimal(programme, row["lam"])
            assert best.holdings == pytest.approx(row["holdings"], rel=1e-12)
            assert best.trades == pytest.approx(row["trades"], rel=1e-12)
            assert (best.expected, best.variance) == pytest.approx((row["E"], row["V"]), rel=1e-12)

    def test_without_risk_aversion_it_is_a_straight_line(self) -> None:
        best = optimal(PROGRAMME, 0.0)
        assert best.trades == pytest.approx([2e5] * 5)
        assert best.half_life == math.inf

    @pytest.mark.parametrize("aversion", [1e-7, 1e-6, 1e-5])
    def test_no_neighbouring_schedule_is_better(self, aversion: float) -> None:
        best = optimal(PROGRAMME, aversion)
        objective = best.expected + aversion * best.variance
        for place in range(1, 5):
            for shift in (-1e3, 1e3):
                held = list(best.holdings)
                held[place] += shift
                other = outcome(PROGRAMME, tuple(held))
                assert other.expected + aversion * other.variance > objective

    @pytest.mark.parametrize("aversion", [1e-3, 1e2, 1e9])
    def test_extreme_aversion_sells_at_once_and_does_not_overflow(self, aversion: float) -> None:
        best = optimal(PROGRAMME, aversion)
        assert best.holdings[0] == pytest.approx(1e6)
        assert best.holdings[-1] == 0
        assert all(before >= after for before, after in pairwise(best.holdings))
        assert sum(best.trades) == pytest.approx(1e6)

    def test_more_aversion_is_more_haste(self) -> None:
        rates = [kappa(PROGRAMME, aversion) for aversion in (0.0, 1e-7, 1e-6, 1e-5)]
        assert rates == sorted(rates)
        assert rates[0] == 0.0

    def test_a_programme_without_temporary_impact_is_refused(self) -> None:
        with pytest.raises(InvariantBroken):
            Programme(size=1, horizon=5, slices=1, sigma=1, epsilon=0, gamma=1, eta=2)


class TestImpact:
    @pytest.mark.parametrize("slices", ACTIONS)
    def test_it_lies_between_full_recovery_and_none(self, slices: int) -> None:
        for fee in (1.0, 30.0, 1e3):
            for sigma in (0.0, 10.0, 1e4):
                assert 40 / slices - 1e-9 <= impact_bp(40.0, fee, sigma, slices) <= 40 + 1e-9

    def test_within_the_fee_and_in_a_still_market_nothing_recovers(self) -> None:
        assert impact_bp(10.0, 1e6, 0.0, 8) == pytest.approx(10.0)

    def test_a_free_pool_or_a_wild_market_recovers_in_full(self) -> None:
        assert impact_bp(40.0, 1e-6, 0.0, 8) == pytest.approx(5.0, abs=1e-4)
        assert impact_bp(40.0, 30.0, 1e5, 8) == pytest.approx(5.0)


class TestChoice:
    def formula(self, row: SliceRow) -> list[float]:
        return fallback([as_floats(row)])[0]

    def chosen(self, **changes: float) -> int:
        facts = {name: getattr(ROW, name) for name in SliceRow.__slots__} | changes
        row = SliceRow(**facts)
        return recommend(row, self.formula(row)).slices

    def test_the_floats_are_the_features_in_their_order(self) -> None:
        floats = dict(zip(FEATURES, as_floats(ROW), strict=True))
        assert floats["impact_bp"] == 60.0
        assert floats["impact_over_fee"] == 12.0
        assert floats["sigma_over_fee"] == 6.0
        assert list(floats.values())[-4:] == self.formula(ROW)

    def test_a_large_order_is_sliced_and_a_small_one_is_not(self) -> None:
        assert self.chosen() > 1
        assert self.chosen(impact_bp=1.0) == 1

    def test_dear_gas_means_fewer_slices(self) -> None:
        counts = [self.chosen(gas_bp=gas) for gas in (0.01, 0.5, 5.0, 100.0)]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == 1

    def test_urgency_means_fewer_slices(self) -> None:
        counts = [
            self.chosen(urgency=urgency, impact_bp=30.0, sigma_window_bp=300.0, gas_bp=0.1)
            for urgency in (0.0, 0.3, 1.0)
        ]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] > counts[-1]

    def test_no_more_than_is_allowed(self) -> None:
        impacts = self.formula(ROW)
        assert recommend(ROW, impacts, most=3).slices <= 3
        assert recommend(ROW, impacts, most=0).slices == 1

    def test_impacts_that_cannot_be_are_bent_back(self) -> None:
        costs = action_costs(ROW, [-5.0, 1e9, 0.0, 60.0])
        assert [cost.impact_bp for cost in costs] == [60.0, 30.0, 60.0, 7.5, 60.0]
        with pytest.raises(InvariantBroken):
            action_costs(ROW, [math.nan, 1.0, 1.0, 1.0])
        with pytest.raises(InvariantBroken):
            action_costs(ROW, [1.0])

    def test_the_reason_gives_the_parts(self) -> None:
        chosen = recommend(ROW, self.formula(ROW))
        assert explain(ROW, chosen).startswith(f"{chosen.slices} slices: impact ")

    @pytest.mark.skipif(not IN_REPOSITORY.is_dir(), reason="no models/ folder here")
    def test_model_and_formula_pass_the_same_bounds(self) -> None:
        model = guarded(SLICE, IN_REPOSITORY, budget_s=10.0)
        assert model.model is not None
        rows = [
            SliceRow(impact_bp=impact, fee_bp=fee, sigma_window_bp=sigma, gas_bp=1.0)
            for impact in (0.0, 3.0, 70.0, 4_000.0)
            for fee in (0.0, 5.0, 100.0)
            for sigma in (0.0, 40.0, 2_000.0)
        ]
        floats = [as_floats(row) for row in rows]
        for scores in (model.model.score(floats), model.fall_back(floats, "asked").rows):
            for row, impacts in zip(rows, scores, strict=True):
                for cost in action_costs(row, impacts):
                    assert row.impact_bp / cost.slices <= cost.impact_bp + 1e-9
                    assert cost.impact_bp <= row.impact_bp
