"""What a strategy asks for becomes an exact, checked intent."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.intent.intent import InvalidIntent, Side, Style
from sep_ray.kernel.errors import Rejected
from sep_ray.strategy.requests import Bounds, Stamp, acquire, dispose, liquidate, ppm, rebalance
from tests.fixtures.strategies import DOLLAR, ETHER, START, TOKENS, USDC, WETH

STAMP = Stamp(id=UUID(int=1), strategy_id="s", at=START)


def test_amounts_are_units_or_decimal_text() -> None:
    by_text = acquire(STAMP, TOKENS, WETH, USDC, "0.25", None, {})
    by_units = acquire(STAMP, TOKENS, WETH, USDC, ETHER // 4, None, {})
    assert by_text == by_units
    assert (by_text.sell, by_text.buy, by_text.side) == (USDC, WETH, Side.BUY)


def test_either_end_of_a_trade_may_be_fixed() -> None:
    spending = acquire(STAMP, TOKENS, WETH, USDC, None, "1500", {})
    assert (spending.amount, spending.side) == (1_500 * DOLLAR, Side.SELL)
    selling = dispose(STAMP, TOKENS, WETH, USDC, "1", None, {})
    assert (selling.sell, selling.amount, selling.side) == (WETH, ETHER, Side.SELL)
    receiving = dispose(STAMP, TOKENS, WETH, USDC, None, "1500", {})
    assert (receiving.amount, receiving.side) == (1_500 * DOLLAR, Side.BUY)
    assert liquidate(STAMP, TOKENS, WETH, USDC, {}).amount is None


@pytest.mark.parametrize("amounts", [(None, None), ("1", "1")])
def test_exactly_one_end_is_fixed(amounts: tuple[str | None, str | None]) -> None:
    with pytest.raises(InvalidIntent, match="needs one of two"):
        acquire(STAMP, TOKENS, WETH, USDC, *amounts, {})


def test_a_rebalance_names_weights_that_add_up() -> None:
    intent = rebalance(STAMP, {WETH: "0.4", USDC: 600_000}, "0.01", {})
    assert {target.asset: target.weight for target in intent.targets} == {
        WETH: 400_000,
        USDC: 600_000,
    }
    assert intent.tolerance == 10_000
    with pytest.raises(InvalidIntent, match="do not add up"):
        rebalance(STAMP, {WETH: "0.4", USDC: "0.5"}, "0.01", {})


def test_slices_make_it_a_schedule() -> None:
    intent = dispose(STAMP, TOKENS, WETH, USDC, "1", None, {"slices": 4, "window_ms": 120_000})
    assert intent.constraints.style is Style.TWAP
    assert intent.constraints.schedule.slices == 4
    assert intent.deadline == START + 120_000


@given(
    st.decimals(min_value=Decimal("0.0001"), max_value=10**6, places=4),
    st.integers(min_value=1, max_value=10**24),
    st.booleans(),
)
def test_a_limit_price_holds_exactly(price: Decimal, weth: int, buying: bool) -> None:
    """It says: pays at most, or gets at least, the price."""
    ask: Bounds = {"limit_price": price}
    make = acquire if buying else dispose
    limit = make(STAMP, TOKENS, WETH, USDC, weth, None, ask).constraints.limit
    assert limit is not None
    over, under = price.as_integer_ratio()
    fair, rest = divmod(weth * over * DOLLAR, under * ETHER)
    if buying:
        assert weth * limit.denominator >= fair * limit.numerator
        assert weth * limit.denominator < (fair + 1) * limit.numerator
    else:
        least = fair + bool(rest)
        assert least * limit.denominator >= weth * limit.numerator
        assert (least - 1) * limit.denominator < weth * limit.numerator


@pytest.mark.parametrize(
    ("bounds", "field"),
    [
        ({"max_slippage": "0.2"}, "constraints.max_slippage"),
        ({"max_slippage": "0.0000001"}, "max_slippage"),
        ({"max_slippage": "x"}, "max_slippage"),
        ({"window_ms": 1}, "constraints.time_window_ms"),
        ({"limit_price": "cheap"}, "limit_price"),
        ({"limit_price": "0"}, "constraints.limit_price"),
        ({"slices": 0}, "constraints.schedule.slices"),
        ({"note": "x" * 501}, "note"),
        ({"speed": 1}, "speed"),
    ],
)
def test_a_bound_out_of_range_names_its_field(bounds: Bounds, field: str) -> None:
    with pytest.raises(InvalidIntent) as caught:
        dispose(STAMP, TOKENS, WETH, USDC, "1", None, bounds)
    assert caught.value.facts["field"] == field


def test_no_decimals_are_lost() -> None:
    with pytest.raises(Rejected, match="too many decimals"):
        dispose(STAMP, TOKENS, USDC, WETH, "0.0000001", None, {})
    assert ppm("x", "0.000001") == 1
