"""RebalanceStrategy asks for a rebalance when, and only when, the band is left and it is time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.intent.intent import IntentType
from sep_ray.kernel.units import PPM, Ppm
from sep_ray.portfolio.ledger import Bucket
from sep_ray.strategy.desk import Portfolio
from sep_ray.strategy.rebalance import RebalanceStrategy, widest_gap
from sep_ray.strategy.runner import BadParams, Runner, Saved, build_runner
from tests.fixtures.strategies import BLOCK_MS, DOLLAR, ETHER, USDC, WETH, market_at, new_desk


def runner(weth: int, usdc: int, **params: Any) -> Runner:
    desk = new_desk()
    desk.portfolio = Portfolio({(WETH, Bucket.AVAILABLE): weth, (USDC, Bucket.AVAILABLE): usdc})
    return build_runner(RebalanceStrategy, json.dumps(params), desk, Saved(), 1)


def test_it_acts_when_the_band_is_left() -> None:
    drifted = runner(ETHER, 1_000 * DOLLAR)
    drifted.block(market_at([2_000]), muted=False)
    (intent,) = drifted.desk.outbox
    assert intent.type is IntentType.REBALANCE
    assert {target.asset: target.weight for target in intent.targets} == {
        WETH: PPM // 2,
        USDC: PPM // 2,
    }
    assert intent.tolerance == 20_000
    assert intent.note == "a share is 16.67 % from its weight"


def test_it_rests_within_the_band_below_the_least_value_and_without_a_price() -> None:
    for weth, usdc, dollars in [
        (ETHER, 2_010 * DOLLAR, 2_000),
        (ETHER // 1_000, 7 * DOLLAR, 2_000),
        (0, 0, 2_000),
    ]:
        rested = runner(weth, usdc)
        rested.block(market_at([dollars]), muted=False)
        assert rested.desk.outbox == []


def test_it_waits_for_its_intent_and_for_its_time() -> None:
    drifted = runner(ETHER, 0, every_ms=3 * BLOCK_MS)
    for block in range(1, 5):
        drifted.block(market_at([2_000] * block), muted=False)
    assert len(drifted.desk.outbox) == 1
    drifted.desk.open.clear()
    drifted.block(market_at([2_000] * 5), muted=False)
    assert len(drifted.desk.outbox) == 2
    drifted.desk.open.clear()
    drifted.block(market_at([2_000] * 6), muted=False)
    assert len(drifted.desk.outbox) == 2


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"weights": {"WETH": "1"}}, "params weights must be of two or more tokens"),
        ({"weights": {"WETH": "0.6", "USDC": "0.6"}}, "add up to 1"),
        ({"weights": {"WETH": "1.5", "USDC": "-0.5"}}, "a weight is not below 0"),
        ({"band": "0"}, "band is out of range"),
        ({"every_ms": -1}, "every_ms is out of range"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, Any], says: str) -> None:
    with pytest.raises(BadParams, match=says):
        runner(1, 1, **params)


values = st.integers(0, 10**30)


@given(values, values, st.integers(0, PPM))
def test_the_widest_gap_is_a_share_and_none_without_value(a: int, b: int, weight: int) -> None:
    gap = widest_gap({WETH: a, USDC: b}, {WETH: Ppm(weight), USDC: Ppm(PPM - weight)})
    if a + b == 0:
        assert gap is None
    else:
        assert gap is not None
        assert 0 <= gap <= PPM
        assert (gap == 0) == (a * PPM == weight * (a + b))
