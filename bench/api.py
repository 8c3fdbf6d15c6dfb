"""Durable submissions against a no-op route on the same Serve, and against a bare insert.

The submitted intents name a strategy that owns nothing: each is accepted, ranked and rejected, and
nothing is sent. Every run waits until the router has done that for the run before, which would
otherwise slow down whatever comes next.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

import asyncpg

from bench.load import Load, Spec, drive
from bench.place import Place
from bench.report import Figure
from sep_ray.adapters.codec import decode_event, encode_state
from sep_ray.adapters.postgres.wire import SESSION
from sep_ray.intent.states import IntentAccepted, evolve
from sep_ray.kernel.clock import Millis

ROUNDS: Final = 5
DURABLE: Final = "/v1/intents"
ROUTE: Final = "/v1/bench/route"
FLOOR: Final = "/v1/bench/noop"
REQUESTS: Final = {64: 4_000, 1: 800}
GOALS: Final = {64: 0.85, 1: 0.6}
WARM_UP: Final = 300
BATCH: Final = 1_000
BATCHES: Final = 8
BATCH_CONNECTIONS: Final = 2
BATCH_GOAL: Final = 0.3
INTENT: Final[dict[str, Any]] = {
    "type": "DISPOSE",
    "chain_id": 1,
    "strategy_id": "bench",
    "sell": "WETH",
    "buy": "USDC",
    "amount": "1.5",
}

Rows = list[tuple[Any, ...]]


def singles(place: Place) -> list[Figure]:
    """Return durable POST / no-op POST at 64 and at 1 connections, rounds interleaved.

    The goal's no-op is an ordinary route of the same application, which takes the same body and
    gives the same answer; the floor is a bare one beneath the framework, which reads nothing.
    Every durable request carries an Idempotency-Key, which is one more row to write.
    """
    for connections in GOALS:
        for path in (ROUTE, FLOOR, DURABLE):
            _post(place, path, connections, WARM_UP)
    return [
        *(each for connections in GOALS for each in _single(place, connections)),
        _limit(place),
    ]


def _limit(place: Place) -> Figure:
    """Return the lone durable POST against what it cannot do without: the no-op's way to a replica
    and back, and one commit of a body that touches no table, after one another."""
    rounds = []
    for _ in range(ROUNDS):
        noop, durable = (_post(place, path, 1, REQUESTS[1]) for path in (ROUTE, DURABLE))
        commit_s = asyncio.run(_commit_s(place.database))
        rounds.append((durable.per_second * (1 / noop.per_second + commit_s), commit_s))
    return Figure(
        name="durable POST / no-op route and a bare commit one after the other, 1 connection",
        value=median(ratio for ratio, _ in rounds),
        unit="ratio",
        goal=None,
        detail={
            "rounds": [round(ratio, 2) for ratio, _ in rounds],
            "bare_commit_ms": round(median(seconds for _, seconds in rounds) * 1e3, 2),
        },
    )


async def _commit_s(database: str) -> float:
    """Return the seconds of a commit with nothing in it but a body, from a client to the disk."""
    connection = await asyncpg.connect(database, server_settings=SESSION)
    try:
        commit, body = "SELECT pg_logical_emit_message(true, 'bench', $1)", json.dumps(INTENT)
        await connection.execute(commit, body)
        began = time.perf_counter()
        for _ in range(REQUESTS[1]):
            await connection.execute(commit, body)
        return (time.perf_counter() - began) / REQUESTS[1]
    finally:
        await connection.close()


def _single(place: Place, connections: int) -> list[Figure]:
    requests = REQUESTS[connections]
    rounds = [
        {path: _post(place, path, connections, requests) for path in (ROUTE, DURABLE, FLOOR)}
        for _ in range(ROUNDS)
    ]
    with_s = f"{connections} connection{'s' if connections > 1 else ''}"
    return [
        Figure(
            name=f"durable POST / no-op route, {with_s}",
            value=_ratio(rounds, ROUTE),
            unit="ratio",
            goal=GOALS[connections],
            detail={
                "rounds": [round(_of(loads, ROUTE), 2) for loads in rounds],
                "durable_per_s": round(median(loads[DURABLE].per_second for loads in rounds)),
                "noop_per_s": round(median(loads[ROUTE].per_second for loads in rounds)),
                "durable_p50_ms": round(median(loads[DURABLE].p50_ms for loads in rounds), 2),
                "durable_p99_ms": round(median(loads[DURABLE].p99_ms for loads in rounds), 2),
                "noop_p50_ms": round(median(loads[ROUTE].p50_ms for loads in rounds), 2),
                "client_core_share": round(
                    max(load.client_core_share for loads in rounds for load in loads.values()), 2
                ),
            },
        ),
        Figure(
            name=f"durable POST / bare no-op beneath the framework, {with_s}",
            value=_ratio(rounds, FLOOR),
            unit="ratio",
            goal=None,
            detail={
                "rounds": [round(_of(loads, FLOOR), 2) for loads in rounds],
                "noop_per_s": round(median(loads[FLOOR].per_second for loads in rounds)),
                "noop_p50_ms": round(median(loads[FLOOR].p50_ms for loads in rounds), 2),
            },
        ),
    ]


def _ratio(rounds: Sequence[Mapping[str, Load]], noop: str) -> float:
    return median(_of(loads, noop) for loads in rounds)


def _of(loads: Mapping[str, Load], noop: str) -> float:
    return loads[DURABLE].per_second / loads[noop].per_second


def _post(place: Place, path: str, connections: int, requests: int) -> Load:
    place.quiet()
    key = f"bench-{time.time_ns()}" if path == DURABLE else ""
    return drive(_spec(place, path, connections, requests, key=key))


def batches(place: Place) -> list[Figure]:
    """Return durable intents per second by batch against a bare UNNEST insert of the same rows."""
    _batch(place, 2)
    runs = []
    for _ in range(ROUNDS):
        load = _batch(place, BATCHES)
        place.quiet()
        runs.append((load, load.per_second * BATCH, asyncio.run(_bare_insert(place.database))))
    ratios = [durable / bare for _, durable, bare in runs]
    return [
        Figure(
            name="batch endpoint / bare UNNEST insert of the same rows",
            value=median(ratios),
            unit="ratio",
            goal=BATCH_GOAL,
            detail={
                "rounds": [round(ratio, 2) for ratio in ratios],
                "durable_intents_per_s": round(median(durable for _, durable, _ in runs)),
                "bare_intents_per_s": round(median(bare for _, _, bare in runs)),
                "batch_p50_ms": round(median(load.p50_ms for load, _, _ in runs)),
            },
        )
    ]


def _batch(place: Place, requests: int) -> Load:
    place.quiet()
    return drive(_spec(place, "/v1/intents/batch", BATCH_CONNECTIONS, requests, of=BATCH))


def _spec(
    place: Place, path: str, connections: int, requests: int, key: str = "", of: int = 0
) -> Spec:
    return Spec(
        url=f"{place.api}{path}",
        token=place.token,
        body=json.dumps({"intents": [INTENT] * of} if of else INTENT),
        connections=connections,
        requests=requests,
        key_prefix=key,
    )


async def _bare_insert(database: str) -> float:
    """Return the intents per second that one connection inserts into twins of the real tables.

    The twins have the real tables' columns, checks and indexes; the rows are those that the last
    batches wrote when they were accepted, an intent and its event each; a transaction holds BATCH
    intents, as a batch's does, under the same session settings.
    """
    connection = await asyncpg.connect(database, server_settings=SESSION)
    try:
        intents, events = await _rows(connection)
        statements = {}
        for table in ("intents", "events"):
            await connection.execute(f"DROP TABLE IF EXISTS bench_{table}")
            await connection.execute(f"CREATE TABLE bench_{table} (LIKE {table} INCLUDING ALL)")
            statements[table] = await connection.prepare(await _insert(connection, table))
        parts = [(_part(intents, n), _part(events, n)) for n in range(BATCHES)]
        began = time.perf_counter()
        for intent_columns, event_columns in parts:
            async with connection.transaction():
                await statements["intents"].fetch(*intent_columns)
                await statements["events"].fetch(*event_columns)
        seconds = time.perf_counter() - began
        await connection.execute("DROP TABLE bench_intents, bench_events")
        return BATCHES * BATCH / seconds
    finally:
        await connection.close()


async def _rows(connection: asyncpg.Connection[Any]) -> tuple[Rows, Rows]:
    """Return the newest accepted intents' rows as they were first written, oldest first."""
    names = ", ".join(await _columns(connection, "events"))
    found = await connection.fetch(
        f"SELECT {names} FROM events WHERE kind = 'IntentAccepted' ORDER BY seq DESC LIMIT $1",
        BATCHES * BATCH,
    )
    events = [tuple(row) for row in reversed(found)]
    intents = [_intent_row(row) for row in reversed(found)]
    return intents, events


