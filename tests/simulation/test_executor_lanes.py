"""Several accounts on one chain: work is spread, each is audited, none waits for another."""

import pytest

from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.lane import LaneState
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.intent.intent import Side
from sep_ray.simulation.market import CHAIN, COIN, DAI, DOLLAR, ETHER, USDC, WETH
from tests.fixtures.execution import Sim, bounded

ONE, TWO, THREE = ACCOUNTS = tuple("0x" + digit * 40 for digit in "123")


async def _ready(**units: int) -> Sim:
    sim = Sim(accounts=ACCOUNTS)
    await sim.ready(**units)
    return sim


async def _senders(sim: Sim) -> set[str]:
    return {a.account for a in await sim.attempts() if a.purpose is Purpose.SWAP}


async def test_p8_work_is_spread_and_every_account_is_exact():
    sim = await _ready()
    for turn in range(9):
        await sim.add((turn + 1) * ETHER)
        await sim.executor.turn()
    await sim.settle()
    assert await _senders(sim) == set(ACCOUNTS)
    assert sim.executor.lanes[2].state == LaneState.READY
    await sim.check()


async def test_sales_of_one_round_stay_together_and_share_an_approval():
    sim = await _ready()
    for _ in range(4):
        await sim.add()
    await sim.add(100 * DOLLAR, sell=USDC, buy=WETH)
    await sim.executor.turn()
    attempts = await sim.attempts()
    approvals = [a for a in attempts if a.purpose is Purpose.APPROVAL]
    assert len(approvals) == 2
    assert len({a.account for a in attempts}) == 2
    await sim.settle()
    await sim.check()


async def test_a_stuck_account_does_not_stop_the_others():
    sim = await _ready()
    first = await sim.add()
    await sim.executor.turn()
    (stuck,) = await _senders(sim)
    sim.chain.stuck.add(stuck)
    others = []
    for _ in range(6):
        await sim.tick()
        others.append(await sim.add())
        await sim.executor.turn()
    await sim.tick(3)
    assert (await sim.step(first)).status is StepStatus.WORKING
    done = [s for s in others if (await sim.step(s)).status is StepStatus.DONE]
    assert done == others
    sim.chain.stuck.clear()
    await sim.settle()
    await sim.check()


async def test_p8_a_breach_stops_its_own_account_only():
    sim = await _ready()
    sim.chain.newest.after.give(USDC.address, TWO, -1)
    await sim.tick(1 + sim.rules.patience_blocks)
    states = {lane.account: lane.state for lane in sim.executor.lanes}
    assert states == {ONE: LaneState.READY, TWO: LaneState.BREACHED, THREE: LaneState.READY}
    for _ in range(4):
        step_id = await sim.add()
        await sim.executor.turn()
        await sim.tick()
        assert (await sim.step(step_id)).status is StepStatus.DONE
    assert TWO not in await _senders(sim)


async def test_units_scattered_over_accounts_are_brought_together():
    sim = await _ready(WETH=10 * ETHER)
    step_id = await sim.add(25 * ETHER)
    await sim.executor.turn()
    moves = [a for a in await sim.attempts() if a.purpose is Purpose.TRANSFER]
    assert sorted(a.moving.units for a in moves if a.moving) == [5 * ETHER, 10 * ETHER]
    await sim.executor.turn()
    assert len(await sim.attempts()) == 2
    await sim.tick()
    await sim._check_ledger()
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_p7_a_reorganised_transfer_between_accounts_is_withdrawn():
    sim = await _ready(WETH=10 * ETHER)
    step_id = await sim.add(15 * ETHER, window_ms=60_000)
    await sim.executor.turn()
    sim.executor.lanes[0].agrees = False  # nothing new begins on the first
    await sim.tick()
    await sim._check_ledger()
    sim.chain.reorganise(1)
    await sim.executor.on_head(sim.chain.newest.head)
    await sim._check_ledger()
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_more_than_all_accounts_hold_waits_for_what_is_in_flight():
    sim = await _ready(WETH=10 * ETHER)
    sale = await sim.add(5 * ETHER)
    await sim.executor.turn()
    rest = await sim.add(25 * ETHER)
    await sim.executor.turn()
    await sim.settle()
    for step_id in (sale, rest):
        assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_an_account_without_coin_is_passed_over():
    sim = await _ready()
    for lane in sim.executor.lanes[:2]:
        lane.units[COIN] = 0
    await sim.add()
    await sim.executor.turn()
    assert await _senders(sim) == {THREE}
    await sim.settle()
    await sim.check()


async def test_p5_processes_may_share_the_accounts_of_a_chain():
    """Each works with what it leads; a transfer that another booked is no breach."""
    sim = await _ready(WETH=10 * ETHER)
    first = sim.executor
    second = sim.new_executor("second")
    third = first.lanes[2]
    assert third.lease is not None
    await sim.store.release(third.lease)
    await sim.tick()
    await second.on_head(sim.chain.newest.head)
    assert [lane.lease is not None for lane in second.lanes] == [False, False, True]
    step_id = await sim.add(18 * ETHER)
    small = await sim.add(9 * ETHER, buy=DAI, priority=0.5)
    for _ in range(8):
        head = await sim.tick()
        await second.on_head(head)
        await second.turn()
    for each in (step_id, small):
        assert (await sim.step(each)).status is StepStatus.DONE
    await sim._check_ledger()


@pytest.mark.parametrize("lanes", [2, 3])
async def test_p3_a_long_day_with_several_accounts_is_exact(lanes):
    sim = Sim(bounded(max_in_flight=6), accounts=ACCOUNTS[:lanes])
    await sim.ready(WETH=50 * ETHER)
    for turn in range(30):
        pairs = [(WETH, USDC, 3 * ETHER), (USDC, WETH, 4_000 * DOLLAR), (WETH, DAI, 2 * ETHER)]
        sell, buy, amount = pairs[turn % 3]
        await sim.add(amount, sell=sell, buy=buy)
        if turn % 4 == 0:
            await sim.add(ETHER // 7, sell=USDC, buy=WETH, side=Side.BUY)
        if turn % 5 == 4:
            sim.chain.reorganise(1 + turn % 2, keep=turn % 2 == 0)
        if turn == 12:
            sim.clock.advance(sim.rules.lease_ttl_ms)
            sim.executor = sim.new_executor("heir")
        await sim.tick()
        await sim.executor.turn()
    await sim.settle(25)
    await sim.check()
    finals = [a for a in await sim.attempts() if a.status is AttemptStatus.FINAL]
    for account in ACCOUNTS[:lanes]:
        nonces = [a.nonce for a in finals if a.account == account]
        assert nonces == list(range(len(nonces)))
    units = [await sim.store.account_units(CHAIN, each) for each in ACCOUNTS[:lanes]]
    assert sum(each[WETH] for each in units) == (await sim.store.totals(CHAIN))[WETH]
