"""A desk in a hurry: submits intents, submits them again when in doubt, changes its mind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from uuid import UUID

from sep_ray.intent.intent import (
    CatchUp,
    Constraints,
    Intent,
    IntentType,
    Schedule,
    Side,
    Style,
)
from sep_ray.intent.states import TERMINAL, IntentCancelRequested, Status, evolve
from sep_ray.journal.records import Accepted, Append, Commit, Repeated, Submission
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import SepError
from sep_ray.kernel.ids import SeededIds
from sep_ray.kernel.units import Ppm
from sep_ray.simulation.laws import Laws
from sep_ray.simulation.market import CHAIN, DAI, DOLLAR, ETHER, USDC, WETH
from sep_ray.simulation.wire import Database

STRATEGY = "desk"


class Client:
    """Draws intents from chance and hands them in over a connection that breaks."""

    def __init__(self, database: Database, laws: Laws, clock: Clock, chance: random.Random) -> None:
        self._database = database
        self._laws = laws
        self._clock = clock
        self._chance = chance
        self._ids = SeededIds(clock, chance.getrandbits(32))

    async def live(self, seconds: float, note: Callable[[str], None]) -> None:
        """Submit a few intents in the course of so many seconds."""
        for _ in range(self._chance.randrange(2, 6)):
            await asyncio.sleep(self._chance.random() * seconds / 4)
            intent = self._drawn()
            note(f"submit {_words(intent)}")
            await self._submit(intent)
            if self._chance.random() < 0.15:
                await asyncio.sleep(self._chance.random() * 3)
                note(f"cancel {intent.id}")
                await self._cancel(intent.id)

    async def _submit(self, intent: Intent) -> None:
        """Ask until there is an answer, as a client with an idempotency key does (P1)."""
        submission = Submission(intent=intent, principal="client", key=str(intent.id))
        while True:
            try:
                (answer,) = await self._database.accept([submission], self._clock.now())
            except SepError:
                await asyncio.sleep(0.1)
                continue
            if isinstance(answer, Accepted | Repeated):
                self._laws.took([intent])
            return

    async def _cancel(self, intent_id: UUID) -> None:
        for _ in range(5):
            try:
                if await self._cancelled(intent_id):
                    return
            except SepError:
                await asyncio.sleep(0.1)

    async def _cancelled(self, intent_id: UUID) -> bool:
        record = await self._database.intent(intent_id)
        if record.status in TERMINAL or record.status is Status.CANCELLING:
            return True
        now, event = self._clock.now(), IntentCancelRequested(principal="client")
        append = Append(
            stream_id=record.stream_id,
            expected_version=record.version,
            events=(event,),
            correlation_id=intent_id,
        )
        states = (evolve(record, event, now),)
        await self._database.commit(Commit(at=now, appends=(append,), states=states))
        return True

    def _drawn(self) -> Intent:
        chance = self._chance
        pairs = [(WETH, USDC, ETHER), (USDC, WETH, 900 * DOLLAR), (WETH, DAI, ETHER // 3)]
        sell, buy, amount = chance.choice(pairs)
        buying = chance.random() < 0.2
        if buying:
            sell, buy, amount = USDC, WETH, ETHER // 7
        sliced = chance.random() < 0.4
        slices = chance.randrange(2, 5) if sliced else 1
        schedule = Schedule(
            slices=slices,
            catch_up=chance.choice(list(CatchUp)),
            burst_cap=chance.randrange(1, 3),
        )
        return Intent(
            id=self._ids.next(),
            strategy_id=STRATEGY,
            type=IntentType.ACQUIRE if buying else IntentType.DISPOSE,
            chain_id=CHAIN,
            sell=sell,
            buy=buy,
            amount=amount * chance.randrange(1, 4) + chance.randrange(5),
            side=Side.BUY if buying else Side.SELL,
            constraints=Constraints(
                max_slippage=Ppm(chance.choice([1_000, 5_000, 50_000])),
                time_window_ms=chance.randrange(4_000, 16_000),
                style=Style.TWAP if sliced else Style.IMMEDIATE,
                schedule=schedule,
            ),
            created_at=self._clock.now(),
        )


def _words(intent: Intent) -> str:
    bounds = intent.constraints
    return (
        f"{intent.id}: {intent.side.value} {intent.amount} in {bounds.schedule.slices} "
        f"within {bounds.time_window_ms} ms, {bounds.schedule.catch_up.value}"
    )
