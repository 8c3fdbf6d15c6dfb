"""Deposits that a reorganisation takes and brings back, seen while other things go wrong."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.lane import LaneState
from sep_ray.kernel.errors import Transient
from sep_ray.portfolio.events import FundsObserved, LedgerBreached
from sep_ray.portfolio.ledger import TREASURY
from sep_ray.simulation.wire import NOWHERE
from tests.fixtures.execution import ACCOUNT, COIN, ETHER, USDC, Sim, bounded

RULES = bounded(confirmations=1, reorg_depth=4)


async def _sent() -> Sim:
    """Have a swap on its way whose gas is paid by coin that came in the newest block."""
    sim = Sim(RULES)
    await sim.ready(COIN=0)
    await sim.tick(5)
    sim.chain.fund(ACCOUNT, COIN.address, ETHER)
    await sim.tick()
    await sim.add()
    await sim.executor.turn()
    assert len(await sim.attempts()) == 2
    return sim


async def _events(sim: Sim, kind: type[Any]) -> list[Any]:
    rows = await sim.store.tail(0, 10_000, 0.0)
    return [row.event for row in rows if isinstance(row.event, kind)]


@pytest.mark.parametrize("blocks", [1, 3])
async def test_p12_coin_that_comes_back_with_what_it_pays_for_is_booked_before_it(blocks):
    """What it pays for cannot be booked without it: neither may wait for the other."""
    sim = await _sent()
    sim.chain.reorganise(1)
    await sim.executor.on_head(sim.chain.newest.head)
    assert await sim.available(COIN, TREASURY) == 0
    sim.chain.room = 0
    await sim.tick(blocks - 1)
    sim.chain.room = 1_000
    sim.chain.fund(ACCOUNT, COIN.address, ETHER)
    await sim.settle()
    assert sim.state == LaneState.READY
    assert (await sim.step(sim.steps[0])).status is StepStatus.DONE
    assert not await _events(sim, LedgerBreached)
    await sim.check()


async def test_p12_a_deposit_withdrawn_and_not_yet_seen_anew_holds_up_no_booking():
    """The process dies between the two; what the coin pays for lands before another looks."""
    sim = await _sent()
    sim.chain.reorganise(1)
    sim.chain.fund(ACCOUNT, COIN.address, ETHER)
    sim.chain.pool, held = {}, sim.chain.pool
    honest = sim.store.open_transfers

    async def mute(chain_id: int) -> Any:
        raise Transient("no answer")

    sim.store.open_transfers = mute
    await sim.tick()
    assert await sim.available(COIN, TREASURY) == 0
    sim.store.open_transfers = honest
    sim.chain.pool = held
    sim.executor = sim.new_executor("second")
    sim.clock.advance(60_000)
    await sim.settle()
    assert sim.state == LaneState.READY
    assert (await sim.step(sim.steps[0])).status is StepStatus.DONE
    await sim.check()


async def test_p7_one_false_hash_withdraws_no_deposit():
    sim = Sim(RULES)
    await sim.ready()
    sim.chain.fund(ACCOUNT, USDC.address, 77)
    head = await sim.tick()
    await sim.tick()
    headers, lies = sim.chain.headers, [NOWHERE]

    async def lying(numbers: Sequence[int]) -> tuple[Any, ...]:
        found: tuple[Any, ...] = await headers(numbers)
        if head.number not in numbers or not lies:
            return found
        place = numbers.index(head.number)
        false = replace(found[place], hash=lies.pop())
        return (*found[:place], false, *found[place + 1 :])

    sim.chain.headers = lying  # type: ignore[method-assign]
    await sim.tick()
    assert not lies
    assert all(event.units > 0 for event in await _events(sim, FundsObserved))
    assert await sim.available(USDC, TREASURY) == 77
    await sim.check()
