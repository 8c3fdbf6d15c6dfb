"""An account that runs short of coin is sent some by another of ours, once, whatever dies when."""

import contextlib
from dataclasses import replace

import pytest

from sep_ray.engine.lane import LaneState
from sep_ray.engine.refuelling import Refuelling, Tank, refuellings
from sep_ray.engine.risk import RiskDesk
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.kernel.errors import Transient
from sep_ray.policy.halts import Scope
from sep_ray.policy.limits import Kind, Limit, Listed, Measure, Subject
from sep_ray.portfolio.ledger import TREASURY
from sep_ray.simulation.market import CHAIN, COIN, ETHER
from sep_ray.simulation.process import Crash
from tests.fixtures.execution import Gate, Sim, bounded
from tests.fixtures.policy import a_halt

ONE, TWO, THREE = ACCOUNTS = tuple("0x" + digit * 40 for digit in "123")
RULES = bounded(refuel_below_wei=5 * ETHER, refuel_to_wei=20 * ETHER)


async def _short(account: str = TWO, wei: int = ETHER, rules=RULES) -> Sim:
    """Three accounts, of which one has hardly any coin."""
    sim = Sim(rules, accounts=ACCOUNTS)
    for each in ACCOUNTS:
        sim.chain.fund(each, COIN.address, wei if each == account else 100 * ETHER)
    return sim


async def _refuelled(sim: Sim) -> list:
    return [a for a in await sim.attempts() if a.purpose is Purpose.REFUEL]


async def _held(sim: Sim, account: str) -> int:
    head = sim.chain.newest.head
    return (await sim.chain.state(account, [COIN], head)).units[COIN]


async def test_p8_an_account_that_is_short_is_filled_up_once_and_the_books_agree():
    sim = await _short()
    await sim.ready(COIN=0)
    await sim.settle()
    (refuel,) = await _refuelled(sim)
    assert (refuel.account, refuel.status) == (ONE, AttemptStatus.FINAL)
    assert (refuel.moving.target, refuel.moving.units) == (TWO, 19 * ETHER)
    assert await _held(sim, TWO) == 20 * ETHER
    assert sim.executor.status().lanes[1].coin_wei == 20 * ETHER
    for turn in range(6):
        await sim.add((turn + 1) * ETHER)
        await sim.executor.turn()
    await sim.settle()
    assert TWO in {a.account for a in await sim.attempts() if a.purpose is Purpose.SWAP}
    assert len(await _refuelled(sim)) == 1
    assert all(lane.state == LaneState.READY for lane in sim.executor.lanes)
    await sim.check()


async def test_what_is_on_its_way_is_shown_and_not_sent_again():
    sim = await _short()
    sim.chain.stuck.add(ONE)
    await sim.ready(COIN=0)
    await sim.tick(3)
    assert len(await _refuelled(sim)) == 1
    one, two, _ = sim.executor.status().lanes
    assert (one.short, two.short, two.refuel_wei) == (False, True, 19 * ETHER)
    sim.chain.stuck.clear()
    await sim.settle()
    assert len(await _refuelled(sim)) == 1
    assert sim.executor.status().lanes[1].refuel_wei == 0
    await sim.check()


async def test_p8_coin_that_others_send_meanwhile_is_booked_once_and_nothing_twice():
    sim = await _short()
    sim.chain.stuck.add(ONE)
    await sim.ready(COIN=0)
    sim.chain.fund(TWO, COIN.address, 3 * ETHER)
    await sim.tick(sim.rules.patience_blocks + 2)
    assert sim.executor.lanes[1].state == LaneState.UNSETTLED
    sim.chain.stuck.clear()
    await sim.settle()
    assert await _held(sim, TWO) == 23 * ETHER
    assert await sim.available(COIN, TREASURY) == sum([await _held(sim, a) for a in ACCOUNTS])
    await sim.check()


@pytest.mark.parametrize("depth", [1, 2])
async def test_p7_a_refuelling_that_a_reorganisation_takes_back_lands_again(depth):
    sim = await _short()
    await sim.ready(COIN=0)
    sim.chain.reorganise(depth)
    await sim.executor.on_head(sim.chain.newest.head)
    await sim.settle()
    assert len(await _refuelled(sim)) == 1
    assert await _held(sim, TWO) == 20 * ETHER
    await sim.check()