def _intent_row(row: asyncpg.Record) -> tuple[Any, ...]:
    event = decode_event(row["kind"], row["body"])
    assert isinstance(event, IntentAccepted)
    record = evolve(None, event, Millis(row["occurred_at"]))
    intent, body = event.intent, encode_state(record).decode()
    values = {
        "id": intent.id,
        "strategy_id": intent.strategy_id,
        "type": intent.type,
        "chain_id": intent.chain_id,
        "status": record.status,
        "version": record.version,
        "body": body,
    }
    return tuple(values.values())


def _part(rows: Rows, number: int) -> list[list[Any]]:
    part: Sequence[tuple[Any, ...]] = rows[number * BATCH : (number + 1) * BATCH]
    return [list(column) for column in zip(*part, strict=True)]


async def _insert(connection: asyncpg.Connection[Any], table: str) -> str:
    columns = await _columns(connection, table)
    names = ", ".join(columns)
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(columns.values(), start=1))
    return f"INSERT INTO bench_{table} ({names}) SELECT * FROM unnest({arrays})"


async def _columns(connection: asyncpg.Connection[Any], table: str) -> dict[str, str]:
    """Return the names and types of a table's columns that are not generated, in order."""
    rows = await connection.fetch(
        "SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type FROM pg_attribute a "
        "WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped "
        "AND a.attgenerated = '' ORDER BY a.attnum",
        table,
    )
    return {row["name"]: row["type"] for row in rows}
