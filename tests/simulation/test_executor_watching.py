"""What waits is looked at in every block; what reverted is tried again where only one can land."""

from dataclasses import replace

import pytest

from sep_ray.adapters.memory.contracts import ROUTER
from sep_ray.decomposition.step import StepReplanned, StepStatus
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.intent.intent import Constraints, Limit, Side
from sep_ray.kernel.units import Ppm
from tests.fixtures.execution import (
    ACCOUNT,
    DOLLAR,
    ETHER,
    USDC,
    WETH,
    Sim,
    bounded,
    shock,
)

TIGHT = Constraints(max_slippage=Ppm(1_000))


async def _waiting(sim: Sim, **more):
    """Have a swap that a node holds and no block takes."""
    await sim.ready()
    step_id = await sim.add(2 * ETHER, **more)
    sim.chain.room = 1
    await sim.executor.turn()
    await sim.tick()
    sim.chain.room = 0
    return step_id


async def test_p3_what_would_revert_is_planned_anew_at_the_same_nonce():
    sim = Sim()
    step_id = await _waiting(sim, constraints=TIGHT)
    before = (await sim.step(step_id)).quoted
    shock(sim)
    await sim.tick()
    swap = (await sim.attempts())[-1]
    assert len(swap.signed) == 2
    assert not swap.newest.cancel
    assert swap.newest.max_fee_wei * 8 >= swap.signed[0].max_fee_wei * 9
    assert [tx.nonce for tx in sim.chain.pool.values()] == [swap.nonce]
    events = [r.event for r in await sim.store.stream(f"step/{step_id}")]
    assert [e.quoted < before for e in events if isinstance(e, StepReplanned)] == [True]
    sim.chain.room = 100
    await sim.settle()
    done = await sim.step(step_id)
    assert (done.status, done.tries) == (StepStatus.DONE, 1)
    assert len(await sim.attempts()) == 2
    await sim.check()


async def test_what_still_holds_is_left_alone():
    sim = Sim()
    step_id = await _waiting(sim, constraints=Constraints(max_slippage=Ppm(50_000)))
    shock(sim, 98)
    await sim.tick()
    assert len((await sim.attempts())[-1].signed) == 1
    sim.chain.room = 100
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_p3_what_finds_no_other_plan_gives_its_nonce_up_and_is_never_doubled():
    """A limit price: there is no plan below it, so the nonce is used up for 21,000 gas."""
    sim = Sim()
    limit = Limit(numerator=1_950 * DOLLAR, denominator=ETHER)
    step_id = await _waiting(sim, constraints=Constraints(limit=limit))
    shock(sim)
    await sim.tick()
    swap = (await sim.attempts())[-1]
    assert swap.newest.cancel
    sim.chain.room = 100
    await sim.settle()
    assert (await sim.attempts())[-1].status is AttemptStatus.CANCELLED
    assert (await sim.step(step_id)).status is StepStatus.READY
    assert await sim.available(WETH) == 500 * ETHER
    await sim.check(ended=False)


async def test_p11_an_heir_asks_the_node_about_plans_that_it_never_saw():
    sim = Sim()
    step_id = await _waiting(sim, constraints=TIGHT)
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("heir")
    shock(sim)
    await sim.executor.start()
    await sim.tick(2)
    swap = (await sim.attempts())[-1]
    assert len(swap.signed) == 2
    sim.chain.room = 100
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_plans_are_changed_only_so_often():
    sim = Sim(bounded(stall_blocks=100))
    await _waiting(sim, constraints=TIGHT)
    for _ in range(20):
        shock(sim, 98)
        await sim.tick()
    swap = (await sim.attempts())[-1]
    assert swap.newest.cancel
    assert len(swap.signed) <= 9
    sim.chain.room = 100
    await sim.settle(20)
    await sim.check()


# Trying again before the revert is final


async def _reverted(sim: Sim, **more):
    """Have a swap that reverted in the newest block; return its step and the pools before."""
    step_id = await sim.add(ETHER, constraints=TIGHT, **more)
    await sim.executor.turn()
    calm = dict(sim.chain.newest.after.pools)
    shock(sim, 98)
    await sim.tick()
    return step_id, calm


async def test_p3_a_sale_is_tried_again_at_once_on_the_allowance_it_left():
    sim = Sim(bounded(reorg_depth=12))
    await sim.ready()
    step_id, _ = await _reverted(sim)
    again = await sim.step(step_id)
    assert (again.status, again.tries) == (StepStatus.WORKING, 2)
    attempts = await sim.attempts()
    assert [a.purpose for a in attempts] == [Purpose.APPROVAL, Purpose.SWAP, Purpose.SWAP]
    await sim.tick()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.settle(14)
    await sim.check()
    assert sim.chain.newest.after.allowed[WETH.address, ACCOUNT, ROUTER] == 0


