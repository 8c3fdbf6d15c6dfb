"""One simulated day: a chain, a journal, processes that come and go, and everything goes wrong.

A storm of some seconds in which intents are submitted, then calm. In the calm everything has to
come to its end within a bound (P2, P11, P12), and then the laws are checked once more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sep_ray.adapters.memory.chain import MemoryChain
from sep_ray.adapters.memory.contracts import MemoryCalls, MemorySigner
from sep_ray.adapters.memory.store import MemoryStore
from sep_ray.engine.executor import ChainExecutor
from sep_ray.engine.facts import FactSource, Known
from sep_ray.engine.ports import Scored
from sep_ray.engine.router import IntentRouter
from sep_ray.engine.world import World
from sep_ray.execution.ports import Head
from sep_ray.intent.intent import Intent
from sep_ray.journal.records import Append, Commit
from sep_ray.kernel import points
from sep_ray.kernel.errors import InvariantBroken, SepError
from sep_ray.kernel.ids import SeededIds, derived_id
from sep_ray.kernel.points import Point
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.portfolio.events import FundsObserved
from sep_ray.portfolio.ledger import Posting, fund
from sep_ray.priority.rank import fallback
from sep_ray.routing.snapshot import Snapshot
from sep_ray.simulation import weather as weathers
from sep_ray.simulation.client import STRATEGY, Client
from sep_ray.simulation.laws import UNEXPECTED, Laws
from sep_ray.simulation.loop import LoopClock, SeededLoop, Standstill, run
from sep_ray.simulation.market import (
    ACCOUNTS,
    CHAIN,
    COIN,
    DOLLAR,
    ETHER,
    GWEI,
    RULES,
    START,
    TOKENS,
    USDC,
    WETH,
    market,
    shock,
)
from sep_ray.simulation.process import HERE, Crash, Gated, Process, heard
from sep_ray.simulation.wire import ChainPort, Database, Node

STORM_S: Final = 8
CALM_S: Final = 60
"""Within so many quiet seconds everything must have ended."""
FUNDS: Final = {COIN: ETHER, WETH: 3 * ETHER, USDC: 4_000 * DOLLAR}
"""Little enough that some intents need what several accounts hold, and some find too little."""
SHORT: Final = {**FUNDS, COIN: ETHER // 10}
"""What the last of several accounts has on every second day: coin that another has to add to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a day: the breaches found, how long it took, what happened."""

    seed: int
    broken: tuple[str, ...]
    seconds: float
    intents: int
    swaps: int
    story: tuple[str, ...] = field(repr=False, default=())


class Day:
    """One seed's world and what happens in it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.weather = weathers.drawn(self.chance)
        self.loop = SeededLoop(self.chance.getrandbits(64))
        self.clock = LoopClock(self.loop, START)
        self.rules = replace(
            RULES,
            confirmations=self.chance.choice([1, 2, 2, 4]),
            reorg_depth=self.chance.choice([1, 2, 2, 4, 4, 12]),
            plain_routes=True,  # what is searched here is not routes
            refuel_below_wei=ETHER // 4,
            refuel_to_wei=ETHER // 2,
        )
        pools = market()[::3]  # a pair each way
        self.chain = MemoryChain(CHAIN, pools, TOKENS, wrapped_native=WETH.address)
        self.store = MemoryStore(self.clock)
        self.accounts = ACCOUNTS[: self.chance.choice([1, 1, 2, 3])]
        self.laws = Laws(self.store, self.chain, self.accounts)
        self.story: list[str] = []
        self._raining, self._over = True, False
        self._born = 0
        self._living: dict[Process, asyncio.Task[None]] = {}

    def note(self, text: str) -> None:
        """Remember what happened when."""
        self.story.append(f"{self.loop.time():7.3f} s  {text}")

    def pass_by(self) -> Outcome:
        """Let the day happen and say what came of it."""
        before = points.listen(heard)
        try:
            run(self.loop, self._all())
        except Standstill as error:
            self.laws.say("P12 work without end", error)
        finally:
            points.listen(before)
        return Outcome(
            seed=self.seed,
            broken=tuple(dict.fromkeys(self.laws.broken)),
            seconds=self.loop.time(),
            intents=len(self.laws.accepted),
            swaps=sum(1 for _ in self.laws.effects()),
            story=tuple(self.story),
        )

    async def _all(self) -> None:
        await self._fund()
        self._spawn(self._execute, "executor")
        self._spawn(self._route, "router")
        client = Client(
            Database(self.store, self.weather, self.chance, self.laws),
            self.laws,
            self.clock,
            self.chance,
        )
        others = [self._mine(), self._trouble(), client.live(STORM_S, self.note)]
        tasks = [self.loop.create_task(each) for each in others]
        await asyncio.sleep(STORM_S)
        await tasks[-1]
        await self._calm_down()
        await self._end(tasks)

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """End everybody without a last word."""
        self._over = True
        for process in self._living:
            process.kill()
        everybody = (*tasks, *self._living.values())
        for task in everybody:
            task.cancel()
        await asyncio.gather(*everybody, return_exceptions=True)

    async def _fund(self) -> None:
        """Give the accounts money and a desk most of it, as audit and operator would."""
        for account in self.accounts:
            for asset, units in self._funds(account).items():
                self.chain.fund(account, asset.address, units)
        head = self.chain.mine()
        for account in self.accounts:
            await self._book_funds(account, head)
        for _ in range(self.rules.finality.last):
            self.chain.mine()

    def _funds(self, account: str) -> Mapping[Asset, int]:
        last = len(self.accounts) > 1 and account == self.accounts[-1]
        return SHORT if last and self.seed % 2 else FUNDS

    async def _book_funds(self, account: str, head: Head) -> None:
        events: list[FundsObserved] = []
        lines: list[Posting] = []
        for asset, units in self._funds(account).items():
            proof = f"{head.hash}/balance/{asset.address}"
            owner = "treasury" if asset == COIN else STRATEGY
            lines += fund(asset, units, proof, owner, account=account)
            events.append(
                FundsObserved(
                    asset=asset,
                    units=units,
                    block_number=head.number,
                    block_hash=head.hash,
                    evidence=f"{proof} found on the account",
                )
            )
        append = Append(
            stream_id=f"account/{CHAIN}/{account}",
            expected_version=0,
            events=tuple(events),
            correlation_id=derived_id("funds", account),
        )
        now = self.clock.now()
        await self.store.commit(Commit(at=now, appends=(append,), postings=tuple(lines)))

    # Processes

    def _spawn(self, work: Callable[[Process], Coroutine[Any, Any, None]], kind: str) -> None:
        self._born += 1
        process = Process(f"{kind}-{self._born}", self.weather, self.chance)
        weather, chance = self.weather, self.chance
        if chance.random() < weather.crash:
            process.doom(chance.randrange(1, 120), after=chance.random() < 0.5)
        if chance.random() < weather.crash_at_point:
            process.dies_at = chance.choice(list(Point))
        self.note(f"{process.name} starts")
        context = copy_context()
        context.run(HERE.set, process)
        task = self.loop.create_task(self._live(process, work), context=context)
        task.add_done_callback(lambda ended: self._ended(process, ended, work, kind))
        self._living[process] = task

    async def _live(
        self, process: Process, work: Callable[[Process], Coroutine[Any, Any, None]]
    ) -> None:
        """Run an engine, and again when it fails for a reason that may pass."""
        while not process.dead:
            try:
                await work(process)
            except InvariantBroken as error:
                self.laws.say("an invariant is broken", error)
                return
            except SepError as error:
                self.note(f"{process.name} begins again: {error}")
                await asyncio.sleep(0.1)
            except Crash:
                return

    def _ended(
        self,
        process: Process,
        task: asyncio.Task[None],
        work: Callable[[Process], Coroutine[Any, Any, None]],
        kind: str,
    ) -> None:
        """Start a successor, as the supervisor does; what nobody expected is a breach."""
        del self._living[process]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Crash):
            self.laws.say(UNEXPECTED, repr(error))
            return
        self.note(f"{process.name} is dead")
        if not self._over and not any(
            p.name.startswith(kind) and not p.paused for p in self._living
        ):
            self.loop.call_later(2 * self.chance.random(), self._spawn, work, kind)

    async def _execute(self, process: Process) -> None:
        node = Node(self.chain, self.weather, self.chance)
        database = Database(self.store, self.weather, self.chance, self.laws)
        port = ChainPort(node, process, self.laws)
        executor = ChainExecutor(
            World(chain=port, accounts=port, calls=MemoryCalls(), snapshots=port, evidence=port),
            Gated(database, process),
            [Gated(MemorySigner(account), process) for account in self.accounts],
            self.rules,
            clock=self._clock_of(),
            steady=self.clock,
            ids=SeededIds(self.clock, self.chance.getrandbits(64)),
            holder=process.name,
        )
        port.lanes = executor.lanes
        await executor.run(asyncio.Event())

    async def _route(self, process: Process) -> None:
        database = Gated(Database(self.store, self.weather, self.chance, self.laws), process)
        router = IntentRouter(
            store=database,
            clock=self._clock_of(),
            facts=FactSource(database, database, _NoMarket(), {}),
            prioritizer=_Formula(),
            slicer=_NoSlicer(),
            on_end=lambda record: None,
            on_ready=lambda chain_id: None,
            holder=process.name,
        )
        await router.run(asyncio.Event())

    def _clock_of(self) -> LoopClock:
        """Return a wall clock; some go wrong."""
        wrong = self.chance.random() < self.weather.clock_jump
        return LoopClock(self.loop, START, self.chance.randrange(-3_000, 3_000) if wrong else 0)

    # What happens

    async def _mine(self) -> None:
        """Mine a block a second, and let the chain be what chains are."""
        chance, weather, chain = self.chance, self.weather, self.chain
        while True:
            await asyncio.sleep(chance.uniform(0.7, 1.3))
            if chance.random() < weather.reorganised:
                depth = chance.randint(1, self.rules.finality.last)
                self.note(f"{depth} blocks are reorganised")
                chain.reorganise(depth, keep=chance.random() < 0.5)
            if chance.random() < weather.pool_lost:
                chain.pool.clear()
            if chance.random() < weather.shock:
                shock(chain, chance.choice([94, 97, 99, 101, 103]))
            if chance.random() < weather.gift:
                chain.fund(chance.choice(self.accounts), USDC.address, 5 * DOLLAR)
            chain.room = chance.choice([0, 0, 1]) if chance.random() < weather.crowded else 1_000
            fee = chance.choice([GWEI, 3 * GWEI]) if chance.random() < weather.fee_moves else None
            head = chain.mine(base_fee_wei=fee)
            if chain.newest.receipts:
                self.note(f"block {head.number} holds {len(chain.newest.receipts)}")
            self.laws.mined()

    async def _trouble(self) -> None:
        """Kill, pause, wake and double processes."""
        chance, weather = self.chance, self.weather
        while self._raining:
            await asyncio.sleep(chance.random() * 2)
            process = chance.choice([*self._living]) if self._living else None
            if process is None:
                continue
            if chance.random() < weather.pause:
                self._pause(process)
            elif chance.random() < weather.crash / 3:
                self.note(f"{process.name} is killed")
                process.kill()
                self._living[process].cancel()
            if chance.random() < weather.rival:
                self._spawn(self._execute, "executor")

    def _pause(self, process: Process) -> None:
        """Stop it for longer than its lease lasts, mostly; others take over and it wakes up."""
        self.note(f"{process.name} is paused")
        process.pause()
        self.loop.call_later(self.chance.uniform(1.0, 8.0), process.wake)
        kind, _, _ = process.name.partition("-")
        self._spawn(self._execute if kind == "executor" else self._route, kind)

    async def _calm_down(self) -> None:
        """Let everything come to its end, and judge."""
        self._raining = False
        self.weather.calm()
        self.note("calm")
        end = self.loop.time() + CALM_S
        while not self.laws.broken:
            await asyncio.sleep(1.0)
            left = await self.laws.unsettled()
            if left is None:
                break
            if self.loop.time() > end:
                self.laws.say("P12 no end within the bound", left)
        if not self.laws.broken:
            await self.laws.judge()


class _Formula:
    """The prioritizer's formula, without a model."""

    async def score(self, rows: Sequence[Sequence[float]]) -> Scored:
        return Scored(rows=fallback(rows), source="fallback", reason="simulation")


class _NoSlicer:
    """No intent here leaves the number of its slices open."""

    async def slices(self, intents: Sequence[Intent], known: Known) -> dict[Any, int]:
        return {}


class _NoMarket:
    """Ranking does without prices here."""

    async def snapshot(self, chain_id: ChainId) -> Snapshot | None:
        return None
