"""The whole flow, in the order in which an intent meets it.

    submit ──► the journal holds it; from here on it will reach exactly one end
      │
      ▼        IntentRouter                                     sep_ray/engine/router.py
    rank       what loses most by waiting goes first            sep_ray/priority
    decompose  one goal into steps, now or on a schedule        sep_ray/decomposition
      │
      ▼        ChainExecutor, one per chain                     sep_ray/engine/executor.py
    plan       the cheapest route through the pools             sep_ray/routing
    sign       nonce and bytes journalled, then broadcast       sep_ray/execution
    book       receipts become fills, fills become postings     sep_ray/portfolio
      │
      ▼        SettlementManager, for what crosses chains       sep_ray/engine/settlement.py
    settle     the bridge is followed until money is there      sep_ray/settlement
      │
      ▼        IntentRouter again
    conclude   the end follows from the steps

In production each part is an actor of its own (`actors/`) that the journal wakes. Here they take
turns in one process, but for the settlement, which goes at the bridges' pace: tests drive exactly
the same classes, and `sep_ray/simulation` does under faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sep_ray.engine.executor import ChainExecutor
from sep_ray.engine.router import IntentRouter
from sep_ray.intent.states import TERMINAL, IntentRecord
from sep_ray.journal.ports import Store
from sep_ray.journal.records import Submission, Verdict
from sep_ray.kernel.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A platform in one process, moved on turn by turn by whoever holds it."""

    store: Store
    clock: Clock
    router: IntentRouter
    executors: Sequence[ChainExecutor]

    async def start(self) -> None:
        """Read the journal and go on from there (P11)."""
        await self.router.start()
        await asyncio.gather(*(executor.start() for executor in self.executors))

    async def submit(self, batch: Sequence[Submission]) -> tuple[Verdict, ...]:
        """Make intents durable (P1)."""
        return await self.store.accept(batch, self.clock.now())

    async def turn(self) -> tuple[IntentRecord, ...]:
        """Let every part do what there is to do now; return the intents still open.

        Router and executors alternate because each wakes the other: a decomposition makes steps
        ready, a filled step may end its intent.
        """
        await self._route()
        await asyncio.gather(*(executor.turn() for executor in self.executors))
        await self._route()
        found = await self.store.open_intents(None, limit=1_000)
        return tuple(record for record in found if record.status not in TERMINAL)

    async def _route(self) -> None:
        await self.router.catch_up()
        while await self.router.turn():
            await self.router.catch_up()