async def test_p3_p11_one_refuelling_whatever_call_the_process_dies_in():
    trial = Gate()
    sim = await _short()
    sim.executor = sim.new_executor("trial", trial)
    await sim.ready(COIN=0)
    calls = len(trial.names)
    assert {"MemoryStore.commit", "MemoryChain.send", "MemorySigner.sign"} <= set(trial.names)
    for at in range(1, calls, 3):
        sim = await _short()
        sim.executor = sim.new_executor("doomed", Gate(at, after=at % 2 == 0))
        with contextlib.suppress(Crash, Transient):
            await sim.ready(COIN=0)
        sim.executor = sim.new_executor("next")
        sim.clock.advance(sim.rules.lease_ttl_ms + 1)
        await sim.executor.start()
        await sim.settle()
        assert len(await _refuelled(sim)) == 1, at
        assert await _held(sim, TWO) == 20 * ETHER, at
        await sim.check()


async def test_p9_a_refuelling_passes_through_policy_and_its_gas_counts():
    """A list of contracts does not name our own accounts, and need not; a gas budget is one."""
    sim = await _short()
    subject = Subject(chain_id=CHAIN)
    nothing = Limit(id="gas", kind=Kind.TRANSACTION, measure=Measure.GAS, amount=1, subject=subject)
    await RiskDesk(sim.store, sim.clock).set_limit(nothing, "rita")
    await sim.ready(COIN=0)
    await sim.tick(3)
    assert await _refuelled(sim) == []
    assert sim.executor.status().lanes[1].short
    listing = replace(nothing, kind=Kind.LIST, measure=Measure.MEMBERS, listed=Listed.CONTRACTS)
    budget = replace(nothing, id="budget", kind=Kind.TOTAL, amount=ETHER)
    for each in (replace(listing, amount=0), budget):
        await RiskDesk(sim.store, sim.clock).set_limit(each, "rita")
    await sim.settle()
    (refuel,) = await _refuelled(sim)
    assert refuel.status is AttemptStatus.FINAL
    paid = sum(s.amount for s in (await sim.store.limit_usage(["budget"]))["budget"])
    assert paid == refuel.inclusion.cost_wei
    await sim.check()


async def test_p10_nothing_is_refuelled_while_the_chain_is_halted():
    sim = await _short()
    desk = RiskDesk(sim.store, sim.clock)
    stop = a_halt(Scope.CHAIN, str(CHAIN))
    await desk.halt(stop)
    await sim.ready(COIN=0)
    await sim.tick(3)
    assert await _refuelled(sim) == []
    await desk.release(stop.id, "rita", "test")
    await sim.settle()
    assert len(await _refuelled(sim)) == 1
    await sim.check()


def tanks(**wei):
    return [Tank(account=name, held=n, free=n) for name, n in wei.items()]


def test_who_gives_keeps_plenty_and_the_emptiest_comes_first():
    found = refuellings(tanks(a=1, b=3, c=60, d=25), below_wei=5, to_wei=20, gas_wei=1)
    assert found == [
        Refuelling(source="c", target="a", wei=19),
        Refuelling(source="c", target="b", wei=17),
    ]
    assert refuellings(tanks(a=1, b=24), below_wei=5, to_wei=20, gas_wei=1) == []
    less = refuellings(tanks(a=1, b=30), below_wei=5, to_wei=20, gas_wei=1)
    assert less == [Refuelling(source="b", target="a", wei=9)]
    assert refuellings(tanks(a=1), below_wei=5, to_wei=20, gas_wei=1) == []
    assert refuellings(tanks(a=1, b=100), below_wei=0, to_wei=0, gas_wei=1) == []


def test_what_is_promised_is_not_given_and_what_comes_is_waited_for():
    short = Tank(account="a", held=1, free=1)
    busy = Tank(account="b", held=100, free=15)
    assert refuellings([short, busy], below_wei=5, to_wei=20, gas_wei=1) == []
    waits = Tank(account="a", held=1, free=1, coming=1)
    rich = Tank(account="b", held=100, free=100)
    assert refuellings([waits, rich], below_wei=5, to_wei=20, gas_wei=1) == []
