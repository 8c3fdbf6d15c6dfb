"""Crashes at every awaited call, two processes at once, lost answers: once, and only once."""

import asyncio
import contextlib
from typing import Any

import pytest

from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.lane import LaneState
from sep_ray.execution.attempt import AttemptPrepared, AttemptStatus
from sep_ray.execution.verdict import Accepted, Indeterminate
from sep_ray.intent.intent import Constraints, Side
from sep_ray.journal.records import LeaseLost
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Indeterminate as IndeterminateError
from sep_ray.kernel.errors import InvariantBroken, Transient
from sep_ray.kernel.units import Ppm
from sep_ray.simulation.market import DAI, ETHER, USDC
from sep_ray.simulation.process import Crash
from tests.fixtures.execution import Gate, Sim, shock


async def _day(sim: Sim, gate: Gate) -> None:
    """A few blocks with sales, a purchase, a revert and a reorganisation; or death before."""
    sim.executor = sim.new_executor("doomed", gate)
    await sim.executor.start()
    await sim.add(2 * ETHER)
    await sim.add(3 * ETHER, priority=2.0)
    await sim.add(1_000 * ETHER, sell=USDC, buy=DAI, side=Side.BUY)
    await sim.executor.turn()
    await sim.tick()
    await sim.add(ETHER, buy=DAI)
    await sim.add(ETHER, constraints=Constraints(max_slippage=Ppm(1_000)))
    await sim.executor.turn()
    shock(sim)
    await sim.tick()
    sim.chain.reorganise(2)
    await sim.tick(5)


async def _funded() -> Sim:
    sim = Sim()
    await sim.ready()
    await sim.executor._leadership.release()
    return sim


async def _crash_at(at: int, *, after: bool) -> str | None:
    """Run the day, die at one call, start another process; return where it died."""
    sim = await _funded()
    gate = Gate(at=at, after=after)
    with contextlib.suppress(Crash):
        await _day(sim, gate)
    if not gate.dead:
        return None
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("heir")
    await sim.executor.start()
    await sim.settle(25)
    assert sim.state == LaneState.READY
    await sim.check()
    return gate.names[at - 1]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_p3_p4_p11_a_crash_at_any_call_loses_nothing_and_repeats_nothing(after):
    """P3, P4, P11: at every await point, before its effect and after it."""
    died = []
    at = 1
    while (where := await _crash_at(at, after=after)) is not None:
        died.append(where)
        at += 1
    assert len(died) > 60
    assert {"MemoryStore.commit", "MemoryChain.send", "MemorySigner.sign"} <= set(died)


async def test_p4_signed_bytes_are_durable_before_the_node_hears_of_them():
    sim = await _funded()
    journalled: set[str] = set()

    seen: list[str] = []
    real = sim.chain.send

    async def send(signed, since=()):
        rows = await sim.store.tail(0, 1_000_000, 0.0)
        for row in rows:
            if isinstance(row.event, AttemptPrepared):
                journalled.update(s.tx_hash for s in row.event.attempt.signed)
        seen.extend(each.tx_hash for each in signed)
        assert {each.tx_hash for each in signed} <= journalled
        return await real(signed, since)

    sim.chain.send = send  # type: ignore[method-assign]
    sim.executor = sim.new_executor("watched")
    await sim.executor.start()
    await sim.add()
    await sim.settle()
    assert len(seen) == 2
    await sim.check()


async def test_p3_the_heir_sends_the_same_bytes_again():
    sim = await _funded()
    gate = Gate()
    sim.executor = sim.new_executor("doomed", gate)
    await sim.executor.start()
    await sim.add()
    calls = gate.calls
    await sim.executor.turn()
    sends = [n for n, name in enumerate(gate.names) if name == "MemoryChain.send"]
    assert sends
    sim = await _funded()
    gate = Gate(at=sends[-1] + 1)
    sim.executor = sim.new_executor("doomed", gate)
    await sim.executor.start()
    assert gate.calls == calls
    step_id = await sim.add()
    with pytest.raises(Crash):
        await sim.executor.turn()
    assert not sim.chain.pool
    prepared = await sim.attempts()
    assert [a.status for a in prepared] == [AttemptStatus.PREPARED] * 2
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("heir")
    await sim.executor.start()
    assert {tx.raw for tx in sim.chain.pool.values()} == {a.newest.raw for a in prepared}
    await sim.settle()
    assert (await sim.step(step_id)).attempt_id == prepared[1].id
    await sim.check()


