"""A process that is paused, wherever that happens, and wakes when another leads (P5)."""

import asyncio

import pytest

from sep_ray.engine.lane import LaneState
from sep_ray.journal.records import LeaseLost
from sep_ray.kernel.clock import Millis
from tests.fixtures.execution import ETHER, Gate, Sim


class Pause(Gate):
    """Holds its process at one awaited call, before or after its effect, until it is let go.

    What runs beside that call is held as well, at its next call or answer.
    """

    def __init__(self, at: int | None, *, after: bool = False) -> None:
        super().__init__(at=at, after=after)
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def through(self, name, call):
        self.calls += 1
        self.names.append(name)
        here = self.calls == self.at
        await self._sleep(here and not self.after)
        done = await call()
        await self._sleep(here and self.after)
        return done

    async def _sleep(self, now):
        if now:
            self.reached.set()
        if self.reached.is_set():
            await self.go.wait()


async def _sleeper(at, *, after):
    """Pause the first process at a call; let another take over; wake the first.

    Return at which call it slept, and what it began to call after it woke.
    """
    sim = Sim()
    await sim.ready()
    await sim.executor._leadership.release()
    pause = Pause(at, after=after)
    old = sim.new_executor("old", pause)
    await sim.add(2 * ETHER)
    work = asyncio.create_task(_work(old))
    woken = asyncio.create_task(pause.reached.wait())
    await asyncio.wait({work, woken}, return_when=asyncio.FIRST_COMPLETED)
    woken.cancel()
    if not pause.reached.is_set():
        await work
        return None
    asleep = len(pause.names)
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("new")
    await sim.executor.start()
    await sim.tick()
    pause.go.set()
    await work
    await sim.settle()
    assert sim.state == LaneState.READY
    await sim.check()
    return pause.names[at - 1], set(pause.names[asleep:])


async def _work(executor):
    await executor.start()
    await executor.turn()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_p5_who_slept_through_its_lease_signs_and_broadcasts_nothing(after):
    """P5: at every call of a turn; only the very call in whose middle it slept can still go out."""
    slept = []
    at = 1
    while (found := await _sleeper(at, after=after)) is not None:
        where, done = found
        slept.append(where)
        assert not done & {"MemoryChain.send", "MemorySigner.sign"}, (at, where)
        at += 1
    assert {"MemoryChain.send", "MemorySigner.sign", "MemoryStore.stands"} <= set(slept)
    assert len(slept) > 20


async def test_p5_the_epoch_is_asked_of_the_database_before_signing_and_before_sending():
    """P5: a clock that lies about the lease does not help."""
    sim = Sim()
    await sim.ready()
    old, lane = sim.executor, sim.executor.lanes[0]
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("second")
    await sim.executor.on_head(sim.chain.mine())
    lane.sure_until = Millis(sim.clock.at + 10**9)
    with pytest.raises(LeaseLost, match="another process"):
        await old._launcher._entitlement.to_send(lane)
    await sim.add()
    assert await old.turn() == 0
    assert not await sim.attempts()
