"""From a client's submission to the broadcast, at idle, beyond the node's own answer time."""

from __future__ import annotations

import asyncio
import time
from statistics import quantiles
from typing import Any, Final

import httpx

from bench.report import Figure

SAMPLES: Final = 40
GOAL_MS: Final = 40.0


async def run(api: str, token: str, rpc_url: str, chain_id: int) -> Figure:
    """Submit small swaps one by one; read the broadcast's instant from the journal."""
    async with httpx.AsyncClient(
        base_url=api, headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as client:
        rpc_ms = await _rpc_ms(rpc_url)
        samples = [await _sample(client, chain_id) - rpc_ms for _ in range(SAMPLES)]
    cuts = quantiles(samples, n=100)
    return Figure(
        name=f"submit to broadcast beyond RPC time, idle, chain {chain_id}",
        value=cuts[49],
        unit="ms (p50)",
        goal=GOAL_MS,
        at_least=False,
        detail={"p90_ms": round(cuts[89], 1), "rpc_ms": round(rpc_ms, 2), "samples": SAMPLES},
    )


async def _sample(client: httpx.AsyncClient, chain_id: int) -> float:
    body = {
        "type": "DISPOSE",
        "chain_id": chain_id,
        "sell": "WETH",
        "buy": "USDC",
        "amount": "0.01",
        "constraints": {"max_slippage": 0.05, "time_window_ms": 60_000},
    }
    began_ms = time.time() * 1_000
    answer = await client.post("/v1/intents", json=body)
    answer.raise_for_status()
    intent_id = answer.json()["id"]
    sent_ms = await _broadcast_at(client, intent_id)
    await asyncio.sleep(0.3)
    return sent_ms - began_ms


async def _broadcast_at(client: httpx.AsyncClient, intent_id: str) -> float:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        why: dict[str, Any] = (await client.get(f"/v1/intents/{intent_id}/why")).json()
        swaps = {
            event["stream"]
            for event in why["events"]
            if event["type"] == "AttemptPrepared" and event["data"]["attempt"]["purpose"] == "swap"
        }
        for event in why["events"]:
            if event["type"] == "AttemptBroadcast" and event["stream"] in swaps:
                return float(event["at"])
        await asyncio.sleep(0.1)
    raise TimeoutError(f"intent {intent_id} was not broadcast")


async def _rpc_ms(url: str) -> float:
    async with httpx.AsyncClient(timeout=5) as client:
        request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        times = []
        for _ in range(30):
            began = time.perf_counter()
            await client.post(url, json=request)
            times.append((time.perf_counter() - began) * 1e3)
    return sorted(times)[15]
