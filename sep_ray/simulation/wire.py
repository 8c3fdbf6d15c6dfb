"""The connections of a process to chain and database, as bad as the weather."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from sep_ray.adapters.memory.chain import MemoryChain
from sep_ray.adapters.memory.store import MemoryStore
from sep_ray.engine.lane import Lane
from sep_ray.execution import verdict
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import Head, Receipt
from sep_ray.journal.records import Commit, Recorded, Submission, Verdict
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Indeterminate, Transient
from sep_ray.simulation.laws import Laws
from sep_ray.simulation.process import Gated, Process
from sep_ray.simulation.weather import Weather

NOWHERE = "0x" + "ee" * 32
"""The hash of a block that nobody mined."""


class Unreliable:
    """Anything whose answers sometimes do not come."""

    def __init__(self, inner: Any, weather: Weather, chance: random.Random) -> None:
        self._inner = inner
        self._weather = weather
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def asked(*args: Any, **kwargs: Any) -> Any:
            self._try()
            return await found(*args, **kwargs)

        setattr(self, name, asked)
        return asked

    def _try(self) -> None:
        if self._chance.random() < self._weather.read_fails:
            raise Transient("no answer")


class Database(Unreliable):
    """The journal over a connection that breaks while a commit is on its way."""

    def __init__(
        self, inner: MemoryStore, weather: Weather, chance: random.Random, laws: Laws
    ) -> None:
        super().__init__(inner, weather, chance)
        self._laws = laws

    async def commit(self, commit: Commit) -> tuple[Recorded, ...]:
        """Commit, unless the connection breaks before; if it breaks after, nobody is told."""
        unknown = self._chance.random() < self._weather.commit_unknown
        if unknown and self._chance.random() < 0.5:
            raise Indeterminate("the connection broke while committing")
        rows: tuple[Recorded, ...] = await self._inner.commit(commit)
        self._laws.committed(commit)
        if unknown:
            raise Indeterminate("the connection broke while committing")
        return rows

    async def accept(self, batch: Sequence[Submission], at: Millis) -> tuple[Verdict, ...]:
        """Accept, likewise."""
        unknown = self._chance.random() < self._weather.commit_unknown
        if unknown and self._chance.random() < 0.5:
            raise Indeterminate("the connection broke while committing")
        verdicts: tuple[Verdict, ...] = await self._inner.accept(batch, at)
        if unknown:
            raise Indeterminate("the connection broke while committing")
        return verdicts


class Node(Unreliable):
    """A chain's node as one process meets it: it loses, repeats, delays, lags and lies."""

    async def send(
        self, signed: Sequence[Signed], since: Sequence[int | None] = ()
    ) -> tuple[verdict.Verdict, ...]:
        """Take bytes, or seem to."""
        return tuple([await self._sent(each) for each in signed])

    async def _sent(self, signed: Signed) -> verdict.Verdict:
        weather, luck = self._weather, self._chance.random
        if luck() < weather.send_lost:
            return verdict.Indeterminate("lost on the way")
        if luck() < weather.send_swallowed:
            return verdict.Accepted()
        if luck() < weather.send_refused:
            return verdict.Rejected(verdict.Refusal.POOL_FULL, "txpool is full")
        if luck() < weather.send_held:
            self._later(signed)
            return verdict.Indeterminate("no answer in time")
        if luck() < weather.send_twice:
            self._later(signed)
        (found,) = await self._inner.send([signed])
        if luck() < weather.send_unanswered:
            return verdict.Indeterminate("the answer was lost")
        return found  # type: ignore[no-any-return]  # the inner port is Any here

    def _later(self, signed: Signed) -> None:
        """Deliver bytes some seconds from now, whatever has happened meanwhile."""
        chain: MemoryChain = self._inner
        loop = asyncio.get_running_loop()
        loop.call_later(8 * self._chance.random() ** 2, chain.deliver, signed)

    async def receipts(self, tx_hashes: Sequence[str]) -> tuple[Receipt | None, ...]:
        """Answer, perhaps as of a few blocks ago."""
        self._try()
        found: tuple[Receipt | None, ...] = await self._inner.receipts(tx_hashes)
        if self._chance.random() >= self._weather.receipts_late:
            return found
        known = self._inner.newest.head.number - self._chance.randrange(1, 3)
        return tuple(r if r is not None and r.block_number <= known else None for r in found)

    async def headers(self, numbers: Sequence[int]) -> tuple[Head | None, ...]:
        """Answer, perhaps with one block that is none."""
        self._try()
        found: tuple[Head | None, ...] = await self._inner.headers(numbers)
        if self._chance.random() >= self._weather.header_lies:
            return found
        place = self._chance.randrange(len(found))
        return tuple(
            replace(h, hash=NOWHERE) if at == place and h is not None else h
            for at, h in enumerate(found)
        )

    async def heads(self) -> AsyncIterator[Head]:
        """Follow the chain: late, with gaps, now and then with a block that is none."""
        async for head in self._inner.heads():
            if self._chance.random() < self._weather.head_late:
                await asyncio.sleep(3 * self._chance.random())
            if self._chance.random() < self._weather.head_lies:
                yield replace(head, hash=NOWHERE, parent_hash=NOWHERE)
            yield head


class ChainPort(Gated):
    """A node seen from inside a process; each handing over is judged as it is made."""

    def __init__(self, node: Node, process: Process, laws: Laws) -> None:
        super().__init__(node, process)
        self._laws = laws
        self.lanes: Sequence[Lane] = ()

    def send(
        self, signed: Sequence[Signed], since: Sequence[int | None] = ()
    ) -> Coroutine[Any, Any, tuple[verdict.Verdict, ...]]:
        """Hand over; what the process does counts when it does it, however slow the network is."""
        self._laws.sending(self._process.name, self.lanes, signed)
        return self._process.through(self._inner.send, signed)
