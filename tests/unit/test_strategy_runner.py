"""The runner: same input, same decisions (P13); ids that a trigger determines (P3); signals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.portfolio.ledger import Bucket, Holding
from sep_ray.strategy import BaseStrategy
from sep_ray.strategy.base import NoSignal
from sep_ray.strategy.desk import (
    MAX_REQUESTS,
    Desk,
    Portfolio,
    Prediction,
    TooManyRequests,
    Trigger,
)
from sep_ray.strategy.load import load_class
from sep_ray.strategy.market import Bar
from sep_ray.strategy.plain import Misfit
from sep_ray.strategy.runner import SAVE_EVERY, Runner, Saved, build_runner
from tests.fixtures.strategies import (
    DAI,
    ETHER,
    START,
    USDC,
    WETH,
    WETH_USDC,
    market_at,
    new_desk,
)
from tests.simulation.test_strategies_host import DIARY, PAIR


def diary(saved: Saved | None = None, run: int = 1, **params: Any) -> Runner:
    declared = load_class("d.py:Diary", DIARY)
    given_ = json.dumps({**PAIR, **params})
    return build_runner(declared, given_, new_desk(), saved or Saved(), run)


def bare(desk: Desk | None = None) -> BaseStrategy:
    class Bare(BaseStrategy):
        def watches(self) -> Sequence[Any]:
            return [WETH_USDC]

    desk = desk or new_desk()
    desk.begin(Trigger("test", START), muted=False)
    return Bare(None, None, desk)


prices = st.lists(st.integers(1_800, 2_000), min_size=1, max_size=40)


@given(prices, st.integers(0, 5))
def test_p13_the_same_market_leads_to_the_same_decisions_whenever_it_is_saved(
    path: list[int], bar_blocks: int
) -> None:
    whole = diary(buy_at=1_900, bar_blocks=bar_blocks)
    broken = diary(buy_at=1_900, bar_blocks=bar_blocks)
    for block in range(1, len(path) + 1):
        market = market_at(path[:block])
        whole.block(market, muted=False)
        broken.block(market, muted=False)
        broken = diary(Saved.read(broken.saved().text()), buy_at=1_900, bar_blocks=bar_blocks)
    assert broken.saved() == whole.saved()
    assert broken.saved().text() == whole.saved().text()
    assert len({intent.id for intent in whole.desk.outbox}) == len(whole.desk.outbox)


@given(st.text(max_size=20), st.integers(0, 2**47), st.integers(0, 99), st.integers(0, 99))
def test_p3_a_trigger_determines_its_requests_ids(name: str, at: int, a: int, b: int) -> None:
    trigger = Trigger(name, Millis(at))
    first = trigger.intent_id("s", a)
    assert first == Trigger(name, Millis(at)).intent_id("s", a)
    assert (first == trigger.intent_id("s", b)) == (a == b)
    assert first != trigger.intent_id("t", a)
    assert first.version == 7
    assert first.int >> 80 == at


def test_a_block_is_shown_once_and_progress_is_saved_now_and_then() -> None:
    runner = diary()
    seen = runner.strategy.state.blocks
    assert runner.unsaved() is not None  # a first run is saved at once
    runner.kept()
    for block in range(1, SAVE_EVERY + 1):
        assert runner.unsaved() is None
        for _ in range(2):
            runner.block(market_at([2_000] * block), muted=False)
        assert seen == [block]
        seen.clear()  # as if nothing changed but the block
    assert runner.unsaved() is not None


def test_a_bar_is_told_before_its_block_and_holds_its_pair() -> None:
    told: list[object] = []

    class Listener(BaseStrategy):
        bar_blocks = 2

        def watches(self) -> Sequence[Any]:
            return [WETH_USDC]

        def on_bar(self, bar: Bar) -> None:
            told.append((bar.pair, bar.first_block, bar.last_block))

        def on_block(self, market: Any) -> None:
            told.append(market.block_number)

    runner = build_runner(Listener, "{}", new_desk(), Saved(blocks={WETH.chain_id: 3}), 0)
    runner.block(market_at([1, 2, 3, 4]), muted=False)
    runner.block(market_at([1, 2, 3, 4, 5]), muted=False)
    assert told == [4, (WETH_USDC, 4, 5), 5]


def test_saved_state_that_does_not_fit_is_refused_within_a_run() -> None:
    with pytest.raises(Misfit, match="is unknown"):
        diary(Saved(run=1, state={"nothing": 1}))
    assert diary(Saved(run=1, state={"nothing": 1}), run=2).strategy.state.blocks == []


def test_submitting_has_a_bound() -> None:
    strategy = bare()
    for _ in range(MAX_REQUESTS):
        strategy.liquidate(WETH, into=USDC)
    with pytest.raises(TooManyRequests):
        strategy.liquidate(WETH, into=USDC)


def test_every_request_has_its_helper() -> None:
    strategy = bare()
    assert strategy.acquire(WETH, "1", using=USDC) is not None
    assert strategy.dispose(WETH, "1", into=USDC, slices=4) is not None
    assert strategy.rebalance({WETH: "0.5", USDC: "0.5"}) is not None
    assert strategy.liquidate(WETH, into=USDC) is not None
    assert len(strategy.open_intents) == 4


class Models:
    """Answers, or raises, as told."""

    def __init__(self, answer: Prediction | Exception) -> None:
        self.answer = answer

    def predict(self, name: str, features: Sequence[float]) -> Prediction:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_signal_says_where_it_came_from_and_so_does_the_intent() -> None:
    good = Prediction(values=(0.5,), source="model", reason="v1")
    strategy = bare(new_desk(models=Models(good)))
    assert float(strategy.predict_with_model("own", [1.0])) == 0.5
    strategy.acquire(WETH, "1", using=USDC, note="up")
    assert strategy._desk.outbox[0].note == "up; own 0.5 by model (v1)"


@pytest.mark.parametrize(
    "models",
    [
        None,
        Models(Transient("gone")),
        Models(Prediction(values=(float("nan"),), source="model")),
        Models(Prediction(values=(), source="model")),
    ],
)
def test_without_a_model_the_named_fallback_answers_or_the_strategy_is_told(models: Any) -> None:
    strategy = bare(new_desk(models=models))
    answer = strategy.predict_with_model("own", [2.0], fallback=lambda row: row[0] / 4)
    assert (answer.value, answer.source) == (0.5, "fallback")
    assert answer.reason
    assert strategy.predict_with_model("own", [], fallback=0.25).value == 0.25
    with pytest.raises(NoSignal):
        strategy.predict_with_model("own", [2.0])


def test_a_portfolio_adds_up() -> None:
    lines = [
        Holding(strategy_id="s", asset=WETH, bucket=Bucket.AVAILABLE, units=3 * ETHER),
        Holding(strategy_id="s", asset=WETH, bucket=Bucket.RESERVED, units=ETHER),
        Holding(strategy_id="s", asset=WETH, bucket=Bucket.SPENT, units=7),
        Holding(strategy_id="s", asset=DAI, bucket=Bucket.AVAILABLE, units=5),
        Holding(
            strategy_id="s",
            asset=Asset(ChainId(2), WETH.address),
            bucket=Bucket.AVAILABLE,
            units=9,
        ),
    ]
    portfolio = Portfolio.of(lines)
    assert portfolio.available(WETH) == 3 * ETHER
    assert portfolio.reserved(WETH) == ETHER
    assert portfolio.held(WETH) == 4 * ETHER
    assert portfolio.value(market_at([2_000]), USDC) == 8_000 * 10**6
    assert len(portfolio.assets) == 3


def test_a_market_of_another_block_is_another_view() -> None:
    market = market_at([1, 2, 3])
    assert replace(market, block_number=2).prices(WETH, USDC, 9) == pytest.approx([1, 2])
    assert market.closes(WETH, USDC, 2, 5) == pytest.approx([1, 3])
