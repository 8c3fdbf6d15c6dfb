"""The schema: forward only, applied once, written down, and saying what the code says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sep_ray.adapters.codec import UnknownEvent, UnreadableRow, decode_event
from sep_ray.adapters.postgres import PostgresStore, migrate, migrations
from sep_ray.adapters.postgres.queries import SQL
from sep_ray.decomposition.step import StepStatus
from sep_ray.devnet.postgres_install import packaged
from sep_ray.execution.attempt import TERMINAL, AttemptStatus
from sep_ray.intent.intent import IntentType
from sep_ray.intent.states import TERMINAL as ENDED
from sep_ray.intent.states import Status
from sep_ray.journal.checks import FOLDED
from sep_ray.kernel.clock import SystemClock
from sep_ray.kernel.errors import InvariantBroken, Rejected
from sep_ray.policy.halts import HaltStatus, Mode, Scope
from sep_ray.portfolio.ledger import HOLDINGS, ON_ACCOUNT, Bucket
from sep_ray.settlement.transfer import TERMINAL as SETTLED
from sep_ray.settlement.transfer import TransferStatus
from sep_ray.strategy.record import StrategyStatus
from tests.fixtures.stores import PostgresWorld

SCHEMA = Path(str(files("sep_ray.adapters.postgres").joinpath("schema.sql")))


async def test_each_migration_runs_once_however_many_ask(
    fresh_database: Callable[..., str],
) -> None:
    url = fresh_database()
    names = [migration.name for migration in migrations.migrations()]
    done = await asyncio.gather(*(migrate(url) for _ in range(5)))
    assert sorted(map(len, done)) == [0, 0, 0, 0, len(names)]
    assert [name for applied in done for name in applied] == names
    assert await PostgresStore.migrate(url) == ()


async def test_an_empty_database_is_refused(fresh_database: Callable[..., str]) -> None:
    with pytest.raises(Rejected, match="migrations"):
        await PostgresStore.connect(fresh_database(), clock=SystemClock())


async def test_a_changed_migration_is_noticed(postgres_world: PostgresWorld) -> None:
    await postgres_world.sql("UPDATE schema_migrations SET checksum = 'x' WHERE version = 1")
    with pytest.raises(InvariantBroken, match="journal"):
        await migrate(postgres_world.url)
    with pytest.raises(InvariantBroken, match="journal"):
        await postgres_world.another()


async def test_a_newer_database_is_left_alone(postgres_world: PostgresWorld) -> None:
    await postgres_world.sql("INSERT INTO schema_migrations VALUES (9999, 'future', 'x')")
    assert await migrate(postgres_world.url) == ()
    await postgres_world.another()


def test_schema_sql_is_the_sum_of_the_migrations(
    database_url: str, fresh_database: Callable[..., str]
) -> None:
    """Where it is not, run this test with SEP_WRITE_SCHEMA=1 and read the difference."""
    found = _dump(database_url)
    if "SEP_WRITE_SCHEMA" in os.environ:
        SCHEMA.write_text(found)
    assert SCHEMA.read_text() == found
    by_hand = fresh_database()
    _run("psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-f", str(SCHEMA), "-d", by_hand)
    assert _dump(by_hand) == found


def test_the_checks_name_every_state_of_the_code(database_url: str) -> None:
    schema = _dump(database_url)
    assert _allowed(schema, "intents_status_check") == set(Status)
    assert _allowed(schema, "intents_type_check") == set(IntentType)
    assert _allowed(schema, "steps_status_check") == set(StepStatus)
    assert _allowed(schema, "attempts_status_check") == set(AttemptStatus)
    assert _allowed(schema, "strategies_status_check") == set(StrategyStatus)
    assert _allowed(schema, "postings_bucket_check") == set(Bucket)
    assert _allowed(schema, "holdings_not_negative") == set(Bucket) - HOLDINGS
    assert _allowed(schema, "halts_scope_check") == set(Scope)
    assert _allowed(schema, "halts_mode_check") == set(Mode)
    assert _allowed(schema, "halts_status_check") == set(HaltStatus)
    assert _allowed(schema, "events_aggregate_check") == FOLDED | {"account"}
    assert _allowed(schema, "attempts_one_live_per_nonce") == set(AttemptStatus) - TERMINAL
    assert _allowed(schema, "transfers_status_check") == set(TransferStatus)
    assert _allowed(schema, "transfers_one_open_per_step") == SETTLED
    assert _words(SQL["open_transfers"]) == SETTLED
    live = set(AttemptStatus) - TERMINAL
    assert _words(SQL["live_attempts"]) == live
    assert _words(_function(schema, "standing")) == live
    assert _words(SQL["open_intents"]) == set(Status) - ENDED
    assert _words(SQL["totals"]) == set(ON_ACCOUNT)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO balances VALUES ('s', 1, 'x', 'available', -1)",
        "INSERT INTO postings VALUES (1, 0, gen_random_uuid(), 's', 1, 'x', 'pocket', 1, '')",
        "INSERT INTO leases VALUES ('n', 'h', 0, now())",
        "INSERT INTO intents VALUES (gen_random_uuid(), 's', 'ACQUIRE', 1, 'DONE', 1, '{}')",
    ],
)
async def test_the_database_refuses_what_the_rules_forbid(
    postgres_world: PostgresWorld, statement: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await postgres_world.sql(statement)


async def test_series_are_daily_partitions_without_the_extension(
    postgres_world: PostgresWorld,
) -> None:
    days = "'2027-01-14 23:59Z', '2027-01-16 00:00Z'"
    for _ in range(2):
        await postgres_world.sql(f"SELECT ensure_partitions('gas_ticks', {days})")
    rows = await postgres_world.sql(
        "SELECT inhrelid::regclass::text AS name, pg_get_expr(relpartbound, oid) AS bounds"
        " FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE inhparent = 'gas_ticks'::regclass ORDER BY name"
    )
    assert [row["name"] for row in rows] == [
        "gas_ticks_20270114", "gas_ticks_20270115", "gas_ticks_20270116",
    ]  # fmt: skip
    assert "2027-01-14 00:00:00+00" in rows[0]["bounds"]


@pytest.mark.parametrize("licence", ["timescale", "apache"])
async def test_series_are_hypertables_with_the_extension(
    fresh_database: Callable[..., str], licence: str
) -> None:
    """The other branch, against stand-ins for what the extension adds, which note their calls."""
    world = PostgresWorld(fresh_database())
    for statement in _STAND_INS:
        await world.sql(statement)
    text = next(m.text for m in migrations.migrations() if m.name == "series")
    for name, body in _REPLACED.items():
        pattern = rf"(FUNCTION {name}\(.*?\n)BEGIN.*?END \$\$"
        text, count = re.subn(pattern, rf"\1BEGIN {body} END $$", text, flags=re.DOTALL)
        assert count == 1
    connection = await asyncpg.connect(world.url, server_settings={"timescaledb.license": licence})
    try:
        await connection.execute(text)
        await connection.execute("SELECT ensure_partitions('market_ticks', now(), now())")
    finally:
        await connection.close()
    calls = [row["call"] for row in await world.sql("SELECT call FROM calls")]
    compressed = ["compress_series"] if licence == "timescale" else []
    assert calls == [
        "use_timescale", "hypertable market_ticks at 1 day", *compressed,
        "use_timescale", "hypertable gas_ticks at 1 day", *compressed,
    ]  # fmt: skip


_REPLACED = {
    "use_timescale": "RETURN stand_in('use_timescale');",
    "compress_series": "PERFORM stand_in('compress_series');",
}
_STAND_INS = (
    "CREATE TABLE calls (call text)",
    """CREATE FUNCTION stand_in(name text) RETURNS boolean LANGUAGE sql
    AS 'INSERT INTO calls VALUES (name) RETURNING true'""",
    """CREATE FUNCTION create_hypertable(name regclass, at name, chunk_time_interval interval)
    RETURNS void LANGUAGE sql
    AS $$ INSERT INTO calls VALUES (concat_ws(' ', 'hypertable', name, at, chunk_time_interval)) $$
    """,
)


def test_an_event_nobody_knows_is_a_clear_error() -> None:
    with pytest.raises(UnknownEvent, match="StepTeleported"):
        decode_event("StepTeleported", b"{}")
    with pytest.raises(UnreadableRow, match="StepFailed"):
        decode_event("StepFailed", b'{"reason": "boredom"}')


def _dump(url: str) -> str:
    text = _run("pg_dump", "--schema-only", "--no-owner", "--no-privileges", url)
    lines = [
        line
        for line in text.splitlines()
        if line and not line.startswith(("--", "SET ", "SELECT pg_catalog.set_config", "\\"))
    ]
    return "\n".join(lines) + "\n"


def _run(program: str, *arguments: str) -> str:
    argv = [str(packaged() / "bin" / program), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _allowed(schema: str, name: str) -> set[str]:
    (line,) = [line for line in schema.splitlines() if f" {name} " in line]
    return _words(line)


def _function(schema: str, name: str) -> str:
    _, _, rest = schema.partition(f"CREATE FUNCTION public.{name}(")
    return rest.partition("END $$;")[0]


def _words(sql: str) -> set[Any]:
    return set(re.findall(r"'(\w+)'", sql))
