"""The database from settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sep_ray.adapters.postgres import PostgresStore
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Rejected
from sep_ray.settings import Settings


@asynccontextmanager
async def open_store(settings: Settings, clock: Clock) -> AsyncIterator[PostgresStore]:
    """Connect to the database and close the connections at the end.

    Raises Rejected when no database is configured: the platform's process sets the embedded one.
    """
    if settings.postgres_url is None:
        raise Rejected("no database is configured", setting="SEP_POSTGRES_URL")
    store = await PostgresStore.connect(settings.postgres_url.get_secret_value(), clock=clock)
    try:
        yield store
    finally:
        await store.close()
