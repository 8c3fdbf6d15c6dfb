"""The example in examples/ does what it says, loaded as a user's file is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sep_ray.intent.intent import IntentType
from sep_ray.portfolio.ledger import Bucket
from sep_ray.strategy.desk import Portfolio
from sep_ray.strategy.load import check
from sep_ray.strategy.runner import Runner, Saved, build_runner
from tests.fixtures.strategies import DOLLAR, ETHER, TOKENS, USDC, WETH, market_at, new_desk

FILE = Path(__file__).parents[2] / "examples" / "mean_reversion.py"
CALM = [2_000, 2_001] * 25


def runner(weth: int = ETHER, usdc: int = 10_000 * DOLLAR, **params: Any) -> Runner:
    desk = new_desk()
    desk.portfolio = Portfolio({(WETH, Bucket.AVAILABLE): weth, (USDC, Bucket.AVAILABLE): usdc})
    declared = check("mean_reversion.py:MeanReversion", FILE.read_text(), "{}", TOKENS)
    return build_runner(declared, json.dumps(params), desk, Saved(), 1)


def test_it_buys_far_below_the_average_and_sells_far_above() -> None:
    for price, wanted in [(1_990, IntentType.ACQUIRE), (2_010, IntentType.DISPOSE)]:
        strategy = runner()
        strategy.block(market_at([*CALM, price]), muted=False)
        (intent,) = strategy.desk.outbox
        assert (intent.type, intent.amount) == (wanted, ETHER // 10)
        assert "deviations from the average" in intent.note
        assert strategy.strategy.state.trades == 1


def test_it_rests_when_the_price_is_near_or_money_is_short() -> None:
    for strategy, prices in [
        (runner(), [*CALM, 2_000]),
        (runner(), CALM[:10]),
        (runner(usdc=DOLLAR), [*CALM, 1_990]),
        (runner(weth=1), [*CALM, 2_010]),
        (runner(), [2_000] * 60),
    ]:
        strategy.block(market_at(prices), muted=False)
        assert strategy.desk.outbox == []


def test_muted_it_counts_no_trade() -> None:
    strategy = runner()
    strategy.block(market_at([*CALM, 1_990]), muted=True)
    assert strategy.desk.outbox == []
    assert strategy.strategy.state.trades == 0
