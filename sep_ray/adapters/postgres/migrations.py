"""Forward-only migrations: each file once, in order, under a lock."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Final

import asyncpg

from sep_ray.adapters.postgres.errors import Phase, translated
from sep_ray.adapters.postgres.wire import Readers, Wire
from sep_ray.kernel.errors import InvariantBroken, Rejected

_LOCK: Final = 7305236
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_APPLY: Final = "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)"
_APPLIED: Final = "SELECT version, checksum FROM schema_migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file of migrations/: NNNN_name.sql."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Return what a later change of the file would change."""
        return sha256(self.text.encode()).hexdigest()


def migrations() -> tuple[Migration, ...]:
    """Return all migrations this code knows, in order."""
    found = sorted(files(__package__).joinpath("migrations").iterdir(), key=lambda f: f.name)
    return tuple(
        Migration(version=int(f.name[:4]), name=f.name[5:-4], text=f.read_text())
        for f in found
        if f.name.endswith(".sql")
    )


async def migrate(url: str) -> tuple[str, ...]:
    """Apply what is missing, each file in a transaction of its own; return the names applied.

    Many may call it at once: the first works, the others wait. Versions the code does not know
    are left alone (an older process beside a newer one during an upgrade). Raises
    InvariantBroken when a file that was applied has changed since.
    """
    wire = Wire(url)
    connection = await wire.get()
    try:
        with translated(Phase(committing=True)):
            await connection.execute("SET lock_timeout = '60s'")
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await connection.execute(_TABLE)
            known = _by_version(await connection.fetch(_APPLIED))
            missing = [m for m in migrations() if _is_missing(m, known)]
            for m in missing:
                async with connection.transaction():
                    await connection.execute(m.text)
                    await connection.execute(_APPLY, m.version, m.name, m.checksum)
            return tuple(migration.name for migration in missing)
    finally:
        await wire.close()


async def require_schema(readers: Readers) -> None:
    """Raise Rejected unless all migrations this code knows are applied."""
    (row,) = await readers.rows("SELECT to_regclass('schema_migrations') IS NOT NULL AS made")
    known = _by_version(await readers.rows(_APPLIED) if row["made"] else [])
    missing = [migration.name for migration in migrations() if _is_missing(migration, known)]
    if missing:
        raise Rejected("the database lacks migrations", missing=missing)


def _by_version(rows: list[asyncpg.Record]) -> dict[int, str]:
    return {row["version"]: row["checksum"] for row in rows}


def _is_missing(migration: Migration, applied: dict[int, str]) -> bool:
    checksum = applied.get(migration.version)
    if checksum not in (None, migration.checksum):
        raise InvariantBroken("an applied migration was changed", name=migration.name)
    return checksum is None
