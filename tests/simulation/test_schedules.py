"""Schedules that others lose: a slice that fails, a slice asked for twice, a restart halfway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sep_ray.decomposition.step import Step, StepStatus
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.intent.intent import CatchUp, Constraints, Intent, Schedule, Style
from sep_ray.intent.states import IntentRecord, Reason, Status
from sep_ray.journal.records import Submission
from sep_ray.kernel.units import Ppm
from sep_ray.pipeline import Pipeline
from sep_ray.simulation.market import ETHER
from tests.fixtures.execution import Sim, shock
from tests.simulation.test_pipeline import pipeline, wanted

SLICES = 4
AMOUNT = 4 * ETHER + 3


@pytest.fixture
async def sim() -> Sim:
    made = Sim()
    await made.ready()
    return made


def twap(sim: Sim, *, slippage: int = 50_000, rule: CatchUp = CatchUp.SPREAD) -> Intent:
    """Four sales of an ether each within a minute."""
    dispose = wanted(sim)[1]
    constraints = Constraints(
        max_slippage=Ppm(slippage),
        time_window_ms=60_000,
        style=Style.TWAP,
        schedule=Schedule(slices=SLICES, catch_up=rule),
    )
    return replace(dispose, amount=AMOUNT, constraints=constraints)


async def through(sim: Sim, platform: Pipeline, intent: Intent, blocks: int) -> IntentRecord:
    """Let so many blocks pass, the platform working on each."""
    for _ in range(blocks):
        await platform.turn()
        await sim.tick()
    record = await sim.store.intent(intent.id)
    assert record is not None
    return record


async def slices(sim: Sim, intent: Intent) -> Sequence[Step]:
    found: Sequence[Step] = await sim.store.steps_of([intent.id])
    sim.steps = [step.id for step in found]
    assert sum(step.amount for step in found) == intent.amount
    return found


async def begun(sim: Sim, intent: Intent) -> Pipeline:
    platform = pipeline(sim)
    await platform.start()
    await platform.submit([Submission(intent=intent, principal="p")])
    return platform


async def test_p2_p3_a_failed_slice_of_a_schedule_takes_nothing_else_with_it(sim: Sim) -> None:
    """Hummingbot's TWAP goes on counting a failed order as placed, or stops for good."""
    intent = twap(sim, slippage=1_000)
    platform = await begun(sim, intent)
    await through(sim, platform, intent, 3)
    shocks = 0
    while (await slices(sim, intent))[1].status is not StepStatus.FAILED:
        await platform.turn()
        if any(a.status is AttemptStatus.BROADCAST for a in await sim.attempts()):
            shock(sim, 97)  # each time it is on its way, the price runs from it
            shocks += 1
        await sim.tick()
        assert shocks < 40
    record = await through(sim, platform, intent, 70)
    found = await slices(sim, intent)
    done = [step for step in found if step.status is StepStatus.DONE]
    assert [step.status for step in found].count(StepStatus.FAILED) == 1
    assert len(done) == SLICES - 1
    assert (record.status, record.reason) == (Status.PARTIALLY_COMPLETED, Reason.REVERTED)
    assert record.sold == AMOUNT - found[1].amount == sum(step.sold for step in done)
    await sim.check()


async def test_p3_a_slice_that_is_pending_is_not_sent_again_however_often_it_is_asked_for(
    sim: Sim,
) -> None:
    """Hummingbot calls swap again while the first one is pending."""
    intent = twap(sim)
    platform = await begun(sim, intent)
    sim.chain.room = 0  # nothing lands
    for _ in range(6):
        await platform.turn()
        platform.router.hint([intent.id])
        await asyncio.gather(*(sim.executor.turn() for _ in range(5)))
        await sim.executor.on_head(sim.chain.newest.head)
    swaps = [a for a in await sim.attempts() if a.purpose is Purpose.SWAP]
    assert len(swaps) == 1
    sim.chain.room = 100
    record = await through(sim, platform, intent, 80)
    assert (record.status, record.sold) == (Status.COMPLETED, AMOUNT)
    await slices(sim, intent)
    await sim.check()


@pytest.mark.parametrize("rule", CatchUp)
@pytest.mark.parametrize("asleep_ms", [500, 20_000])
async def test_p11_a_restart_in_the_middle_of_a_schedule_goes_on_with_what_is_left(
    sim: Sim, rule: CatchUp, asleep_ms: int
) -> None:
    """Nautilus' TWAP keeps its schedule in memory: after a restart the rest never comes."""
    intent = twap(sim, rule=rule)
    platform = await begun(sim, intent)
    await through(sim, platform, intent, 18)
    before = [step for step in await slices(sim, intent) if step.status is StepStatus.DONE]
    assert 1 <= len(before) < SLICES
    await sim.executor._leadership.release()
    sim.clock.advance(asleep_ms)
    sim.executor = sim.new_executor("after the restart")
    platform = pipeline(sim)
    await platform.start()
    record = await through(sim, platform, intent, 80)
    found = await slices(sim, intent)
    skipped = [step for step in found if step.status is StepStatus.SKIPPED]
    assert record.sold == AMOUNT - sum(step.amount for step in skipped)
    assert record.status is (Status.PARTIALLY_COMPLETED if skipped else Status.COMPLETED)
    assert all(step.tries <= 1 for step in found)
    await sim.check(ended=False)
