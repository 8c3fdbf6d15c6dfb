"""Results: a table for people, a file for comparisons, and what falls short, said plainly."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("ray", "web3", "asyncpg", "redis", "onnxruntime", "pydantic", "fastapi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure against its goal; `at_least` says which side of it is good."""

    name: str
    value: float
    unit: str
    goal: float | None
    at_least: bool = True
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def verdict(self) -> str:
        """Return "met" or "SHORT"; empty where there is no goal."""
        return {True: "met", False: "SHORT", None: ""}[self.met]

    @property
    def wanted(self) -> str:
        """Return the goal with its direction."""
        return "" if self.goal is None else f"{'>=' if self.at_least else '<='} {self.goal:g}"


def show(figures: Sequence[Figure]) -> None:
    """Print the table, with what falls short marked."""
    table = Table(title="Benchmarks (both sides of a ratio are measured in this run)")
    for name in ("figure", "value", "goal", "", "detail"):
        table.add_column(name, overflow="fold")
    for each in figures:
        detail = ", ".join(f"{key} {value}" for key, value in each.detail.items())
        value = f"{each.value:.3g} {each.unit}"
        table.add_row(each.name, value, each.wanted, each.verdict, detail)
    Console(width=150).print(table)


def write(figures: Sequence[Figure], failures: Mapping[str, str], to: Path | None = None) -> Path:
    """Write the figures, what could not be measured, machine and versions; return the file."""
    path = to or RESULTS / f"{time.strftime('%Y-%m-%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "revision": _revision(),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load_at_the_end": [round(load, 1) for load in os.getloadavg()],
        },
        "versions": {name: version(name) for name in PACKAGES},
        "figures": [asdict(each) | {"met": each.met} for each in figures],
        "failures": dict(failures),
    }
    path.write_text(json.dumps(facts, indent=1) + "\n")
    return path


def _revision() -> str | None:
    """Return the commit that was measured, marked where files differ from it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=RESULTS.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), None)
