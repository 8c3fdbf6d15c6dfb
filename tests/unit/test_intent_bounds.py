"""A wrong intent is refused with the field's path and the allowed range."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from sep_ray.intent.intent import (
    Constraints,
    Intent,
    IntentType,
    InvalidIntent,
    Limit,
    Schedule,
    Side,
    Style,
    Target,
    checked,
)
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId, Ppm

WETH, USDC = (Asset(ChainId(1), "0x" + digit * 40) for digit in "ab")
FAR = Asset(ChainId(42161), "0x" + "c" * 40)
TRADE = Intent(
    id=UUID(int=1),
    strategy_id="desk",
    type=IntentType.DISPOSE,
    chain_id=ChainId(1),
    sell=WETH,
    buy=USDC,
    amount=10**18,
    created_at=Millis(0),
)
HALVES = (Target(asset=WETH, weight=Ppm(500_000)), Target(asset=USDC, weight=Ppm(500_000)))
REBALANCE = replace(
    TRADE, type=IntentType.REBALANCE, sell=None, buy=None, amount=None, targets=HALVES
)


def bound(**fields: Any) -> dict[str, Any]:
    return {"constraints": Constraints(**fields)}


BAD: list[tuple[Intent, dict[str, Any], str, str]] = [
    (TRADE, bound(max_slippage=999), "constraints.max_slippage", "1000..100000"),
    (TRADE, bound(max_slippage=100_001), "constraints.max_slippage", "1000..100000"),
    (TRADE, bound(time_window_ms=59_999), "constraints.time_window_ms", "60000..3600000"),
    (TRADE, bound(time_window_ms=3_600_001), "constraints.time_window_ms", "60000..3600000"),
    (TRADE, bound(urgency=-1), "constraints.urgency", "0..1000000"),
    (TRADE, bound(max_gas=20_999), "constraints.max_gas", "21000..30000000"),
    (TRADE, bound(max_fee_wei=0), "constraints.max_fee_wei", "1..1000000000000000"),
    (TRADE, bound(schedule=Schedule(slices=0)), "constraints.schedule.slices", "1..100"),
    (TRADE, bound(schedule=Schedule(burst_cap=0)), "constraints.schedule.burst_cap", "1..100"),
    (TRADE, bound(limit=Limit(numerator=0, denominator=1)), "constraints.limit_price", "1.."),
    (TRADE, {"amount": 0}, "amount", "1.."),
    (TRADE, {"amount": -1}, "amount", "1.."),
    (TRADE, {"amount": 2**256}, "amount", "1.."),
    (TRADE, {"amount": None}, "amount", "1.."),
    (TRADE, {"amount": 3, **bound(schedule=Schedule(slices=4))}, "amount", "4.."),
    (TRADE, {"sell": None}, "sell", "an asset"),
    (TRADE, {"buy": None}, "buy", "an asset"),
    (TRADE, {"buy": WETH}, "buy", "another asset"),
    (TRADE, {"buy": FAR}, "buy", "an asset of 1"),
    (TRADE, {"type": IntentType.LIQUIDATE}, "amount", "none"),
    (TRADE, {"type": IntentType.BRIDGE}, "buy", "another chain"),
    (TRADE, {"type": IntentType.BRIDGE, "buy": FAR, "side": Side.BUY}, "side", "sell"),
    (TRADE, {"type": IntentType.BRIDGE, "buy": FAR, "amount": None}, "amount", "1.."),
    (TRADE, {"type": IntentType.BRIDGE, "buy": FAR, "sell": FAR}, "sell", "an asset of 1"),
    (REBALANCE, {"targets": HALVES[:1]}, "targets", "2 or more"),
    (REBALANCE, {"targets": (HALVES[0], HALVES[0])}, "targets", "2 or more"),
    (
        REBALANCE,
        {"targets": (HALVES[0], replace(HALVES[1], weight=Ppm(1)))},
        "targets",
        "a sum of 1",
    ),
    (
        REBALANCE,
        {"targets": tuple(replace(half, pooled=(half.asset,)) for half in HALVES)},
        "targets",
        "2 or more assets",
    ),
    (
        REBALANCE,
        {
            "targets": (
                replace(HALVES[0], asset=FAR),
                replace(HALVES[1], asset=replace(FAR, address=USDC.address)),
            )
        },
        "targets",
        "an asset of 1",
    ),
    (
        REBALANCE,
        {
            "targets": (HALVES[0], replace(HALVES[1], pooled=(FAR,))),
            **bound(style=Style.TWAP),
        },
        "constraints.style",
        "immediate",
    ),
    (REBALANCE, {"tolerance": 500_001}, "tolerance", "0..500000"),
]


@pytest.mark.parametrize(("good", "change", "field", "allowed"), BAD)
def test_the_error_names_the_field_and_the_range(
    good: Intent, change: dict[str, Any], field: str, allowed: str
) -> None:
    assert checked(good) is good
    with pytest.raises(InvalidIntent) as caught:
        checked(replace(good, **change))
    assert caught.value.facts["field"] == field
    assert allowed in caught.value.facts["allowed"]


def test_liquidate_without_an_amount_is_fine() -> None:
    intent = replace(TRADE, type=IntentType.LIQUIDATE, amount=None)
    assert checked(intent) is intent
