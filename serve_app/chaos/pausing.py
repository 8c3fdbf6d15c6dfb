"""An executor that sleeps for longer than its lease lasts, and wakes while another leads (P5)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sep_ray.adapters.postgres import PostgresStore
from sep_ray.journal.records import Lease
from sep_ray.kernel.clock import SystemClock

HOLDER: Final = "chaos/0"
TTL_MS: Final = 30_000
SLEEP_S: Final = 2.0
"""At least; what a proxy still delays from before has been noted by then."""
TAKE_S: Final = 12.0
"""The leases are free within this: far longer than one lasts."""
LEAD_S: Final = 1.5
"""How long another leads after the executor has woken."""
TRY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Woken:
    """A process was awake in [since, until] while another led; wall clock, seconds."""

    since: float
    until: float

    def stale(self, sends: Sequence[float]) -> list[float]:
        """Return the sendings that must not have been."""
        return [at for at in sends if self.since <= at < self.until]


def pause(url: str, pid: int, lanes: Sequence[str]) -> Woken | None:
    """Stop a process, take its lanes' leases once they have run out, wake it, lead on a while.

    Returns when the leases are free again; None when they could not be taken. Raises
    ProcessLookupError when the process is gone, Transient when the database is.
    """
    return asyncio.run(_pause(url, pid, lanes))


async def _pause(url: str, pid: int, lanes: Sequence[str]) -> Woken | None:
    store = await PostgresStore.connect(url, clock=SystemClock())
    held: list[Lease] = []
    try:
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(SLEEP_S)
            held += await _taken(store, lanes)
            since = time.time()
        finally:
            os.kill(pid, signal.SIGCONT)
        if len(held) < len(lanes):
            return None
        await asyncio.sleep(LEAD_S)
        return Woken(since, time.time())
    finally:
        for lease in held:
            await store.release(lease)
        await store.close()


async def _taken(store: PostgresStore, lanes: Sequence[str]) -> list[Lease]:
    held: dict[str, Lease] = {}
    deadline = time.monotonic() + TAKE_S
    while len(held) < len(lanes) and time.monotonic() < deadline:
        for name in lanes:
            lease = None if name in held else await store.acquire(name, HOLDER, TTL_MS)
            held |= {} if lease is None else {name: lease}
        await asyncio.sleep(TRY_S)
    return list(held.values())
