"""Many days on several processes, and the search for planted bugs."""

from __future__ import annotations

import gc
import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import structlog

from sep_ray.simulation.bugs import BUGS
from sep_ray.simulation.day import Day, Outcome
from sep_ray.simulation.laws import UNEXPECTED

CHUNK: Final = 20
"""Seeds a process takes at a time."""
MOST_KEPT: Final = 50
"""Breaches of which the words are kept."""

Progress = Callable[[int, int], None]
"""Told how many seeds are done and how many of them broke a law."""


@dataclass(slots=True)
class Summary:
    """What came of many days. `broken` holds the first outcomes that broke a law."""

    seeds: int = 0
    breaches: int = 0
    intents: int = 0
    swaps: int = 0
    broken: list[Outcome] | None = None

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count outcomes in."""
        self.broken = self.broken or []
        for outcome in outcomes:
            self.seeds += 1
            self.intents += outcome.intents
            self.swaps += outcome.swaps
            if outcome.broken:
                self.breaches += 1
                self.broken = [*self.broken, outcome][:MOST_KEPT]


def days(seeds: Sequence[int], bug: str | None = None) -> list[Outcome]:
    """Live through days one after the other, with a bug planted or none."""
    with BUGS[bug].planted() if bug is not None else nullcontext():
        return [Day(seed).pass_by() for seed in seeds]


def run_many(
    seeds: Sequence[int], processes: int, progress: Progress, bug: str | None = None
) -> Summary:
    """Live through days on so many processes."""
    summary = Summary()
    chunks = [(seeds[at : at + CHUNK], bug) for at in range(0, len(seeds), CHUNK)]
    for outcomes in _spread(chunks, processes):
        summary.add(outcomes)
        progress(summary.seeds, summary.breaches)
    return summary


def hunt(bug: str, most: int) -> Outcome | None:
    """Return the first day below `most` on which a planted bug shows, or None."""
    lived = (outcome for seed in range(most) for outcome in days([seed], bug))
    return next((o for o in lived if o.broken and not o.broken[0].startswith(UNEXPECTED)), None)


def hunt_all(
    names: Sequence[str], most: int, processes: int
) -> Iterator[tuple[str, Outcome | None]]:
    """Hunt these bugs side by side; yield each with the day that showed it."""
    jobs = [(name, most) for name in names]
    with multiprocessing.get_context("spawn").Pool(processes, _settle_in) as pool:
        yield from zip(names, pool.imap(_hunt, jobs), strict=True)


def _spread(
    chunks: Sequence[tuple[Sequence[int], str | None]], processes: int
) -> Iterator[list[Outcome]]:
    if processes == 1:
        yield from map(_days, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(processes, _settle_in) as pool:
        yield from pool.imap_unordered(_days, chunks)


def _days(job: tuple[Sequence[int], str | None]) -> list[Outcome]:
    return days(*job)


def _hunt(job: tuple[str, int]) -> Outcome | None:
    return hunt(*job)


def _settle_in() -> None:
    """Make a process of its own ready for many days: a day's rubbish is small and soon gone."""
    _quietly()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _quietly() -> None:
    """Let nobody log in this process: what counts is said by the laws."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@contextmanager
def hush() -> Iterator[None]:
    """Let nobody log while the context lasts."""
    before = structlog.get_config()
    _quietly()
    try:
        yield
    finally:
        structlog.configure(**before)
