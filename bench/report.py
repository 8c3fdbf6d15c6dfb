"""Results: a table for people, a file for comparisons, and what falls short, said plainly."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
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


def show(figures: Sequence[Figure]) -> None:
    """Print the table, with what falls short marked."""
    table = Table(title="Benchmarks (ratios within this run)")
    for name in ("figure", "value", "goal", "", "detail"):
        table.add_column(name, overflow="fold")
    for each in figures:
        sign = "" if each.goal is None else (">= " if each.at_least else "<= ") + f"{each.goal:g}"
        verdict = {True: "met", False: "SHORT", None: ""}[each.met]
        detail = ", ".join(f"{key} {value}" for key, value in each.detail.items())
        table.add_row(each.name, f"{each.value:.3g} {each.unit}", sign, verdict, detail)
    Console(width=140).print(table)


def write(figures: Sequence[Figure]) -> Path:
    """Write the figures with machine and versions to bench/results/."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y-%m-%dT%H%M%S')}.json"
    facts = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in PACKAGES},
        "figures": [asdict(each) | {"met": each.met} for each in figures],
    }
    path.write_text(json.dumps(facts, indent=1))
    return path
