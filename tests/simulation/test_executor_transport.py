"""Transport errors that keep coming: jobs given up before they are sent, and no counter that cares.

OpenZeppelin's relayer reserves a nonce for a job and then loses the job to a transport error: its
counter runs ahead of the chain and every later transaction waits behind the gap for ever (its
report 843, met at twelve such errors a minute). Here a nonce exists with durable bytes or not at
all, so there is nothing to drift.
"""

from random import Random

import pytest

from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.lane import LaneState
from sep_ray.execution.verdict import Indeterminate
from sep_ray.kernel.errors import Transient
from tests.fixtures.execution import ACCOUNT, DOLLAR, ETHER, USDC, WETH, Sim

MINUTES = 3
ERRORS_A_MINUTE = 12
READS = ("state", "allowances", "receipts", "headers", "head", "read", "usual_tip")


class Wire:
    """A chain behind a connection that breaks: in bad seconds, calls of these names are lost."""

    def __init__(self, chain, names):
        self._chain = chain
        self._names = names
        self.bad = False
        self.lost = 0

    def __getattr__(self, name):
        found = getattr(self._chain, name)
        if name not in self._names:
            return found

        async def call(*args):
            if not self.bad:
                return await found(*args)
            self.lost += 1
            if name == "send":
                return tuple(Indeterminate("connection reset") for _ in args[0])
            raise Transient("connection reset")

        return call


@pytest.mark.parametrize(
    "names", [READS, ("send",), (*READS, "send")], ids=["before", "at", "before and at"]
)
async def test_openzeppelin_843_transport_errors_before_sending_leave_no_drift_and_no_jam(names):
    """P3, P4, P12: twelve errors a minute for minutes; drift 0, no jam, every step done."""
    sim, chance = Sim(), Random(843)
    wire = Wire(sim.chain, names)
    sim.executor = sim.new_executor("wired", chain=wire)
    await sim.ready()
    seconds = MINUTES * 60
    bad = {
        minute * 60 + second
        for minute in range(MINUTES)
        for second in chance.sample(range(60), ERRORS_A_MINUTE)
    }
    longest_wait = waiting = 0
    for second in range(seconds):
        wire.bad = second in bad
        if second % 3 == 0:
            sells = second % 2 == 0
            await sim.add(
                ETHER if sells else 2_000 * DOLLAR,
                sell=WETH if sells else USDC,
                buy=USDC if sells else WETH,
            )
        await sim.executor.turn()
        await sim.tick()
        landed = sim.chain.newest.after.nonces.get(ACCOUNT, 0)
        waiting = waiting + 1 if sim.executor.lanes[0].next_nonce > landed else 0
        longest_wait = max(longest_wait, waiting)
    wire.bad = False
    await sim.settle()
    lane = sim.executor.lanes[0]
    mined = sim.chain.newest.after.nonces[ACCOUNT]
    attempts = await sim.attempts()
    assert len(bad) == MINUTES * ERRORS_A_MINUTE
    assert wire.lost > 0
    assert lane.next_nonce == mined == len({a.nonce for a in attempts}), "drift"
    assert [a.nonce for a in attempts if not a.inclusion] == []
    assert lane.state is LaneState.READY
    assert longest_wait < 30, "jammed"
    for step_id in sim.steps:
        assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()