async def test_p5_a_second_process_waits_and_takes_over_when_the_lease_ends():
    sim = Sim()
    await sim.ready()
    second = sim.new_executor("second")
    await second.start()
    assert second.status().lanes[0].state == LaneState.STANDBY
    step_id = await sim.add()
    await second.turn()
    assert not await sim.attempts()
    sim.clock.advance(sim.rules.lease_ttl_ms)
    await second.on_head(sim.chain.mine())
    assert second.lanes[0].state == LaneState.READY
    sim.executor = second
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_p5_who_lost_the_lease_neither_writes_nor_sends():
    """P5: the old holder sleeps past its lease and wakes while the new one works."""
    sim = Sim()
    await sim.ready()
    old, sim.executor = sim.executor, sim.new_executor("second")
    sim.clock.advance(sim.rules.lease_ttl_ms)
    await sim.executor.on_head(sim.chain.mine())
    await sim.add()
    with pytest.raises(LeaseLost):
        old.lanes[0].require(sim.clock.now())
    await old.turn()
    assert not await sim.attempts()
    assert old.lanes[0].state == LaneState.STANDBY
    await sim.settle()
    assert old.lanes[0].lease is None
    await sim.check()


async def test_p5_the_database_refuses_a_lost_epoch_even_when_the_clock_lies():
    sim = Sim()
    await sim.ready()
    old = sim.executor
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("second")
    await sim.executor.on_head(sim.chain.mine())
    old.lanes[0].sure_until = Millis(
        sim.clock.at + 10**9
    )  # it believes that it still holds the lease
    await sim.add()
    assert await old.turn() == 0
    assert old.lanes[0].lease is None
    assert not sim.chain.pool
    await sim.settle()
    await sim.check()


async def test_p5_a_lease_that_ends_between_writing_and_sending_stops_the_sending():
    sim = Sim()
    await sim.ready()
    old, real = sim.executor, sim.store.commit

    async def slow(commit):
        done = await real(commit)
        sim.clock.advance(sim.rules.lease_ttl_ms)
        return done

    await sim.add()
    sim.store.commit = slow
    await old.turn()
    sim.store.commit = real
    prepared = [a for a in await sim.attempts() if a.status is AttemptStatus.PREPARED]
    assert prepared
    assert not sim.chain.pool
    assert old.lanes[0].lease is None
    sim.executor = sim.new_executor("second")
    await sim.executor.start()
    assert {tx.raw for tx in sim.chain.pool.values()} >= {a.newest.raw for a in prepared}
    await sim.settle()
    await sim.check()


async def test_two_processes_at_once_for_long_do_each_thing_once():
    """P3, P5: the lease changes hands in the middle of the work, again and again."""
    sim = Sim()
    await sim.ready()
    others = [sim.executor, sim.new_executor("second"), sim.new_executor("third")]
    for turn in range(40):
        if turn % 3 == 0:
            await sim.add((turn % 5 + 1) * ETHER)
        if turn % 7 == 6:
            sim.clock.advance(sim.rules.lease_ttl_ms)
        sim.clock.advance(1_000)
        head = sim.chain.mine()
        for executor in others[turn % 3 :] + others[: turn % 3]:
            await executor.on_head(head)
            await executor.turn()
    holders = [e for e in others if e.lanes[0].lease is not None]
    assert len(holders) >= 1
    sim.executor = holders[0]
    for _ in range(25):
        await sim.tick()
    sim.clock.advance(sim.rules.lease_ttl_ms)
    await sim.settle()
    await sim.check()


async def test_p6_a_lost_answer_is_not_a_failure():
    sim = Sim()
    await sim.ready()
    real = sim.chain.send

    async def deaf(signed, since=()):
        await real(signed)
        return tuple(Indeterminate("reply was lost") for _ in signed)

    sim.chain.send = deaf  # type: ignore[method-assign]
    step_id = await sim.add()
    await sim.executor.turn()
    assert [a.status for a in await sim.attempts()] == [AttemptStatus.BROADCAST] * 2
    assert (await sim.step(step_id)).status is StepStatus.WORKING
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    assert len(await sim.attempts()) == 2
    await sim.check()


async def test_p6_what_never_arrived_is_sent_again_at_the_next_head():
    sim = Sim()
    await sim.ready()
    real = sim.chain.send

    async def hole(signed, since=()):
        return tuple(Indeterminate("reply was lost") for _ in signed)

    sim.chain.send = hole  # type: ignore[method-assign]
    step_id = await sim.add()
    await sim.executor.turn()
    sim.chain.send = real  # type: ignore[method-assign]
    assert not sim.chain.pool
    await sim.tick()
    assert len(sim.chain.pool) == 2
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


class Lost(IndeterminateError):
    """Nobody knows, and it did not happen."""


