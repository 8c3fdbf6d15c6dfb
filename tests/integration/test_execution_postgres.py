"""The executor with its real journal: two processes on one database, and a database that dies."""

import asyncio

import asyncpg

from sep_ray.adapters.evm.addresses import ARBITRUM
from sep_ray.adapters.postgres import PostgresStore, migrate
from sep_ray.decomposition.step import StepStatus
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.kernel.clock import SystemClock
from tests.integration.test_execution_swaps import desk


async def _ended(at, steps):
    found = [await at.store.step(step_id) for step_id in steps]
    return all(step.status is StepStatus.DONE for step in found)


async def _until(check, seconds=60.0):
    deadline = asyncio.get_running_loop().time() + seconds
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.05)


async def _exactly_once(at, steps):
    """P3: each step has one swap that landed, all nonces are used once, and the sums are right."""
    attempts = await at.store.attempts_of(steps)
    landed = [
        a
        for a in attempts
        if a.purpose is Purpose.SWAP and a.status in (AttemptStatus.INCLUDED, AttemptStatus.FINAL)
    ]
    assert sorted(a.step_id for a in landed) == sorted(steps)
    assert len({a.nonce for a in attempts}) == len(attempts)
    await at.reconcile()


async def test_p5_two_processes_on_one_database_take_turns(new_chains, database_url):
    """The first holds the lease; the second takes over when the first falls silent."""
    store = await PostgresStore.connect(database_url, clock=SystemClock())
    rules = {"lease_ttl_ms": 600, "lease_margin_ms": 100}
    async with desk(new_chains(), store=store, **rules) as at:
        steps = [await at.add("WETH", "USDC", 10**16 * (n + 1)) for n in range(10)]
        second = at.another("second")
        await second.start()
        assert second.lanes[0].lease is None
        await second.turn()
        assert not await store.attempts_of(steps)
        await at.executor.turn()
        at.executor, silent = second, at.executor
        await asyncio.sleep(0.7)
        await at.tick(3)
        more = [await at.add("USDC", "WETH", 10**6 * (n + 1)) for n in range(10)]
        await silent.start()
        assert silent.lanes[0].lease is None
        await at.tick(4)
        assert await _ended(at, [*steps, *more])
        await _exactly_once(at, [*steps, *more])
    await store.close()


async def test_p3_p6_a_database_killed_in_the_middle_loses_nothing(new_chains, tmp_path):
    """kill -9 of Postgres while transactions are in flight, twice; then it comes back."""
    server = EmbeddedPostgres(tmp_path, die_with_starter=True)
    url = await asyncio.to_thread(server.start)
    await migrate(url)
    store = await PostgresStore.connect(url, clock=SystemClock())
    pair = new_chains(mining="interval", block_time_s=0.25)
    try:
        async with desk(pair, ARBITRUM, store=store) as at:
            stop = asyncio.Event()
            running = asyncio.create_task(at.executor.run(stop))
            steps = []
            for _ in range(2):
                for place in range(8):
                    steps.append(await at.add("WETH", "USDC", 10**16 * (place + 1)))
                at.executor.hint()
                await asyncio.sleep(0.15)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await _until(lambda: _answers(url))
            await _until(lambda: _ended(at, steps))
            stop.set()
            await asyncio.wait_for(running, 10)
            await asyncio.sleep(0.6)
            await at.executor.on_head(await at.world.chain.head())
            await _exactly_once(at, steps)
    finally:
        await store.close()
        await asyncio.to_thread(server.stop)


async def _answers(url):
    try:
        connection = await asyncpg.connect(url, timeout=2)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True
