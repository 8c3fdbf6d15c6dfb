"""From a client's submission to the broadcast, at idle, beyond what the node itself takes.

Counted from right before the POST to the instant the journal has for the swap's broadcast, which
lies after the node's answer. What is taken off is the time of the one call to the node that cannot
be left out, handing a signed transaction over, measured beside it. Submissions come at random
moments of a block.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx

from bench.place import Place
from bench.report import Figure
from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.devnet.rpc import Rpc
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.kernel.units import ChainId

SAMPLES: Final = 30
WARM_UP: Final = 3
GOAL_MS: Final = 40.0
SEED: Final = 7
WAIT_S: Final = 30.0
HANDOVERS: Final = 15
NAMES: Final[Mapping[int, str]] = {1: "Ethereum", 42161: "Arbitrum"}
STAGES: Final = ("accepted", "decided", "signed", "broadcast")
INSTANTS: Final = """
SELECT
    (SELECT occurred_at FROM events WHERE correlation_id = $1 AND kind = 'IntentAccepted'),
    (SELECT occurred_at FROM events WHERE correlation_id = $1 AND kind = 'IntentDecomposed'),
    p.occurred_at, b.occurred_at
FROM events AS p JOIN events AS b ON b.stream_id = p.stream_id AND b.kind = 'AttemptBroadcast'
WHERE p.correlation_id = $1 AND p.kind = 'AttemptPrepared'
ORDER BY b.occurred_at DESC LIMIT 1
"""
"""Instants of an intent's stages, in STAGES' order; the last broadcast is the swap's."""


def run(place: Place) -> list[Figure]:
    """Measure on every chain."""
    return [asyncio.run(_figure(place, chain_id)) for chain_id in place.chains]


async def _figure(place: Place, chain_id: int) -> Figure:
    chance = random.Random(SEED)
    samples: list[Sequence[float]] = []
    connection = await asyncpg.connect(place.database)
    try:
        async with httpx.AsyncClient(
            base_url=place.api, headers=place.authorization, timeout=WAIT_S
        ) as client:
            for _ in range(WARM_UP + SAMPLES):
                samples.append(await _sample(client, connection, chain_id))
                await asyncio.sleep(0.2 + chance.random())
    finally:
        await connection.close()
    node_ms = await _handover_ms(place.chains[chain_id], chain_id)
    kept = samples[WARM_UP:]
    cuts = quantiles([sample[-1] - node_ms for sample in kept], n=10)
    stages = {f"{stage}_at_ms": round(median(each)) for stage, each in _by_stage(kept)}
    return Figure(
        name=f"submission to broadcast beyond the node's own time, idle, {NAMES[chain_id]}",
        value=cuts[4],
        unit="ms (p50)",
        goal=GOAL_MS,
        at_least=False,
        detail={
            "p90_ms": round(cuts[8], 1),
            "least_ms": round(min(sample[-1] for sample in kept) - node_ms, 1),
            "node_ms": round(node_ms, 2),
            "samples": SAMPLES,
            **stages,
        },
    )


def _by_stage(samples: Sequence[Sequence[float]]) -> list[tuple[str, Sequence[float]]]:
    return list(zip(STAGES, zip(*samples, strict=True), strict=True))


async def _sample(
    client: httpx.AsyncClient, connection: asyncpg.Connection[Any], chain_id: int
) -> Sequence[float]:
    """Submit one swap; return when its stages were reached, in ms from the submission."""
    body = {
        "type": "DISPOSE",
        "chain_id": chain_id,
        "sell": "WETH",
        "buy": "USDC",
        "amount": "0.01",
        "constraints": {"max_slippage": 0.05},
    }
    began_ms = time.time() * 1_000
    answer = await client.post("/v1/intents", json=body)
    answer.raise_for_status()
    intent_id = UUID(answer.json()["id"])
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        await asyncio.sleep(0.1)  # leaves the platform alone meanwhile
        row = await connection.fetchrow(INSTANTS, intent_id)
        if row is not None:
            return [instant - began_ms for instant in row]
    raise TimeoutError(f"intent {intent_id} was not broadcast")


async def _handover_ms(url: str, chain_id: int) -> float:
    """Return how long the node takes to answer a signed transaction, in the median."""
    signer, rpc, times = LocalSigner(b"\x5e" * 32), Rpc(url), []
    try:
        rpc("anvil_addBalance", signer.address, hex(10**18))
        first = int(rpc("eth_getTransactionCount", signer.address, "pending"), 16)
        for nonce in range(first, first + HANDOVERS):
            tx = Unsigned(
                chain_id=ChainId(chain_id),
                nonce=nonce,
                call=Call(to=signer.address),
                gas_limit=21_000,
                max_fee_wei=10**11,
                tip_wei=10**8,
            )
            (signed,) = await signer.sign([tx])
            began = time.perf_counter()
            rpc("eth_sendRawTransaction", signed.raw)
            times.append((time.perf_counter() - began) * 1e3)
    finally:
        rpc.close()
    return median(times)
