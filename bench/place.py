"""A platform of the benchmark's own: a state folder that goes afterwards, the shared cache."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.kernel.clock import SystemClock
from sep_ray.settings import Settings
from serve_app import place, platform
from serve_app.auth import Role, Tokens, token_secret

ROOT: Final = Path(__file__).resolve().parents[1]
CACHE: Final = ROOT / ".sep" / "cache"
QUIET_S: Final = 90.0
TOKEN_S: Final = 3_600

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A running platform: its folder and process, where its parts are, a token for everything."""

    state: Path
    pid: int
    api: str
    token: str
    database: str
    chains: Mapping[int, str]
    start_seconds: float

    @property
    def authorization(self) -> dict[str, str]:
        """The header every request needs."""
        return {"Authorization": f"Bearer {self.token}"}

    def quiet(self) -> None:
        """Return when no intent is open, so that nothing of the last measurement works on.

        Raises TimeoutError when that does not come.
        """
        asyncio.run(_no_open_intents(self.database))


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for a benchmark's platform; remove it at the end."""
    with place.folder("sepb-") as path:
        yield path


@contextmanager
def own_settings(state: Path, **variables: str) -> Iterator[Settings]:
    """Set exactly these SEP_* variables, and the cache's, for this process and its children."""
    cache = Path(os.environ.get("SEP_CACHE_DIR", CACHE))
    with place.own_settings(state, cache, **variables) as settings:
        yield settings


@contextmanager
def running(report: Report) -> Iterator[Place]:
    """Bring a platform up, and take it down whatever happens."""
    variables = {
        "SEP_HTTP_PORT": "0",
        "SEP_BENCH_ROUTES": "true",
        "SEP_SUBMISSIONS_PER_MINUTE": "10000000",
        "SEP_LOG_LEVEL": "info",
    }
    with folder() as state, own_settings(state, **variables) as settings:
        try:
            endpoints = platform.up(settings, False, report)
            tokens = Tokens(token_secret(None, state), SystemClock())
            yield Place(
                state=state,
                pid=endpoints["pid"],
                api=endpoints["api"],
                token=tokens.mint("bench", Role.ADMIN, TOKEN_S),
                database=EmbeddedPostgres(state).url(),
                chains={int(name): url for name, url in endpoints["chains"].items()},
                start_seconds=endpoints["start_seconds"],
            )
        finally:
            platform.down(settings, report)


async def _no_open_intents(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        deadline = time.monotonic() + QUIET_S
        while time.monotonic() < deadline:
            open_ = await connection.fetchval(
                "SELECT count(*) FROM intents WHERE status IN ('ACCEPTED', 'ACTIVE', 'CANCELLING')"
            )
            if not open_:
                return
            await asyncio.sleep(0.1)
    finally:
        await connection.close()
    raise TimeoutError(f"{open_} intents are still open after {QUIET_S:.0f} s")
