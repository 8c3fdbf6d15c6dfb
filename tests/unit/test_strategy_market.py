"""What a strategy sees: exact prices, whole bars, and nothing newer than its block."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, ChainId, Rounding
from sep_ray.strategy.market import Mid, Pair, Series
from tests.fixtures.strategies import (
    DAI,
    DOLLAR,
    ETHER,
    START,
    USDC,
    WETH,
    WETH_USDC,
    market_at,
    mid_at,
)


def test_prices_are_exact_and_readable() -> None:
    market = market_at([2_000, 2_500])
    mid = market.mid(WETH, USDC)
    assert mid is not None
    assert mid.worth(ETHER // 2) == 1_250 * DOLLAR
    assert market.price(WETH, USDC) == pytest.approx(2_500.0)
    assert market.prices(USDC, WETH, 2) == pytest.approx([1 / 2_000, 1 / 2_500])
    assert market.value(WETH, ETHER, USDC) == 2_500 * DOLLAR
    assert market.value(USDC, 7, USDC) == 7
    assert market.value(DAI, 7, USDC) is None
    assert market.price(DAI, USDC) is None


def test_a_view_shows_nothing_newer_than_its_block() -> None:
    whole = market_at(range(100, 200))
    past = replace(whole, block_number=50)
    assert past.price(WETH, USDC) == pytest.approx(149.0)
    assert len(past.history(WETH, USDC, 1_000)) == 50
    assert past.bars(WETH, USDC, 10, 3)[-1].last_block == 49


def test_a_worth_rounds_as_told() -> None:
    mid = Mid(1, START, 1, 3)
    assert (mid.worth(4), mid.worth(4, Rounding.UP), mid.inverse.worth(4)) == (1, 2, 12)


def test_a_pair_is_two_assets_of_one_chain() -> None:
    with pytest.raises(Rejected):
        Pair(WETH, WETH)
    with pytest.raises(Rejected):
        Pair(WETH, Asset(ChainId(2), USDC.address))


def test_a_bar_covers_its_blocks() -> None:
    series = Series(WETH_USDC, 100)
    series.extend(mid_at(block, price) for block, price in [(4, 10), (5, 30), (7, 20), (12, 40)])
    assert series.bar(0, 3) is None
    assert series.bar(4, 7) is not None
    bar = series.bar(4, 7)
    assert bar is not None
    assert [float(mid) for mid in (bar.open, bar.high, bar.low, bar.close)] == [
        float(mid_at(0, price)) for price in (10, 30, 10, 20)
    ]
    empty = series.bar(8, 11)
    assert empty is not None
    assert empty.open == empty.close == mid_at(7, 20)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=300), st.integers(1, 20))
def test_a_series_keeps_the_newest_in_order(blocks: list[int], keep: int) -> None:
    series = Series(WETH_USDC, keep)
    expected: list[int] = []
    for block in blocks:
        series.extend([mid_at(block, block)])
        if not expected or block > expected[-1]:
            expected.append(block)
    kept = [mid.block_number for mid in series.last(series.newest, len(series))]
    assert kept == expected[-len(kept) :]
    assert len(kept) >= min(len(expected), keep)
    assert len(kept) <= 2 * keep
