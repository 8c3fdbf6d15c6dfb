"""The executor on a chain in memory: what an ordinary day looks like, and refusals."""

from dataclasses import replace

from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.lane import LaneState
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.intent.intent import Constraints, Limit, Side
from sep_ray.intent.states import Reason
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import Ppm
from sep_ray.simulation.market import ACCOUNT, COIN, DAI, DOLLAR, ETHER, USDC, WETH, market
from tests.fixtures.execution import Sim


async def test_a_sale_is_filled_as_it_was_quoted():
    sim = Sim()
    await sim.ready()
    assert sim.state == LaneState.READY
    step_id = await sim.add(3 * ETHER)
    assert await sim.executor.turn() == 2  # an approval and a swap
    started = await sim.step(step_id)
    assert (started.status, started.reserved) == (StepStatus.WORKING, 3 * ETHER)
    await sim.tick()
    done = await sim.step(step_id)
    assert done.status is StepStatus.DONE
    assert (done.sold, done.bought) == (3 * ETHER, done.quoted)
    assert await sim.available(USDC) == 1_000_000 * DOLLAR + done.bought
    await sim.settle()
    assert [a.status for a in await sim.attempts()] == [AttemptStatus.FINAL] * 2
    await sim.check()


async def test_a_purchase_reserves_its_limit_and_returns_the_rest():
    sim = Sim()
    await sim.ready()
    step_id = await sim.add(10_000 * ETHER, sell=USDC, buy=DAI, side=Side.BUY)
    await sim.tick()
    working = await sim.step(step_id)
    assert working.reserved > working.quoted
    await sim.settle()
    done = await sim.step(step_id)
    assert (done.bought, done.sold) == (10_000 * ETHER, done.quoted)
    assert await sim.available(USDC) == 1_000_000 * DOLLAR - done.sold
    await sim.check()


async def test_many_steps_of_one_round_share_one_approval_and_are_quoted_one_after_another():
    sim = Sim()
    await sim.ready()
    steps = [await sim.add((n + 1) * ETHER, priority=20.0 - n) for n in range(20)]
    assert await sim.executor.turn() == 21
    await sim.tick()
    done = [await sim.step(step_id) for step_id in steps]
    assert all(step.status is StepStatus.DONE for step in done)
    assert all(step.bought == step.quoted for step in done)
    attempts = await sim.attempts()
    assert [a.nonce for a in attempts] == list(range(21))
    assert [a.purpose for a in attempts] == [Purpose.APPROVAL] + [Purpose.SWAP] * 20
    await sim.settle()
    await sim.check()


async def test_priority_decides_the_order():
    sim = Sim(replace(Sim().rules, round_size=1))
    await sim.ready()
    low, high = await sim.add(priority=1.0), await sim.add(priority=9.0)
    await sim.executor.turn()
    nonces = {a.step_id: a.nonce for a in await sim.attempts() if a.purpose is Purpose.SWAP}
    assert nonces[high] < nonces[low]


async def test_funds_on_their_way_are_waited_for_and_missing_ones_are_not():
    sim = Sim()
    await sim.ready()
    sale = await sim.add(10 * ETHER, sell=WETH, buy=DAI, priority=2.0)
    purchase = await sim.add(5_000 * ETHER, sell=DAI, buy=USDC)
    await sim.tick()
    assert (await sim.step(sale)).status is StepStatus.WORKING
    assert (await sim.step(purchase)).status is StepStatus.READY
    await sim.settle()
    assert (await sim.step(purchase)).status is StepStatus.DONE
    poor = await sim.add(10**9 * ETHER, sell=DAI, buy=USDC)
    await sim.tick()
    failed = await sim.step(poor)
    assert failed.status is StepStatus.FAILED
    assert failed.reason in (Reason.INSUFFICIENT_BALANCE, Reason.NO_ROUTE)
    await sim.check()


async def test_what_cannot_be_routed_fails_with_a_reason():
    sim = Sim()
    await sim.ready()
    too_much = await sim.add(10**30, sell=WETH, buy=USDC)
    no_venue = await sim.add(constraints=Constraints(venues=frozenset({"uniswap-v3"})))
    no_gas = await sim.add(constraints=Constraints(max_gas=21_000))
    broke = await sim.add(501 * ETHER)
    await sim.tick()
    reasons = [(await sim.step(s)).reason for s in (too_much, no_venue, no_gas, broke)]
    assert reasons[1:] == [Reason.NO_ROUTE, Reason.GAS_LIMIT, Reason.INSUFFICIENT_BALANCE]
    assert reasons[0] in (Reason.NO_ROUTE, Reason.INSUFFICIENT_BALANCE)
    assert not await sim.attempts()
    await sim.check()


