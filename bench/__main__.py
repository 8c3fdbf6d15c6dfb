"""Run the benchmarks on a platform of their own: `python -m bench [NAME...] [--to FILE]`.

Everything is measured one after the other, first on the platform, then, once that is down, what
needs no platform. Nothing is left running and nothing is left behind but the results' file.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from subprocess import SubprocessError
from typing import Final

import psutil
from asyncpg import PostgresError
from httpx import HTTPError
from rich.console import Console

from bench import api, density, halt, idle, lane, latency, rebalance, routing, strategies
from bench.place import Place, folder, own_settings, running
from bench.report import Figure, show, write
from sep_ray.kernel.errors import SepError
from sep_ray.logs import configure

ON_PLATFORM: Final[Mapping[str, Callable[[Place], list[Figure]]]] = {
    "idle": idle.run,
    "latency": latency.run,
    "actors": density.run,
    "singles": api.singles,
    "batch": api.batches,
    "rebalance": rebalance.run,
    "halt": halt.run,
}
ALONE: Final[Mapping[str, Callable[[Path], list[Figure]]]] = {
    "packed": strategies.run,
    "lane": lane.run,
    "routing": routing.run,
}
NAMES: Final = (*ON_PLATFORM, *ALONE)
FAILURES: Final = (
    SepError,
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    HTTPError,
    PostgresError,
    psutil.Error,
    SubprocessError,
)
SETTLE_S: Final = 5.0
"""What a platform that has just come up is given before anything is measured."""


class Run:
    """Says what is going on, and keeps what came of it, failures included."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.failures: dict[str, str] = {}
        self._console = Console()
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self._console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/] {text}")

    def measure(self, name: str, work: Callable[[], list[Figure]]) -> None:
        """Run one measurement; one that fails does not keep the others from running."""
        self.say(f"measuring: {name}")
        try:
            found = work()
        except FAILURES as error:
            self.failures[name] = f"{type(error).__name__}: {error}"
            self.say(f"[red]{name} failed[/]: {self.failures[name]}")
            return
        for figure in found:
            self.say(f"  {figure.name}: {figure.value:.3g} {figure.unit} {figure.verdict}")
        self.figures += found


def main(arguments: Sequence[str]) -> int:
    """Run the named benchmarks, or all; 0 when each could be measured, met or not."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--to", type=Path, help="where to write the results (JSON)")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(NAMES)}")
    configure("console", "error")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run()
    _measure(run, given.names or NAMES)
    show(run.figures)
    run.say(f"results: {write(run.figures, run.failures, given.to)}")
    return 1 if run.failures else 0


def _measure(run: Run, names: Iterable[str]) -> None:
    on_platform = [name for name in ON_PLATFORM if name in names]
    if on_platform:
        with running(run.say) as place:
            run.say(f"the platform came up in {place.start_seconds} s")
            time.sleep(SETTLE_S)
            for name in on_platform:
                run.measure(name, lambda name=name: ON_PLATFORM[name](place))
    for name in (name for name in ALONE if name in names):
        with folder() as state, own_settings(state):
            run.measure(name, lambda name=name, state=state: ALONE[name](state))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
