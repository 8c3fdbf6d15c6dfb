"""The store on Postgres, with or without TimescaleDB."""

from sep_ray.adapters.postgres.migrations import migrate
from sep_ray.adapters.postgres.store import PostgresStore

__all__ = ["PostgresStore", "migrate"]
