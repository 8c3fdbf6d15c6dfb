"""The formula behind the cost model, and the model's view of a path."""

from __future__ import annotations

import pytest

from sep_ray.routing.cost import (
    FEATURES,
    MAX_RATIO_PPM,
    CostEstimate,
    CostRow,
    as_floats,
    default_volatility_ppm,
    estimate,
    floored,
    ratio_ppm,
)

ROW = CostRow(
    hops=1,
    v2_hops=0,
    v3_hops=1,
    ticks_crossed=0,
    exact_out=0,
    fee_ppm=500,
    impact_ppm=10,
    size_over_depth_ppm=100,
    gas_price_over_ewma_ppm=1_000_000,
    gas_price_over_base_ppm=1_000_000,
    volatility_ppm=400,
    delay_blocks=1,
    block_time_ms=12_000,
)


@pytest.mark.parametrize(
    ("v2_hops", "v3_hops", "ticks", "gas"),
    [
        (0, 1, 0, 122_000),
        (0, 1, 2, 202_000),
        (0, 2, 0, 184_000),
        (1, 0, 0, 107_000),
        (2, 0, 0, 154_000),
        (1, 1, 1, 209_000),
    ],
)
def test_gas_by_shape(v2_hops, v3_hops, ticks, gas):
    row = ROW._replace(
        hops=v2_hops + v3_hops, v2_hops=v2_hops, v3_hops=v3_hops, ticks_crossed=ticks
    )
    assert estimate(row).gas == gas


def test_drift_grows_with_the_root_of_the_delay():
    """z90 of a normal: 1.28 * 400 ppm after one block, ten times that after a hundred."""
    assert estimate(ROW._replace(delay_blocks=0)).slippage_ppm == 0
    assert estimate(ROW).slippage_ppm == 513
    assert estimate(ROW._replace(delay_blocks=100)).slippage_ppm == 5_127


@pytest.mark.parametrize(
    ("price_over_base", "blocks"),
    [
        (2_000_000, 1),
        (1_000_000, 1),
        (999_999, 2),
        (875_000, 2),
        (765_625, 3),
        (0, 94),
    ],
)
def test_a_gas_price_below_the_base_fee_waits_for_it_to_fall(price_over_base, blocks):
    row = ROW._replace(gas_price_over_base_ppm=price_over_base)
    assert estimate(row).inclusion_blocks == blocks


def test_waiting_for_inclusion_is_drift_too():
    waiting = ROW._replace(gas_price_over_base_ppm=765_625)
    assert estimate(waiting).slippage_ppm == estimate(ROW._replace(delay_blocks=3)).slippage_ppm


def test_a_dear_model_is_believed_and_a_free_one_is_not():
    formula = estimate(ROW)
    dear = CostEstimate(gas=10**6, slippage_ppm=10**5, inclusion_blocks=9)
    assert floored(estimate(ROW), dear) == dear
    free = CostEstimate(gas=0, slippage_ppm=0, inclusion_blocks=0)
    half = CostEstimate(
        gas=formula.gas // 2, slippage_ppm=formula.slippage_ppm // 2, inclusion_blocks=1
    )
    assert floored(estimate(ROW), free) == half


def test_features_are_the_row_in_order():
    assert FEATURES[:3] == ("hops", "v2_hops", "v3_hops")
    assert as_floats(ROW) == [float(getattr(ROW, name)) for name in FEATURES]
    assert len(set(FEATURES)) == len(FEATURES) == 13


def test_ratios_are_cut():
    assert ratio_ppm(1, 2) == 500_000
    assert ratio_ppm(10**30, 1) == MAX_RATIO_PPM
    assert ratio_ppm(1, 0) == MAX_RATIO_PPM
    assert ratio_ppm(0, 0) == 0


def test_volatility_scales_with_the_root_of_time():
    assert default_volatility_ppm(12_000) == 400
    assert default_volatility_ppm(3_000) == 200
