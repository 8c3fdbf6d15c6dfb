"""Strategy hosts on the real database: racing, dying in the middle, woken by the journal."""

from __future__ import annotations

import asyncio
import random

from sep_ray.engine.strategies import Limits, StrategyHost
from sep_ray.kernel.clock import ManualClock
from sep_ray.strategy.runner import Saved
from tests.fixtures.stores import PostgresWorld
from tests.fixtures.strategies import START, TOKENS, Stage, everything
from tests.simulation.test_strategies_host import DIARY, PAIR

BLOCKS = 30


async def new_host(world: PostgresWorld, stage: Stage) -> StrategyHost:
    """A host as another process has it: with connections of its own."""
    limits = Limits(poll_s=0.05, rest_s=0.0)
    return StrategyHost(await world.another(), stage.clock, TOKENS, everything, None, limits)


async def test_p3_p5_racing_hosts_that_die_at_any_moment_decide_each_block_once(
    postgres_world: PostgresWorld,
) -> None:
    chance = random.Random(11)
    stage = Stage(clock=ManualClock(START), store=postgres_world.store)
    names = ("one", "two", "three")
    for name in names:
        await stage.enrol(name, "d.py:Diary", DIARY, **PAIR, buy_at=1_900)
    stop = asyncio.Event()
    hosts = [await new_host(postgres_world, stage) for _ in range(3)]
    running = {n: asyncio.create_task(hosts[n].run(stop)) for n in range(3)}
    await asyncio.sleep(0.3)
    for _ in range(BLOCKS):
        await stage.mine(1_900)
        await asyncio.sleep(chance.random() / 50)
        victim = chance.randrange(3)
        running[victim].cancel()
        await asyncio.gather(running[victim], return_exceptions=True)
        limits = Limits(poll_s=0.05, rest_s=0.0)
        fresh = StrategyHost(hosts[victim]._store, stage.clock, TOKENS, everything, None, limits)
        hosts[victim] = fresh
        running[victim] = asyncio.create_task(fresh.run(stop))
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*running.values())
    for name in names:
        kept = await stage.store.load_state(name)
        assert kept is not None
        saved = Saved.read(kept[0])
        blocks, intents = saved.state["blocks"], await stage.intents(name)
        assert blocks == sorted(set(blocks))
        assert len(blocks) >= BLOCKS - 1  # the first may have come before the strategy
        assert [str(record.intent.id) for record in intents] == saved.state["submitted"]
        assert len(intents) == len(blocks)


async def test_an_event_in_the_database_wakes_a_host(postgres_world: PostgresWorld) -> None:
    stage = Stage(clock=ManualClock(START), store=postgres_world.store)
    limits = Limits(poll_s=30.0, rest_s=0.0)
    host = StrategyHost(
        await postgres_world.another(), stage.clock, TOKENS, everything, None, limits
    )
    stop = asyncio.Event()
    running = asyncio.create_task(host.run(stop))
    await asyncio.sleep(0.3)
    await stage.enrol("diary", "d.py:Diary", DIARY, **PAIR)
    for _ in range(100):
        if host.health()["strategies"]:
            break
        await asyncio.sleep(0.02)
    assert host.health()["strategies"]
    stop.set()
    await asyncio.wait_for(running, 5.0)