class Flaky:
    """A store whose database goes away: before a commit, or with its answer."""

    def __init__(self, inner, errors):
        self._inner, self._errors = inner, errors

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def commit(self, commit):
        error = self._errors.pop(0) if self._errors else None
        if isinstance(error, IndeterminateError) and not isinstance(error, Lost):
            await self._inner.commit(commit)
        if error is not None:
            raise error
        return await self._inner.commit(commit)


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("error", [Transient("down"), IndeterminateError("lost while committing")])
async def test_p6_a_database_that_goes_away_is_read_again(place, error):
    sim = await _funded()
    sim.store = Flaky(sim.store, [])
    sim.executor = sim.new_executor("unlucky")
    await sim.executor.start()
    for _ in range(3):
        await sim.add()
    sim.store._errors = [None] * place + [error]
    await sim.executor.turn()
    await sim.settle(20)
    await sim.check()


async def test_our_own_bug_ends_the_executor():
    sim = Sim()
    await sim.ready()

    async def nonsense(*_):
        raise InvariantBroken("two and two")

    sim.store.ready_steps = nonsense
    with pytest.raises(InvariantBroken):
        await sim.executor.turn()


async def test_run_follows_heads_and_hints_and_gives_the_lease_back():
    sim = await _funded()
    sim.executor = sim.new_executor("runner")
    stop = asyncio.Event()
    running = asyncio.create_task(sim.executor.run(stop))
    await _until(lambda: sim.executor.status().snapshot_block is not None)
    step_id = await sim.add()
    sim.executor.hint()
    await _until(lambda: len(sim.chain.pool) == 2)
    for _ in range(4):
        before = sim.executor.status().head
        sim.clock.advance(100)
        sim.chain.mine()
        await _until(lambda before=before: sim.executor.status().head != before)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    status = sim.executor.status()
    assert (status.lanes[0].state, status.lanes[0].epoch) == (LaneState.STANDBY, None)
    assert await sim.store.acquire(sim.executor.lanes[0].name, "next", 1_000) is not None


async def _until(check):
    for _ in range(2_000):
        if check():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never")


async def test_p7_what_could_not_be_withdrawn_is_not_made_final_on_an_old_receipt():
    """The withdrawal of a swap is lost on its way; by now its old block would be deep enough."""
    sim = await _funded()
    sim.store = Flaky(sim.store, [])
    sim.executor = sim.new_executor("unlucky")
    await sim.executor.start()
    step_id = await sim.add()
    await sim.executor.turn()
    await sim.tick()
    sim.chain.reorganise(1)
    for _ in range(sim.rules.confirmations):
        sim.chain.mine()
    sim.store._errors = [None, Lost("lost before committing")]
    await sim.executor.on_head(sim.chain.newest.head)
    finals = [a for a in await sim.attempts() if a.status is AttemptStatus.FINAL]
    assert not finals
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


class SlowFirst:
    """Leases whose first answer comes last."""

    def __init__(self, inner):
        self._inner, self._asked = inner, 0

    async def acquire(self, *args):
        self._asked += 1
        wait, lease = 3 if self._asked == 1 else 0, await self._inner.acquire(*args)
        for _ in range(wait):
            await asyncio.sleep(0)
        return lease


async def test_p5_a_lease_asked_for_twice_at_once_is_taken_once():
    sim = await _funded()
    executor = sim.new_executor("two-minds")
    leadership = executor._leadership
    leases: Any = SlowFirst(sim.store)
    leadership._leases = leases
    await asyncio.gather(leadership.take(), leadership.take())
    assert executor.lanes[0].fence in sim.store.fences()


async def test_p8_who_takes_over_with_an_old_head_in_hand_looks_at_a_new_one_first():
    """What the journal says rests on newer blocks: seen from the old one, gas is not yet paid."""
    sim = await _funded()
    sim.executor = sim.new_executor("first")
    await sim.executor.start()
    old = sim.chain.newest.head
    step_id = await sim.add()
    await sim.executor.turn()
    await sim.tick(sim.rules.reorg_depth + 2)
    await sim.executor._leadership.release()
    before = len(await sim.store.tail(0, 100_000, 0.0))
    sim.executor = sim.new_executor("late")
    await sim.executor.on_head(old)
    assert len(await sim.store.tail(0, 100_000, 0.0)) == before
    assert sim.state == LaneState.READY
    await sim.tick(2)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_p11_since_when_a_nonce_is_known_outlives_restarts_and_higher_fees():
    sim = Sim()
    await sim.ready()
    real, said = sim.chain.send, []

    async def hidden(signed, since=()):
        said.append(tuple(since))
        return tuple(Accepted() for _ in signed)

    sim.chain.send = hidden  # type: ignore[method-assign]
    await sim.add()
    await sim.executor.turn()
    first = sim.chain.newest.head.number
    assert said == [(None, None)]
    for name in ("second", "third"):
        await sim.tick(sim.rules.stall_blocks + 1)
        sim.executor = sim.new_executor(name)
        await sim.executor.start()
    assert any(len(each.signed) > 1 for each in await sim.attempts())
    assert {at for each in said[1:] for at in each} == {first}
    sim.chain.send = real  # type: ignore[method-assign]
    await sim.settle()
    await sim.check()
