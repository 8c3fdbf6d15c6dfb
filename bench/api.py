"""Durable submissions against a no-op route on the same Serve, and against a bare insert."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

import asyncpg

from bench.load import Load, drive
from bench.report import Figure

ROUNDS: Final = 3
REQUESTS: Final = {1: 600, 64: 6_000}
BATCHES: Final = 30
BATCH: Final = 1_000
GOALS: Final = {1: 0.6, 64: 0.85}
INTENT: Final[dict[str, Any]] = {
    "type": "DISPOSE",
    "chain_id": 1,
    "strategy_id": "bench",
    "sell": "WETH",
    "buy": "USDC",
    "amount": "1.5",
}
"""The strategy owns nothing: the router rejects each intent without sending anything."""

Bodies = Callable[[int], tuple[bytes, Sequence[str]]]


def _single(run: str) -> Bodies:
    body = json.dumps(INTENT).encode()
    return lambda number: (body, (f"Idempotency-Key: {run}-{number}",))


def _noop(_: str) -> Bodies:
    body = json.dumps(INTENT).encode()
    return lambda number: (body, ())


def _batch(_: str) -> Bodies:
    body = json.dumps({"intents": [INTENT] * BATCH}).encode()
    return lambda number: (body, ())


async def singles(api: str, token: str) -> list[Figure]:
    """Return the ratio durable/no-op at 1 and at 64 connections, rounds interleaved."""
    figures = []
    for connections, goal in GOALS.items():
        ratios, runs = [], []
        for turn in range(ROUNDS):
            run = f"{time.time_ns()}-{turn}"
            noop = await _drive(f"{api}/v1/bench/noop", token, _noop(run), connections)
            durable = await _drive(f"{api}/v1/intents", token, _single(run), connections)
            ratios.append(durable.per_second / noop.per_second)
            runs.append((noop, durable))
        noop, durable = runs[-1]
        figures.append(
            Figure(
                name=f"durable POST / no-op POST, {connections} connections",
                value=median(ratios),
                unit="ratio",
                goal=goal,
                detail={
                    "durable_per_s": round(durable.per_second),
                    "noop_per_s": round(noop.per_second),
                    "durable_p50_ms": round(durable.p50_ms, 2),
                    "durable_p99_ms": round(durable.p99_ms, 2),
                    "statuses": durable.statuses,
                },
            )
        )
    return figures


async def _drive(url: str, token: str, bodies: Bodies, connections: int) -> Load:
    return await drive(url, token, bodies, connections=connections, requests=REQUESTS[connections])


async def batches(api: str, token: str, database: str) -> Figure:
    """Return durable intents per second by batch against a bare UNNEST insert of the same rows."""
    ratios, detail = [], {}
    for _ in range(ROUNDS):
        load = await drive(
            f"{api}/v1/intents/batch", token, _batch(""), connections=2, requests=BATCHES
        )
        durable = load.per_second * BATCH
        bare = await bare_insert(database)
        ratios.append(durable / bare)
        detail = {
            "durable_intents_per_s": round(durable),
            "bare_rows_per_s": round(bare),
            "statuses": load.statuses,
        }
    return Figure(
        name="batch endpoint / bare UNNEST insert of the same rows",
        value=median(ratios),
        unit="ratio",
        goal=0.3,
        detail=detail,
    )


async def bare_insert(database: str) -> float:
    """Insert copies of the newest intents and their events into twin tables, BATCH at a time.

    The twins have the real tables' columns, keys and indexes; the rows are the real ones.
    """
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("DROP TABLE IF EXISTS bench_events, bench_intents")
        for table in ("events", "intents"):
            await connection.execute(f"CREATE TABLE bench_{table} (LIKE {table} INCLUDING ALL)")
        rows = {t: await _rows(connection, t) for t in ("events", "intents")}
        inserts = {t: await _insert(connection, t) for t in rows}
        began = time.perf_counter()
        for number in range(BATCHES):
            async with connection.transaction():
                for table, statement in inserts.items():
                    part = rows[table][number * BATCH : (number + 1) * BATCH]
                    await connection.execute(statement, *map(list, zip(*part, strict=True)))
        seconds = time.perf_counter() - began
        await connection.execute("DROP TABLE bench_events, bench_intents")
        return BATCHES * BATCH / seconds
    finally:
        await connection.close()


async def _rows(connection: Any, table: str) -> list[tuple[Any, ...]]:
    where = "WHERE type = 'IntentAccepted'" if table == "events" else ""
    order = "seq" if table == "events" else "id"
    found = await connection.fetch(
        f"SELECT * FROM {table} {where} ORDER BY {order} DESC LIMIT $1", BATCHES * BATCH
    )
    return [tuple(row) for row in found]


async def _insert(connection: Any, table: str) -> str:
    columns = await connection.fetch(
        "SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type FROM pg_attribute a "
        "WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped "
        "AND a.attgenerated = '' ORDER BY a.attnum",
        table,
    )
    names = ", ".join(column["name"] for column in columns)
    arrays = ", ".join(f"${n}::{c['type']}[]" for n, c in enumerate(columns, start=1))
    return f"INSERT INTO bench_{table} ({names}) SELECT * FROM unnest({arrays})"


async def run(api: str, token: str, database: str) -> list[Figure]:
    """Return all figures of the submission API."""
    figures = await singles(api, token)
    await asyncio.sleep(2.0)
    return [*figures, await batches(api, token, database)]
