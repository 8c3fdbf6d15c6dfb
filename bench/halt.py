"""From the call that halts everything to the last transaction that reaches a node, queues full.

Each chain's node itself says when a transaction comes in (a subscription to its pool), so nothing
depends on what the platform believes. Between two halts everything flows again. A halt after
which nothing came in any more counts as 0 ms.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx
from websockets.asyncio.client import connect

from bench.place import Place
from bench.report import Figure

HALTS: Final = 50
GOAL_MS: Final = 250.0
WATCHED_S: Final = 1.2
"""How long after a halt is looked for stragglers."""
FLOWING_S: Final = 60.0
BATCH: Final = 500
FULL: Final = 400
"""Open intents below which another batch is submitted."""
SEED: Final = 11
SUBSCRIBE: Final = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newPendingTransactions"]}
)


class Pool:
    """When transactions came into a node's pool, by the clock that all share here."""

    def __init__(self) -> None:
        self.came: list[float] = []

    async def watch(self, url: str, ready: asyncio.Event) -> None:
        """Note the moment of each transaction until cancelled."""
        async with connect(url.replace("http", "ws", 1), proxy=None) as socket:
            await socket.send(SUBSCRIBE)
            await socket.recv()
            ready.set()
            async for _ in socket:
                self.came.append(time.monotonic())

    def last_after(self, moment: float) -> float | None:
        """Return when the last one came after a moment; None when none did."""
        return self.came[-1] if self.came and self.came[-1] > moment else None


def run(place: Place) -> list[Figure]:
    """Halt everything again and again while both chains are busy."""
    place.quiet()
    try:
        return [asyncio.run(_figure(place))]
    finally:
        place.quiet()


async def _figure(place: Place) -> Figure:
    chance, answers, latencies = random.Random(SEED), [], []
    open_at: list[int] = []
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=place.api, headers=place.authorization, timeout=30.0)
        )
        pools = await stack.enter_async_context(_watched(place.chains))
        for _ in range(HALTS):
            open_at.append(await _filled(client, place.chains))
            await _flowing(pools)
            await asyncio.sleep(chance.random() / 2)
            called = time.monotonic()
            placed = await client.post("/v1/halts", json={"scope": "all", "why": "bench"})
            answers.append((time.monotonic() - called) * 1e3)
            placed.raise_for_status()
            await asyncio.sleep(WATCHED_S)
            stragglers = [last for pool in pools if (last := pool.last_after(called)) is not None]
            latencies.append((max(stragglers, default=called) - called) * 1e3)
            released = await client.delete(f"/v1/halts/{placed.json()['id']}")
            released.raise_for_status()
    return _told(sorted(latencies), sorted(answers), open_at)


def _told(latencies: list[float], answers: list[float], open_at: list[int]) -> Figure:
    return Figure(
        name="halt: API call to the last transaction that reaches a node, full queues",
        value=_quantile(latencies, 99),
        unit="ms (p99)",
        goal=GOAL_MS,
        at_least=False,
        detail={
            "p50_ms": round(_quantile(latencies, 50), 1),
            "p90_ms": round(_quantile(latencies, 90), 1),
            "most_ms": round(latencies[-1], 1),
            "answer_p50_ms": round(_quantile(answers, 50), 1),
            "answer_p99_ms": round(_quantile(answers, 99), 1),
            "halts": len(latencies),
            "nothing_came_after": sum(each == 0 for each in latencies),
            "open_intents_at_least": min(open_at),
            "all_ms": [round(each) for each in latencies],
        },
    )


def _quantile(ordered: list[float], percent: int) -> float:
    """Return the smallest value that so many per cent do not exceed."""
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


@asynccontextmanager
async def _watched(chains: Mapping[int, str]) -> AsyncIterator[list[Pool]]:
    pools = [Pool() for _ in chains]
    ready = [asyncio.Event() for _ in chains]
    tasks = [
        asyncio.create_task(pool.watch(url, event))
        for pool, url, event in zip(pools, chains.values(), ready, strict=True)
    ]
    try:
        async with asyncio.timeout(FLOWING_S):
            await asyncio.gather(*(event.wait() for event in ready))
        yield pools
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _filled(client: httpx.AsyncClient, chains: Mapping[int, str]) -> int:
    """Submit more until plenty is open on each chain; return how much is, on the emptier one."""
    least = FULL
    for chain_id in chains:
        count = await _open(client, chain_id)
        if count < FULL:
            intents = [_swap(chain_id) for _ in range(BATCH)]
            answer = await client.post("/v1/intents/batch", json={"intents": intents})
            answer.raise_for_status()
            count += BATCH
        least = min(least, count)
    return least


async def _open(client: httpx.AsyncClient, chain_id: int) -> int:
    """Count open intents of a chain, as far as FULL."""
    count = 0
    for state in ("ACCEPTED", "ACTIVE"):
        cursor: str | None = ""
        while cursor is not None and count < FULL:
            asked: dict[str, Any] = {"state": state, "chain_id": chain_id, "limit": 200}
            answer = await client.get("/v1/intents", params=asked | _after(cursor))
            answer.raise_for_status()
            page = answer.json()
            count += len(page["intents"])
            cursor = page.get("next")
    return count


def _after(cursor: str) -> dict[str, str]:
    return {"cursor": cursor} if cursor else {}


def _swap(chain_id: int) -> dict[str, Any]:
    return {
        "type": "DISPOSE",
        "chain_id": chain_id,
        "sell": "WETH",
        "buy": "USDC",
        "amount": "0.001",
        "constraints": {"max_slippage": 0.05},
    }


async def _flowing(pools: list[Pool]) -> None:
    """Return once transactions come in again."""
    since = time.monotonic()
    async with asyncio.timeout(FLOWING_S):
        while not any(pool.last_after(since) for pool in pools):  # noqa: ASYNC110 - nobody says
            await asyncio.sleep(0.005)
