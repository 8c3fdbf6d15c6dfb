"""Strategies per GiB, packed into one actor, and what it costs of a core while nothing happens.

A real actor on a Ray and a Postgres of their own. Memory is its process's proportional set size
(PSS), so that pages it shares with others count by their share. Ray's workers import pyarrow, and
with it numpy, where it is installed (it belongs to training): 10 MiB an actor.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import psutil
import ray
from ray.actor import ActorClass

from actors.strategy_actor import start_strategy_actor
from bench.report import Figure
from bench.tree import pss_mib
from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM, TOKENS
from sep_ray.adapters.postgres import PostgresStore, migrate
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.engine.enrolment import Enrolment, placement
from sep_ray.journal.records import Tick
from sep_ray.kernel.clock import SystemClock
from sep_ray.strategy.tokens import Tokens
from serve_app.ray_environment import ray_environment

EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "mean_reversion.py"
STRATEGIES: Final = 500
IDLE_S: Final = 10.0
GOAL: Final = 500.0
CHILD_S: Final = 180.0


def run(state: Path) -> list[Figure]:
    """Measure in a state folder of its own; leaves nothing running.

    Ray reads its variables when it is imported, so the measuring is done by a child.
    """
    postgres = EmbeddedPostgres(state, die_with_starter=True)
    url = postgres.start()
    result = state / "result.json"
    try:
        subprocess.run(
            [sys.executable, "-m", "bench.strategies", str(result)],
            env={
                **os.environ,
                **ray_environment(state),
                "SEP_STATE_DIR": str(state),
                "SEP_POSTGRES_URL": url,
                "SEP_STRATEGIES_PER_ACTOR": str(STRATEGIES),
            },
            check=True,
            timeout=CHILD_S,
        )
    finally:
        postgres.stop()
    return [Figure(**json.loads(result.read_text()))]


def main(arguments: Sequence[str]) -> int:
    """Measure, told a database by the environment, into the file that is named."""
    figure = _measure(os.environ["SEP_POSTGRES_URL"])
    Path(arguments[0]).write_text(json.dumps(asdict(figure)))
    return 0


def _measure(url: str) -> Figure:
    names = asyncio.run(_enrol(url))
    ray.init(
        num_cpus=8,
        include_dashboard=False,
        object_store_memory=80_000_000,
        log_to_driver=False,
        namespace="sep",
    )
    try:
        actors = [start_strategy_actor(name) for name in names]
        pids = _working(actors)
        asyncio.run(_tick(url, 5))
        empty = _Empty.remote()
        empty_pid = ray.get(empty.pid.remote())
        idle, empty_idle = _idle_shares(pids, [empty_pid])
        mib = sum(map(pss_mib, pids))
        empty_mib = pss_mib(empty_pid)
    finally:
        ray.shutdown()
    return Figure(
        name=f"strategies per GiB, {STRATEGIES} to an actor",
        value=STRATEGIES * 1_024 / mib,
        unit="per GiB",
        goal=GOAL,
        detail={
            "actors": len(pids),
            "mib_per_actor": round(mib / len(pids), 1),
            "mib_per_empty_actor": round(empty_mib, 1),
            "idle_core_percent_per_actor": round(idle * 100 / len(pids), 2),
            "idle_core_percent_per_empty_actor": round(empty_idle * 100, 2),
        },
    )


class EmptyActor:
    """What Ray's own process costs."""

    @ray.method
    def pid(self) -> int:
        """Return the process's id."""
        return os.getpid()


_Empty: ActorClass[EmptyActor] = ray.remote(num_cpus=0)(EmptyActor)


async def _enrol(url: str) -> list[str]:
    """Register the strategies; return the names of the actors that shall run them."""
    await migrate(url)
    clock = SystemClock()
    store = await PostgresStore.connect(url, clock=clock)
    try:
        enrolment = Enrolment(store, store, Tokens(TOKENS.values()))
        for number in range(STRATEGIES):
            await enrolment.start(
                f"bench-{number}",
                source="mean_reversion.py:MeanReversion",
                code=EXAMPLE.read_text(),
                params="{}",
                principal="bench",
                at=clock.now(),
            )
        return sorted(placement(await store.strategies(), STRATEGIES))
    finally:
        await store.close()


async def _tick(url: str, blocks: int) -> None:
    """Record a price a second, so that what strategies keep of a market is counted too."""
    clock = SystemClock()
    store = await PostgresStore.connect(url, clock=clock)
    low, high = sorted(BOOKS[ETHEREUM].token(name).asset for name in ("WETH", "USDC"))
    try:
        for block in range(1, blocks + 1):
            await store.record_ticks(
                [
                    Tick(
                        chain_id=ETHEREUM,
                        base=low,
                        quote=high,
                        block_number=block,
                        at=clock.now(),
                        numerator=10**18,
                        denominator=2_000 * 10**6 + block,
                    )
                ]
            )
            await asyncio.sleep(1.0)
    finally:
        await store.close()


def _working(actors: Sequence[Any]) -> list[int]:
    """Wait until all strategies work; return the actors' process ids."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        statuses = ray.get([actor.status.remote() for actor in actors])
        working = sum(
            each["working"] for status in statuses for each in status.get("strategies", {}).values()
        )
        if working == STRATEGIES:
            return [status["pid"] for status in statuses]
        time.sleep(0.5)
    raise TimeoutError(f"only {working} of {STRATEGIES} strategies work")


def _idle_shares(*groups: Sequence[int]) -> list[float]:
    """Return the cores each group of processes uses while nothing happens."""

    def spent() -> list[float]:
        return [sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids) for pids in groups]

    began = spent()
    time.sleep(IDLE_S)
    return [(after - before) / IDLE_S for before, after in zip(began, spent(), strict=True)]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
