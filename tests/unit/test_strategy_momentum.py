"""MomentumStrategy: it follows its signal, and no signal takes it beyond its limits."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sep_ray.intent.intent import Intent, IntentType, Side
from sep_ray.intent.states import IntentRecord, Reason, Status
from sep_ray.kernel.units import PPM, Ppm, Rounding
from sep_ray.portfolio.ledger import Bucket
from sep_ray.strategy.desk import Portfolio, Prediction
from sep_ray.strategy.market import Mid
from sep_ray.strategy.momentum import (
    MomentumStrategy,
    PositionLimits,
    units_to_buy,
    units_to_sell,
)
from sep_ray.strategy.runner import BadParams, Runner, Saved, build_runner
from tests.fixtures.strategies import (
    DOLLAR,
    ETHER,
    START,
    USDC,
    WETH,
    market_at,
    mid_at,
    new_desk,
)


class Says:
    """A signal that says what it is told."""

    def __init__(self, *directions: float) -> None:
        self.directions = list(directions)
        self.rows: list[Sequence[float]] = []

    def predict(self, name: str, features: Sequence[float]) -> Prediction:
        assert name == "momentum"
        self.rows.append(features)
        return Prediction(
            values=(self.directions[len(self.rows) % len(self.directions)], 12.0),
            source="model",
            reason="test",
        )


def runner(models: Any, weth: int = ETHER, usdc: int = 10_000 * DOLLAR, **params: Any) -> Runner:
    desk = new_desk(models=models)
    hold(desk, weth, usdc)
    built = build_runner(MomentumStrategy, json.dumps(params), desk, Saved(), 1)
    built.blocks[WETH.chain_id] = 0
    return built


def hold(desk: Any, weth: int, usdc: int) -> None:
    desk.portfolio = Portfolio({(WETH, Bucket.AVAILABLE): weth, (USDC, Bucket.AVAILABLE): usdc})


def test_it_follows_its_signal_and_says_so() -> None:
    for direction, wanted in [(0.5, IntentType.ACQUIRE), (-0.5, IntentType.DISPOSE)]:
        strategy = runner(Says(direction))
        strategy.block(market_at([2_000] * 3), muted=False)
        (intent,) = strategy.desk.outbox
        assert (intent.type, intent.amount) == (wanted, ETHER // 10)
        assert intent.note == f"momentum {direction} by model (test)"


def test_it_rests_on_a_weak_signal_a_small_move_and_while_an_intent_is_open() -> None:
    for strategy in (runner(Says(0.29)), runner(Says(0.5), min_move_bp=12.5)):
        strategy.block(market_at([2_000] * 3), muted=False)
        assert strategy.desk.outbox == []
    strategy = runner(Says(0.5), cool_down_blocks=0)
    for block in range(1, 6):
        strategy.block(market_at([2_000] * (block + 1)), muted=False)
    assert len(strategy.desk.outbox) == 1


def test_without_models_the_rule_decides_and_the_note_says_so() -> None:
    strategy = runner(None)
    strategy.block(market_at([2_000 + n * n for n in range(30)]), muted=False)
    (intent,) = strategy.desk.outbox
    assert intent.type is IntentType.ACQUIRE
    assert "by fallback (no models here)" in intent.note


def test_it_decides_once_a_bar_on_the_newest_of_several() -> None:
    says = Says(0.0)
    strategy = runner(says, bar_blocks=5)
    for block in range(2, 24):
        strategy.block(market_at([2_000] * block), muted=False)
    assert len(says.rows) == 3  # at 9, 14 and 19: the first bar's beginning is not known
    strategy.block(market_at([2_000] * 60), muted=False)
    assert len(says.rows) == 4


def test_muted_it_neither_trades_nor_rests() -> None:
    strategy = runner(Says(0.5))
    strategy.block(market_at([2_000] * 3), muted=True)
    assert strategy.strategy.state.traded_at == -1


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"min_position": "2", "max_position": "1"}, "min_position is above max_position"),
        ({"enter": 1.5}, "enter is out of range"),
        ({"bar_blocks": 0}, "bar_blocks is out of range"),
        ({"size": -1}, "size is out of range"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, Any], says: str) -> None:
    with pytest.raises(BadParams, match=says):
        runner(None, **params)


amounts = st.integers(0, 10**30)
prices = st.builds(Mid, st.just(1), st.just(START), st.integers(1, 10**30), st.integers(1, 10**30))
limits_ = st.builds(
    PositionLimits,
    size=amounts,
    max_position=amounts,
    min_position=amounts,
    min_notional=amounts,
    max_slippage=st.integers(1_000, 100_000).map(Ppm),
)


@given(limits_, prices, amounts, amounts)
def test_a_purchase_stays_within_position_and_cash(
    limits: PositionLimits, mid: Mid, held: int, cash: int
) -> None:
    units = units_to_buy(limits, mid, held=held, cash=cash)
    assert 0 <= units <= limits.size
    if units:
        assert held + units <= limits.max_position
        worst = replace(mid, numerator=mid.numerator * (PPM + limits.max_slippage))
        assert worst.worth(units, Rounding.UP) <= cash * PPM
        assert mid.worth(units) >= limits.min_notional


@given(limits_, prices, amounts, amounts)
def test_a_sale_stays_above_the_least_position(
    limits: PositionLimits, mid: Mid, held: int, available: int
) -> None:
    units = units_to_sell(limits, mid, held=held, available=available)
    assert 0 <= units <= limits.size
    if units:
        assert held - units >= limits.min_position
        assert units <= available
        assert mid.worth(units) >= limits.min_notional


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=20),
    st.integers(0, 2**32),
    st.integers(0, 12),
    st.integers(0, 3 * ETHER),
    st.integers(0, 6_000 * DOLLAR),
)
def test_p9_whatever_the_signal_says_positions_stay_within_their_limits(
    directions: list[float], seed: int, cool_down: int, weth: int, usdc: int
) -> None:
    """Intents are filled wholly, in part or not at all, at once or later, at the worst price."""
    chance = random.Random(seed)
    least, most = ETHER // 2, 2 * ETHER
    strategy = runner(
        Says(*directions),
        weth,
        usdc,
        size="0.4",
        max_position="2",
        min_position="0.5",
        cool_down_blocks=cool_down,
    )
    path = [2_000, 2_000]
    low, high = min(weth, least), max(weth, most)
    asked_at: list[int] = []
    waiting: list[Intent] = []
    for block in range(3, 60):
        path.append(max(100, path[-1] + chance.randint(-200, 200)))
        strategy.block(market_at(path), muted=chance.random() < 0.1)
        waiting += strategy.kept()
        assert len(waiting) <= 1
        if len(asked_at) < strategy.strategy.state.trades:
            asked_at.append(block)
        if waiting and chance.random() < 0.5:
            intent = waiting.pop()
            weth, usdc = _fill(intent, mid_at(block, path[-1]), weth, usdc, chance)
            hold(strategy.desk, weth, usdc)
            strategy.update(_ended(intent), muted=False)
        assert low <= weth <= high
        assert usdc >= 0
    assert all(b - a > cool_down for a, b in pairwise(asked_at))


def _fill(intent: Intent, mid: Mid, weth: int, usdc: int, chance: random.Random) -> tuple[int, int]:
    """Fill a part at up to half a percent worse, as far as the cash goes."""
    assert intent.amount is not None
    part = intent.amount * chance.choice([0, 1, 2]) // 2
    if intent.type is IntentType.ACQUIRE:
        assert intent.side is Side.BUY
        cost = mid.worth(part, Rounding.UP) * 1_005 // 1_000
        return (weth + part, usdc - cost) if cost <= usdc else (weth, usdc)
    assert intent.side is Side.SELL
    return weth - part, usdc + mid.worth(part) * 995 // 1_000


def _ended(intent: Intent) -> IntentRecord:
    return IntentRecord(
        intent=intent,
        status=Status.PARTIALLY_COMPLETED,
        version=3,
        principal="strategy:s",
        updated_at=START,
        reason=Reason.DEADLINE,
    )
