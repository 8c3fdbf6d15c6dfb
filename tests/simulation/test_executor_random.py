"""Seeded days on which everything goes wrong at once: P3, P4, P5, P6, P7, P8, P11 at the end.

A failing seed is run alone with `pytest tests/simulation/test_executor_random.py -k "seed-17-"`.
"""

import contextlib
import random

import pytest

from sep_ray.adapters.memory.chain import MemoryChain
from sep_ray.engine.executor import ChainExecutor
from sep_ray.engine.lane import LaneState
from sep_ray.execution import verdict
from sep_ray.intent.intent import Constraints, Side
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import Ppm
from sep_ray.portfolio.ledger import TREASURY
from tests.fixtures.execution import (
    ACCOUNT,
    COIN,
    DAI,
    DOLLAR,
    ETHER,
    USDC,
    WETH,
    Crash,
    Gate,
    Sim,
    bounded,
    shock,
)

SEEDS = 40
BLOCKS = 30
GWEI = 10**9
ACCOUNTS = (ACCOUNT, "0x" + "ad" * 20, "0x" + "ae" * 20)


class Wild:
    """A chain behind a bad connection: answers are lost on the way back or calls on the way in."""

    def __init__(self, inner: MemoryChain, chance: random.Random) -> None:
        self._inner = inner
        self._chance = chance
        self.calm = False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def send(self, signed):
        luck = self._chance.random()
        if self.calm or luck > 0.25:
            return await self._inner.send(signed)
        if luck > 0.1:
            await self._inner.send(signed)
        return tuple(verdict.Indeterminate("lost") for _ in signed)

    async def receipts(self, hashes):
        if not self.calm and self._chance.random() < 0.05:
            raise Transient("timeout")
        return await self._inner.receipts(hashes)

    async def read(self, head):
        if not self.calm and self._chance.random() < 0.1:
            raise Transient("timeout")
        return await self._inner.read(head)

    async def state(self, account, assets, at):
        if not self.calm and self._chance.random() < 0.05:
            raise Transient("timeout")
        return await self._inner.state(account, assets, at)


class Day:
    """One seed's world."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sim = Sim(
            bounded(reorg_depth=12 if seed % 2 else 2), accounts=ACCOUNTS[: 1 + seed % 3]
        )
        self.wild = Wild(self.sim.chain, self.chance)
        self.born = self.funded = 0
        self.undead: list[ChainExecutor] = []

    async def run(self) -> None:
        await self.sim.ready()
        self.funded = self.sim.chain.newest.head.number - 1
        await self.sim.executor._leadership.release()
        await self._restart()
        for _ in range(BLOCKS):
            await self._happen()
            await self._live(self._work)
            await self._haunt()
        await self._calm_down()

    async def _work(self) -> None:
        await self.sim.executor.on_head(self.sim.chain.newest.head)
        if self.chance.random() < 0.5:
            await self.sim.executor.turn()

    async def _live(self, work) -> None:
        """Work until done or dead; the heir has another name and waits for the lease's end."""
        try:
            await work()
        except Crash:
            self.sim.clock.advance(self.sim.rules.lease_ttl_ms)
            await self._restart()

    async def _haunt(self) -> None:
        """Somebody paused long enough to lose the lease wakes up and goes on."""
        for executor in self.undead:
            with contextlib.suppress(Crash):
                await executor.on_head(self.sim.chain.newest.head)
                await executor.turn()
        if self.chance.random() < 0.1:
            self.undead.append(self.sim.executor)
            self.sim.clock.advance(self.sim.rules.lease_ttl_ms)
            await self._restart()

    async def _restart(self) -> None:
        self.born += 1
        at = self.chance.randrange(1, 120) if self.chance.random() < 0.6 else None
        gate = Gate(at=at, after=self.chance.random() < 0.5)
        executor = self.sim.new_executor(f"process-{self.born}", gate, chain=self.wild)
        self.sim.executor = executor

    async def _happen(self) -> None:
        """Let time pass and one or two things happen."""
        sim, chance = self.sim, self.chance
        sim.clock.advance(1_000)
        for _ in range(chance.randrange(4)):
            await self._order()
        luck = chance.random()
        if luck < 0.1:
            deepest = min(sim.rules.reorg_depth, sim.chain.newest.head.number - self.funded)
            sim.chain.reorganise(chance.randint(1, deepest), keep=chance.random() < 0.5)
        elif luck < 0.2:
            sim.chain.pool.clear()
        elif luck < 0.3:
            shock(sim, chance.choice([97, 99, 101, 103]))
        elif luck < 0.4:
            sim.chain.fund(chance.choice(sim.accounts), USDC.address, 5 * DOLLAR)
        sim.chain.room = chance.choice([0, 1, 3, 100, 100, 100])
        fee = chance.choice([None, None, None, 3 * GWEI, GWEI])
        sim.chain.mine(base_fee_wei=fee)

    async def _order(self) -> None:
        chance = self.chance
        tight = Constraints(max_slippage=Ppm(chance.choice([1_000, 5_000, 50_000])))
        pairs = [(WETH, USDC, ETHER), (USDC, WETH, 900 * DOLLAR), (WETH, DAI, ETHER // 3)]
        sell, buy, amount = chance.choice(pairs)
        if chance.random() < 0.2:
            await self.sim.add(ETHER // 7, sell=USDC, buy=WETH, side=Side.BUY, constraints=tight)
        else:
            await self.sim.add(
                amount * chance.randrange(1, 4),
                sell=sell,
                buy=buy,
                priority=chance.random(),
                constraints=tight,
            )

    async def _calm_down(self) -> None:
        self.wild.calm = True
        self.sim.chain.room = 1_000
        self.sim.clock.advance(self.sim.rules.lease_ttl_ms)
        self.sim.executor = self.sim.new_executor("last")
        await self.sim.executor.start()
        await self.sim.settle(45 + 4 * self.sim.rules.reorg_depth)


@pytest.mark.parametrize("seed", range(SEEDS), ids=lambda n: f"seed-{n}-")
async def test_p3_p4_p5_p6_p7_p8_p11_once_and_only_once_whatever_happens(seed):
    day = Day(seed)
    await day.run()
    assert {lane.state for lane in day.sim.executor.lanes} == {LaneState.READY}
    await day.sim.check()
    coin = await day.sim.available(COIN, TREASURY)
    held = [
        await day.sim.chain.state(account, [COIN], day.sim.chain.newest.head)
        for account in day.sim.accounts
    ]
    assert coin == sum(state.units[COIN] for state in held)