async def test_a_limit_price_is_waited_for_until_the_deadline():
    sim = Sim()
    await sim.ready()
    dear = Constraints(limit=Limit(numerator=2_100 * DOLLAR, denominator=ETHER))
    step_id = await sim.add(constraints=dear, window_ms=60_000)
    other = await sim.add()
    await sim.tick(3)
    assert (await sim.step(step_id)).status is StepStatus.READY
    assert (await sim.step(other)).status is StepStatus.DONE
    pool = sim.chain.newest.after.pools
    for address, pair in list(pool.items()):
        if {pair.token0, pair.token1} == {WETH.address, USDC.address}:
            pool[address] = replace(pair, reserve1=pair.reserve1 * 12 // 10)
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_a_move_of_the_price_reverts_and_a_purchase_tries_again_when_that_is_final():
    """P3: a reverted transaction may come back with a reorganisation, so a retry waits for it."""
    sim = Sim()
    await sim.ready()
    tight = Constraints(max_slippage=Ppm(1_000))
    step_id = await sim.add(9_000 * DOLLAR, side=Side.BUY, constraints=tight)
    await sim.executor.turn()
    before = dict(sim.chain.newest.after.pools)
    for address, pair in before.items():
        sim.chain.newest.after.pools[address] = replace(pair, reserve1=pair.reserve1 * 9 // 10)
    await sim.tick()
    assert (await sim.step(step_id)).status is StepStatus.WORKING
    swap = (await sim.attempts())[-1]
    assert (swap.status, swap.detail) == (AttemptStatus.REVERTED, "Too much requested")
    await sim.tick()
    assert (await sim.step(step_id)).status is StepStatus.WORKING
    await sim.tick()
    retried = await sim.step(step_id)
    assert (retried.status, retried.tries) == (StepStatus.WORKING, 2)
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_a_step_that_always_reverts_fails_after_its_tries():
    sim = Sim(pools=market()[:1])
    await sim.ready()
    step_id = await sim.add(5 * ETHER, constraints=Constraints(max_slippage=Ppm(1_000)))
    for _ in range(20):
        await sim.executor.turn()
        for address, pair in list(sim.chain.newest.after.pools.items()):
            sim.chain.newest.after.pools[address] = replace(
                pair, reserve1=pair.reserve1 * 98 // 100
            )
        await sim.tick()
    failed = await sim.step(step_id)
    assert (failed.status, failed.reason, failed.tries) == (
        StepStatus.FAILED,
        Reason.REVERTED,
        sim.rules.max_tries,
    )
    assert failed.detail == "Too little received"
    assert failed.reserved == 0
    await sim.settle()
    await sim.check()


async def test_without_coin_for_gas_nothing_is_sent_and_with_it_all_is():
    sim = Sim()
    await sim.ready(COIN=10**9)
    step_id = await sim.add()
    await sim.tick(2)
    assert (await sim.step(step_id)).status is StepStatus.READY
    sim.chain.fund(ACCOUNT, COIN.address, ETHER)
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_a_dry_run_plans_and_prices_and_sends_nothing():
    from sep_ray.engine.planning import Trade
    from sep_ray.routing.plan import Plan
    from sep_ray.routing.reasons import NoRoute

    sim = Sim()
    await sim.ready()
    trade = Trade(sell=WETH, buy=USDC, amount=ETHER, side=Side.SELL, constraints=Constraints())
    plan = await sim.executor.quote(trade)
    assert isinstance(plan, Plan)
    assert 1_980 * DOLLAR < plan.amount_out < 2_000 * DOLLAR
    nothing = await sim.executor.quote(replace(trade, buy=WETH))
    assert isinstance(nothing, NoRoute)
    prices = sim.executor.market.prices(USDC)
    assert prices[USDC] == (1, 1)
    assert prices[WETH] == prices[COIN]
    numerator, denominator = prices[WETH]
    assert numerator * ETHER // denominator == 2_000 * DOLLAR
    assert not await sim.attempts()
    ticks = await sim.store.recent_ticks(WETH.chain_id, WETH, USDC, 10)
    assert [t.block_number for t in ticks] == list(range(1, len(ticks) + 1))


async def test_nothing_begins_while_the_market_cannot_be_read():
    sim = Sim()
    await sim.ready()
    step_id = await sim.add()
    sim.chain.blind = True
    await sim.tick(2)
    assert (await sim.step(step_id)).status is StepStatus.READY
    sim.chain.blind = False
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_nothing_is_sent_on_pools_that_could_not_be_confirmed(monkeypatch):
    sim = Sim()
    await sim.ready()
    step_id = await sim.add(2 * ETHER)

    async def cut_off(head, pools):
        raise Transient("no answer")

    with monkeypatch.context() as cut:
        cut.setattr(sim.chain, "confirm", cut_off)
        await sim.executor.turn()
    assert (await sim.step(step_id)).status is StepStatus.READY
    assert not await sim.attempts()
    await sim.tick(2)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()