@pytest.mark.parametrize("blocks", [1, 2, 5])
async def test_p3_p7_when_the_first_try_comes_back_the_second_can_only_revert(blocks):
    """The chain itself rules out both: they draw on one exact allowance."""
    sim = Sim(bounded(reorg_depth=12))
    await sim.ready()
    before = sim.chain.newest.head.number
    step_id, calm = await _reverted(sim)
    await sim.tick(blocks)
    depth = sim.chain.newest.head.number - before
    sim.chain.blocks[before].after.pools = calm
    sim.chain.reorganise(depth, keep=True)
    await sim.executor.on_head(sim.chain.newest.head)
    await sim.settle(20)
    done = await sim.step(step_id)
    assert done.status is StepStatus.DONE
    first, second = [a for a in await sim.attempts() if a.purpose is Purpose.SWAP]
    assert (first.status, second.status) == (AttemptStatus.FINAL, AttemptStatus.FINAL_REVERTED)
    assert second.detail == "STF"
    await sim.check()


async def test_p3_p7_the_second_try_that_came_first_is_withdrawn_for_the_first():
    """Both histories in turn: only the second landed, then only the first."""
    sim = Sim(bounded(reorg_depth=12))
    await sim.ready()
    step_id, calm = await _reverted(sim)
    await sim.tick(3)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    sim.chain.blocks[-5].after.pools = calm
    sim.chain.reorganise(4, keep=True)
    await sim.executor.on_head(sim.chain.newest.head)
    assert (await sim.step(step_id)).status is StepStatus.WORKING
    await sim.settle(20)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_p3_p7_a_second_try_whose_step_is_done_is_not_planned_anew():
    """The first try came back and filled the step; what waits behind it has nothing left to do."""
    sim = Sim(bounded(reorg_depth=12))
    await sim.ready()
    before = sim.chain.newest.head.number
    step_id, calm = await _reverted(sim)
    depth = sim.chain.newest.head.number - before
    sim.chain.blocks[before].after.pools = calm
    sim.chain.reorganise(depth, keep=True)
    await sim.executor.on_head(sim.chain.newest.head)
    sim.chain.room = 2
    await sim.tick()
    sim.chain.room = 0
    sim.executor.lanes[0].plans.clear()
    await sim.tick(2)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    second = (await sim.attempts())[-1]
    assert second.newest.cancel
    sim.chain.room = 100
    await sim.settle(20)
    await sim.check()


@pytest.mark.parametrize("why", ["purchase", "another draws", "token"])
async def test_p3_without_that_proof_a_retry_waits_until_the_revert_is_final(why):
    rules = bounded(reorg_depth=12)
    if why == "token":
        rules = replace(rules, zero_first=frozenset({WETH.address}))
    sim = Sim(rules)
    await sim.ready()
    if why == "another draws":
        await sim.add(ETHER, constraints=Constraints(max_slippage=Ppm(90_000)))
    if why == "purchase":
        step_id = await sim.add(2_000 * DOLLAR, side=Side.BUY, constraints=TIGHT)
        await sim.executor.turn()
        shock(sim, 98)
        await sim.tick()
    else:
        step_id, _ = await _reverted(sim)
    assert (await sim.step(step_id)).tries == 1
    await sim.tick(11)
    assert (await sim.step(step_id)).tries == 1
    await sim.tick(3)
    assert (await sim.step(step_id)).tries == 2
    await sim.settle(20)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_p3_a_last_try_is_not_repeated():
    sim = Sim(bounded(reorg_depth=2, max_tries=2))
    await sim.ready()
    step_id, _ = await _reverted(sim)
    shock(sim, 97)
    await sim.settle(8)
    failed = await sim.step(step_id)
    assert (failed.status, failed.tries) == (StepStatus.FAILED, 2)
    assert USDC not in {h.asset for h in await sim.store.holdings("desk") if h.bucket == "reserved"}
    await sim.check()


# What gas may cost

GWEI = 10**9


async def test_gas_above_what_an_intent_allows_is_waited_for():
    sim = Sim()
    await sim.ready()
    capped = await sim.add(constraints=Constraints(max_fee_wei=3 * GWEI))
    free = await sim.add()
    sim.clock.advance(1_000)
    await sim.executor.on_head(sim.chain.mine(base_fee_wei=5 * GWEI))
    assert (await sim.step(capped)).status is StepStatus.READY
    assert (await sim.step(free)).status is StepStatus.WORKING
    await sim.tick()
    sim.clock.advance(1_000)
    await sim.executor.on_head(sim.chain.mine(base_fee_wei=GWEI))
    await sim.settle()
    assert (await sim.step(capped)).status is StepStatus.DONE
    for attempt in await sim.store.attempts_of([capped]):
        assert all(signed.max_fee_wei <= 3 * GWEI for signed in attempt.signed)
    await sim.check()


async def test_a_replacement_stays_under_it_and_only_giving_up_may_cost_more():
    sim = Sim(bounded(lifetime_ms=12_000))
    await sim.ready()
    step_id = await sim.add(constraints=Constraints(max_fee_wei=3 * GWEI), window_ms=12_000)
    sim.chain.room = 0
    await sim.executor.turn()
    for _ in range(10):
        sim.clock.advance(1_000)
        await sim.executor.on_head(sim.chain.mine(base_fee_wei=9 * GWEI))
    versions = [s for a in await sim.store.attempts_of([step_id]) for s in a.signed]
    assert all(signed.max_fee_wei <= 3 * GWEI for signed in versions)
    for _ in range(4):
        sim.clock.advance(1_000)
        await sim.executor.on_head(sim.chain.mine(base_fee_wei=9 * GWEI))
    swap = (await sim.attempts())[-1]
    assert swap.newest.cancel
    assert swap.newest.max_fee_wei > 3 * GWEI
