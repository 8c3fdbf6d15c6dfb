"""Connections: one that is reopened when lost, and a pool for reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg

from sep_ray.adapters.postgres.errors import LOST, Phase, translated
from sep_ray.kernel.errors import Transient

T = TypeVar("T")

CONNECT_SECONDS = 10.0
"""How long a database that is restarting is waited for."""
_STATEMENT_SECONDS: Final = 30.0
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
_READERS: Final = 4
_IDLE_SECONDS: Final = 30.0

SESSION: Final = {
    "application_name": "sep",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
}
"""Set for every connection, whatever the server's defaults: a writer that hangs while it holds
the journal's lock is cut off."""


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until it works, or raise the last Transient error after CONNECT_SECONDS."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + CONNECT_SECONDS, _FIRST_PAUSE_S
    while True:
        try:
            return await attempt()
        except Transient:
            if loop.time() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


class Wire:
    """One connection for one task at a time; opened when first needed, reopened when lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open: asyncpg.Connection[Any] | None = None

    async def get(self) -> asyncpg.Connection[Any]:
        """Return the open connection; Transient when there is none within CONNECT_SECONDS."""
        if self._open is None or self._open.is_closed():
            self._open = await patiently(self._connect)
        return self._open

    def drop(self) -> None:
        """Forget the connection, which may be in any state; the server rolls back."""
        if self._open is not None:
            self._open.terminate()
            self._open = None

    async def close(self) -> None:
        """Say goodbye."""
        if self._open is not None and not self._open.is_closed():
            try:
                await self._open.close(timeout=2)
            except LOST:
                self._open.terminate()
        self._open = None

    async def _connect(self) -> asyncpg.Connection[Any]:
        with translated(Phase()):
            return await asyncpg.connect(
                self._url,
                timeout=CONNECT_SECONDS,
                command_timeout=_STATEMENT_SECONDS,
                server_settings=SESSION,
            )


class Readers:
    """A few connections for statements that may safely be sent twice."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str) -> Readers:
        """Connect; Transient when the database is not there in time."""

        async def attempt() -> Readers:
            with translated(Phase()):
                pool = asyncpg.create_pool(
                    url,
                    min_size=0,
                    max_size=_READERS,
                    max_inactive_connection_lifetime=_IDLE_SECONDS,
                    timeout=CONNECT_SECONDS,
                    command_timeout=_STATEMENT_SECONDS,
                    server_settings=SESSION,
                    reset=_keep,
                )
                await pool
                return cls(pool)

        return await patiently(attempt)

    async def rows(self, query: str, *args: object) -> list[asyncpg.Record]:
        """Run a statement until it is answered, over new connections if need be."""

        return await patiently(lambda: self._fetch(Phase(), query, *args))

    async def row(self, query: str, *args: object) -> asyncpg.Record | None:
        """Return the first row, or None."""
        return next(iter(await self.rows(query, *args)), None)

    async def once(self, query: str, *args: object) -> asyncpg.Record | None:
        """Run a statement that may not be said twice; Indeterminate when its answer is lost."""
        await self.rows("SELECT 1")  # waits for a database that restarts, and drops dead wires
        found = await self._fetch(Phase(committing=True), query, *args)
        return next(iter(found), None)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[Any]]:
        """Give a connection inside a transaction; Indeterminate when its end is not known."""
        with translated(Phase(committing=True)):
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection

    async def _fetch(self, phase: Phase, query: str, *args: object) -> list[asyncpg.Record]:
        with translated(phase):
            async with self._pool.acquire() as connection:
                return await connection.fetch(query, *args)

    async def close(self) -> None:
        """End all connections."""
        try:
            await asyncio.wait_for(self._pool.close(), 5)
        except TimeoutError:
            self._pool.terminate()


async def _keep(connection: asyncpg.Connection[Any]) -> None:
    """Reset nothing between uses: our statements leave nothing, and it costs a round trip."""
