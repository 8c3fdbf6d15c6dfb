"""Strategies per GiB, one to an actor and packed, and what idle ones cost of a core.

Real actors on a Ray and a Postgres of their own: `python -m bench.strategies`. Memory is the
actors' processes' proportional set size (PSS), so that pages they share count once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import psutil
import ray
from ray.actor import ActorClass

from actors.strategy_actor import start_strategy_actor
from bench.report import Figure, show
from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM, TOKENS
from sep_ray.adapters.postgres import PostgresStore, migrate
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.engine.enrolment import Enrolment, placement
from sep_ray.journal.records import Tick
from sep_ray.kernel.clock import SystemClock
from sep_ray.strategy.tokens import Tokens
from serve_app.ray_environment import ray_environment

EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "mean_reversion.py"
ALONE: Final = 8
PACKED: Final = 500
IDLE_S: Final = 10.0
GOAL_ALONE: Final = 15.0
GOAL_PACKED: Final = 500.0


def main(arguments: Sequence[str]) -> int:
    """Measure both ways and show the figures, or, told a result file, measure into that."""
    if arguments:
        Path(arguments[0]).write_text(json.dumps([asdict(each) for each in _both()]))
        return 0
    with tempfile.TemporaryDirectory(prefix="sep-bench-") as folder:
        show(run(Path(folder)))
    return 0


def run(state: Path) -> list[Figure]:
    """Measure in a state folder of its own; leaves nothing running.

    Ray reads its variables when it is imported, so the measuring is done by a child.
    """
    postgres = EmbeddedPostgres(state, die_with_starter=True)
    postgres.start()
    result = state / "result.json"
    try:
        subprocess.run(
            [sys.executable, "-m", "bench.strategies", str(result)],
            env={**os.environ, **ray_environment(state), "SEP_STATE_DIR": str(state)},
            check=True,
        )
    finally:
        postgres.stop()
    return [Figure(**each) for each in json.loads(result.read_text())]


def _both() -> list[Figure]:
    postgres = EmbeddedPostgres(Path(os.environ["SEP_STATE_DIR"]))
    figures: list[Figure] = []
    for count, per_actor, goal in ((ALONE, 1, GOAL_ALONE), (PACKED, PACKED, GOAL_PACKED)):
        name = f"bench_{per_actor}"
        postgres.sql(f"CREATE DATABASE {name}")
        figures += _measure(postgres.url(name), count, per_actor, goal)
    return figures


def _measure(url: str, count: int, per_actor: int, goal: float) -> list[Figure]:
    os.environ["SEP_POSTGRES_URL"] = url
    os.environ["SEP_STRATEGIES_PER_ACTOR"] = str(per_actor)
    names = asyncio.run(_enrol(url, count, per_actor))
    ray.init(
        num_cpus=8,
        include_dashboard=False,
        object_store_memory=80_000_000,
        log_to_driver=False,
        namespace="sep",
    )
    try:
        actors = [start_strategy_actor(name) for name in names]
        pids = _working(actors, count)
        asyncio.run(_tick(url, 5))
        idle = _idle_share(pids)
        mib = _mib(pids)
        empty = [_Empty.remote() for _ in pids]
        empty_mib = _mib(ray.get([actor.pid.remote() for actor in empty]))
    finally:
        ray.shutdown()
    how = "one to an actor" if per_actor == 1 else f"{per_actor} to an actor"
    detail = {
        "strategies": count,
        "actors": len(pids),
        "mib_per_actor": round(mib / len(pids), 1),
        "mib_per_empty_actor": round(empty_mib / len(empty), 1),
        "idle_core_percent_per_actor": round(idle * 100 / len(pids), 2),
    }
    value = count * 1_024 / mib
    name = f"strategies per GiB, {how}"
    return [Figure(name=name, value=value, unit="per GiB", goal=goal, detail=detail)]


class EmptyActor:
    """What Ray's own process costs."""

    @ray.method
    def pid(self) -> int:
        """Return the process's id."""
        return os.getpid()


_Empty: ActorClass[EmptyActor] = ray.remote(num_cpus=0)(EmptyActor)


def _mib(pids: Sequence[int]) -> float:
    return float(sum(psutil.Process(pid).memory_full_info().pss for pid in pids)) / 2**20


async def _enrol(url: str, count: int, per_actor: int) -> list[str]:
    """Register the strategies; return the names of the actors that shall run them."""
    await migrate(url)
    clock = SystemClock()
    store = await PostgresStore.connect(url, clock=clock)
    try:
        enrolment = Enrolment(store, store, Tokens(TOKENS.values()))
        for number in range(count):
            await enrolment.start(
                f"bench-{number}",
                source="mean_reversion.py:MeanReversion",
                code=EXAMPLE.read_text(),
                params="{}",
                principal="bench",
                at=clock.now(),
            )
        return sorted(placement(await store.strategies(), per_actor))
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


def _working(actors: Sequence[Any], count: int) -> list[int]:
    """Wait until all strategies work; return the actors' process ids."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        statuses = ray.get([actor.status.remote() for actor in actors])
        working = sum(
            each["working"] for status in statuses for each in status.get("strategies", {}).values()
        )
        if working == count:
            return [status["pid"] for status in statuses]
        time.sleep(0.5)
    raise TimeoutError(f"only {working} of {count} strategies work")


def _idle_share(pids: Sequence[int]) -> float:
    """Return the cores the processes use together while nothing happens."""

    def spent() -> float:
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)

    began = spent()
    time.sleep(IDLE_S)
    return (spent() - began) / IDLE_S


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
