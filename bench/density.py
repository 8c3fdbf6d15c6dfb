"""Strategies per GiB, one to an actor, as they run on a platform.

Memory is the actors' proportional set size (PSS), so that pages they share with the platform's
other processes count by their share. Ray's workers import pyarrow where it is installed, which
costs each of them 10 MiB; it belongs to training, and an ordinary installation has none.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Final

import httpx
import psutil

from bench.place import Place
from bench.report import Figure
from bench.strategies import EXAMPLE
from bench.tree import core_shares, kind, processes, pss_mib

ACTORS: Final = 3
GOAL: Final = 15.0
START_S: Final = 60.0
SETTLE_S: Final = 5.0
IDLE_S: Final = 10.0
KIND: Final = "strategy actors"


def run(place: Place) -> list[Figure]:
    """Start ACTORS strategies, measure their processes, stop them again."""
    names = [f"dense-{number}" for number in range(ACTORS)]
    with httpx.Client(base_url=place.api, headers=place.authorization, timeout=30.0) as client:
        for name in names:
            _post(client, "/v1/strategies", id=name, source=_source(), code=EXAMPLE.read_text())
        try:
            actors = _actors(place)
            time.sleep(SETTLE_S)  # they have read prices by then
            share = core_shares(place.pid, place.state, IDLE_S).get(KIND, 0.0)
            mib = sum(pss_mib(actor.pid) for actor in actors)
        finally:
            for name in names:
                _post(client, f"/v1/strategies/{name}/stop")
    return [
        Figure(
            name="strategies per GiB, one to an actor",
            value=ACTORS * 1_024 / mib,
            unit="per GiB",
            goal=GOAL,
            detail={
                "actors": ACTORS,
                "mib_per_actor": round(mib / ACTORS, 1),
                "idle_core_percent_per_actor": round(share * 100 / ACTORS, 2),
                "pyarrow_installed": find_spec("pyarrow") is not None,
            },
        )
    ]


def _source() -> str:
    return f"{EXAMPLE.name}:MeanReversion"


def _post(client: httpx.Client, path: str, **body: str) -> None:
    client.post(path, json=body or None).raise_for_status()


def _actors(place: Place) -> list[psutil.Process]:
    """Wait for the strategies' processes; TimeoutError when they do not come."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        found = [p for p in processes(place.pid, place.state) if kind(p) == KIND]
        if len(found) == ACTORS:
            return found
        time.sleep(0.5)
    raise TimeoutError(f"{len(found)} of {ACTORS} strategy actors came in {START_S:.0f} s")
