"""The momentum strategy with its real model on a moving market: it trades, and within limits."""

from __future__ import annotations

import random

from sep_ray.adapters.onnx.signals import LocalSignals
from sep_ray.intent.intent import IntentType
from sep_ray.intent.states import IntentCompleted, IntentDecomposed, Reason
from tests.fixtures.strategies import DOLLAR, ETHER, Stage

BLOCKS = 120


async def test_it_trades_a_moving_market_with_default_parameters() -> None:
    stage = Stage()
    await stage.give("m", WETH=5 * ETHER, USDC=15_000 * DOLLAR)
    await stage.enrol("m", "momentum")
    host = stage.host(models=LocalSignals(None, 0.25))
    await host.start()
    chance, price = random.Random(7), 2_500.0
    for _ in range(BLOCKS):
        price *= 1 + chance.gauss(0, 0.0008)
        await stage.mine(round(price))
        await host.turn()
        for record in await stage.store.open_intents(None, 10):
            began = IntentDecomposed(score=1.0, score_source="model", why="", steps=1)
            await stage.move(record, began, IntentCompleted(reason=Reason.FILLED, sold=1, bought=1))
    records = await stage.intents("m")
    assert 3 <= len(records) <= BLOCKS // 10
    assert {record.intent.type for record in records} <= {IntentType.ACQUIRE, IntentType.DISPOSE}
    assert all("momentum " in record.intent.note for record in records)
    assert all("by fallback" in r.intent.note or "by model" in r.intent.note for r in records)
    assert (await stage.status("m"))[1] == ""
