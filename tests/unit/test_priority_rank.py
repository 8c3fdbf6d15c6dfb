"""The queue: what an intent loses by waiting, and the words that say why."""

import math
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.priority.features import (
    FEATURES,
    PriorityRow,
    as_floats,
    expected_wait_s,
    waiting_loss_bp,
)
from sep_ray.priority.rank import MAX_SCORE_BP, bounded, explain, fallback, order
from sep_ray.priority.volatility import UNKNOWN, Volatility, volatilities, volatility

ROW = PriorityRow(
    id=UUID(int=1),
    type="DISPOSE",
    deadline=Millis(600_000),
    notional=10_000.0,
    portfolio=1_000_000.0,
    left_s=600.0,
    window_s=900.0,
    wait_s=12.0,
    max_slippage_bp=50.0,
    gas_cost=2.0,
)


def score(row: PriorityRow) -> float:
    return fallback([as_floats(row)])[0][0]


def named(number: int, **changes: Any) -> PriorityRow:
    return replace(ROW, id=UUID(int=number), **changes)


def test_the_floats_are_the_features_in_their_order() -> None:
    floats = dict(zip(FEATURES, as_floats(ROW), strict=True))
    assert floats["sigma_wait_bp"] == pytest.approx(60.0 * math.sqrt(12 / 3_600))
    assert floats["wait_over_left"] == pytest.approx(0.02)
    assert floats["gas_bp"] == pytest.approx(2.0)
    assert floats["max_slippage_bp"] == 50.0
    assert floats["formula_bp"] == score(ROW)


def test_the_formula_is_the_mean_adverse_move_far_from_the_deadline() -> None:
    # E max(0, sigma sqrt(T) Z) for an exponential T of mean 1 is sigma / sqrt(8)
    assert waiting_loss_bp(10.0, 0.0, 1_000.0) == pytest.approx(10 / math.sqrt(8))
    assert waiting_loss_bp(10.0, 4.0, 100.0) == pytest.approx(78.6, abs=0.1)


def test_the_nearer_deadline_goes_first_all_else_equal() -> None:
    rows = [named(1), named(2, left_s=30.0, deadline=Millis(30_000)), named(3, left_s=200.0)]
    assert [r.id.int for r in order(rows, [score(row) for row in rows])] == [2, 3, 1]


def test_money_at_stake_outweighs_a_small_intents_deadline() -> None:
    rows = [named(1, notional=500_000.0), named(2, notional=10.0, left_s=13.0)]
    assert order(rows, [score(row) for row in rows])[0].id.int == 1


def test_ties_go_to_the_nearer_deadline_then_to_the_lower_id() -> None:
    rows = [named(3), named(2), named(4, deadline=Millis(5))]
    ranked = order(rows, [1.0, 1.0, 1.0])
    assert [r.id.int for r in ranked] == [4, 2, 3]
    assert [r.place for r in ranked] == [0, 1, 2]


def test_unknown_money_counts_as_nothing_and_still_has_an_order() -> None:
    rows = [named(1, notional=0.0, portfolio=0.0), named(2), named(3, notional=0.0, left_s=1.0)]
    ranked = order(rows, [score(row) for row in rows])
    assert ranked[0].id.int == 2
    assert {r.stake for r in ranked[1:]} == {0.0}


def test_urgency_weighs_the_stake() -> None:
    rows = [named(1, urgency=0.0), named(2, urgency=1.0), named(3)]
    ranked = order(rows, [4.0, 4.0, 4.0])
    assert [(r.id.int, r.stake) for r in ranked] == [(2, 600.0), (3, 400.0), (1, 200.0)]


def test_the_reason_names_score_share_deadline_and_what_is_unusual() -> None:
    row = replace(ROW, left_s=10.0, gas_ratio=1.4, volatility=Volatility(sigma_bp=90, ratio=2.0))
    assert explain(row, 12.34) == (
        "score 12.3 bp on 1.00 % of the portfolio: deadline in 10 s (last chance), price moves "
        "5.2 bp in a wait of 12 s, gas 1.4x its average, volatility 2.0x its average"
    )
    assert "deadline passed" in explain(replace(ROW, left_s=-3.0), 1.0)


def test_scores_are_clipped_and_must_be_numbers() -> None:
    assert order([ROW], [1e9])[0].score_bp == MAX_SCORE_BP
    assert order([ROW], [-4.0])[0].score_bp == 0.0
    for bad in (math.nan, math.inf):
        with pytest.raises(InvariantBroken):
            bounded(bad)
    with pytest.raises(InvariantBroken, match="as many scores"):
        order([ROW], [])


def test_the_wait_is_half_the_queue() -> None:
    assert expected_wait_s(1, 12.0) == 12.0
    assert expected_wait_s(10, 12.0) == 60.0


class TestVolatility:
    def test_nothing_is_known_of_a_single_price(self) -> None:
        assert volatility([], 1.0) == volatility([3.0], 1.0) == UNKNOWN
        assert volatilities([3.0], 1.0) == [UNKNOWN]

    def test_a_constant_swing_is_found_whatever_the_interval(self) -> None:
        prices = [100.0 * math.exp(0.001 * (number % 2)) for number in range(200)]
        assert volatility(prices, 3_600.0).sigma_bp == pytest.approx(10.0)
        assert volatility(prices, 900.0).sigma_bp == pytest.approx(20.0)
        assert volatility(prices, 900.0).ratio == pytest.approx(1.0)

    def test_a_burst_shows_in_ratio_and_jump(self) -> None:
        calm = [100.0 * math.exp(0.0001 * (number % 2)) for number in range(500)]
        found = volatility([*calm, calm[-1] * 1.01], 300.0)
        assert found.ratio > 2
        assert found.jump > 50

    def test_a_price_that_never_moves_has_no_volatility(self) -> None:
        still = volatility([5.0] * 50, 12.0)
        assert (still.sigma_bp, still.ratio, still.jump) == (0.0, 1.0, 0.8)

    def test_the_last_of_all_forecasts_is_the_forecast(self) -> None:
        prices = [100.0 + (7 * number) % 13 for number in range(60)]
        assert volatilities(prices, 60.0)[-1] == volatility(prices, 60.0)
        assert volatilities(prices[:20], 60.0) == volatilities(prices, 60.0)[:20]
