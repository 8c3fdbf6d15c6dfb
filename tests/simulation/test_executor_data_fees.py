"""On a rollup the bytes cost too: planned with, checked against, paid for and booked to the wei."""

from dataclasses import replace

from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.planning import Trade
from sep_ray.execution.attempt import Purpose
from sep_ray.execution.ports import DataCost
from sep_ray.intent.intent import Constraints
from sep_ray.intent.states import Reason
from sep_ray.kernel.errors import Transient
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.reasons import Reason as RouteReason
from tests.fixtures.execution import ETHER, Sim

DATA_WEI = 3 * 10**14


class Oracle:
    """Says the same of every call."""

    def __init__(self, cost):
        self.cost = cost

    async def costs(self, calls, at):
        return tuple(self.cost for _ in calls)


def asks(sim, oracle):
    """Let the executor ask an oracle."""
    executor = sim.executor
    executor.market._world = replace(executor.market._world, data_fees=oracle)
    return executor


async def test_p8_what_the_bytes_cost_is_booked_and_the_ledger_agrees():
    """P8: wei beside the gas are taken from the coin, and given back by a reorganisation."""
    sim = Sim()
    await sim.ready()
    sim.chain.data_fee_wei = DATA_WEI
    asks(sim, sim.chain)
    step_id = await sim.add(2 * ETHER)
    await sim.tick(2)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim._check_ledger()
    landed = [r for block in sim.chain.blocks for r in block.receipts if r.data_fee_wei]
    assert landed
    assert all(a.inclusion.data_fee_wei == DATA_WEI for a in await sim.attempts())
    sim.chain.reorganise(1)
    await sim.executor.on_head(sim.chain.newest.head)
    await sim._check_ledger()
    await sim.settle()
    await sim.check()


async def test_a_plan_counts_what_the_bytes_cost():
    sim = Sim()
    await sim.ready()
    trade = Trade.of(await sim.step(await sim.add(2 * ETHER)))
    free = await sim.executor.quote(trade)
    executor = asks(sim, Oracle(DataCost(wei=DATA_WEI)))
    await sim.executor.on_head(sim.chain.newest.head)
    dear = await executor.quote(trade)
    assert not isinstance(free, NoRoute)
    assert not isinstance(dear, NoRoute)
    assert dear.amount_out == free.amount_out
    assert dear.gas_estimate == free.gas_estimate
    assert dear.gas_cost is not None
    assert free.gas_cost is not None
    lost = dear.gas_cost - free.gas_cost
    assert abs(lost - 2_000 * 10**6 * DATA_WEI // ETHER) <= 10**4
    assert free.net - dear.net == lost


async def test_most_gas_bounds_execution_and_bytes_together():
    sim = Sim()
    await sim.ready()
    step_id = await sim.add(ETHER, constraints=Constraints(max_gas=400_000))
    step = await sim.step(step_id)
    asks(sim, Oracle(DataCost(gas=300_000)))
    await sim.executor.on_head(sim.chain.newest.head)
    found = await sim.executor.quote(Trade.of(step))
    assert isinstance(found, NoRoute)
    assert found.reason is RouteReason.GAS_ABOVE_MAXIMUM
    await sim.executor.turn()
    assert (await sim.step(step_id)).reason is Reason.GAS_LIMIT


async def test_gas_limits_leave_room_for_the_bytes():
    sim = Sim()
    await sim.ready()
    before = await sim.add(ETHER)
    await sim.tick(3)
    asks(sim, Oracle(DataCost(gas=50_000)))
    after = await sim.add(ETHER)
    await sim.tick(3)
    limits = {
        a.step_id: a.newest.gas_limit for a in await sim.attempts() if a.purpose is Purpose.SWAP
    }
    assert limits[after] - limits[before] == 50_000
    await sim.settle()
    await sim.check()


async def test_what_cannot_be_priced_is_not_sent():
    class Silent:
        async def costs(self, calls, at):
            raise Transient("the oracle does not answer")

    sim = Sim()
    await sim.ready()
    asks(sim, Silent())
    step_id = await sim.add(ETHER)
    await sim.tick(2)
    assert (await sim.step(step_id)).status is StepStatus.READY
    asks(sim, Oracle(DataCost(wei=1)))
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
