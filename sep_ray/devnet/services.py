"""Postgres and Redis for the platform: somebody else's by URL, or our own in a state folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.devnet.valkey import EmbeddedValkey


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUrls:
    """Where the two services are; the URLs hold passwords and stay out of every repr."""

    postgres: str = field(repr=False)
    redis: str = field(repr=False)


def start_services(
    state: Path,
    *,
    postgres_url: str | None = None,
    redis_url: str | None = None,
    die_with_starter: bool = False,
) -> ServiceUrls:
    """Return both URLs, starting an embedded service for each that is not given.

    Running embedded services are found and kept. Raises what their `start` raises.
    """
    return ServiceUrls(
        postgres=postgres_url or EmbeddedPostgres(state, die_with_starter=die_with_starter).start(),
        redis=redis_url or EmbeddedValkey(state, die_with_starter=die_with_starter).start(),
    )


def stop_services(state: Path) -> None:
    """Shut down cleanly whatever embedded service runs in this state folder."""
    EmbeddedValkey(state).stop()
    EmbeddedPostgres(state).stop()
