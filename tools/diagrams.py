"""Write docs/states.md: the state machines, drawn from the tables that move them."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sep_ray.decomposition import step
from sep_ray.execution import attempt
from sep_ray.intent import states
from sep_ray.policy import halts
from sep_ray.settlement import transfer
from sep_ray.strategy import record
from tools.install import ROOT

PAGE = ROOT / "docs" / "states.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A table of moves, the states a life begins in, and those it may end in."""

    name: str
    table: Mapping[Any, StrEnum]
    starts: tuple[StrEnum, ...]
    ends: Collection[StrEnum] = ()


MACHINES = (
    Machine(
        name="Intent",
        table=states.TRANSITIONS,
        starts=(states.Status.ACCEPTED,),
        ends=states.TERMINAL,
    ),
    Machine(
        name="Step",
        table=step.TRANSITIONS,
        starts=(step.StepStatus.PENDING, step.StepStatus.READY),
        ends=step.TERMINAL,
    ),
    Machine(
        name="Attempt",
        table=attempt.TRANSITIONS,
        starts=(attempt.AttemptStatus.PREPARED,),
        ends=attempt.TERMINAL,
    ),
    Machine(
        name="Transfer",
        table=transfer.TRANSITIONS,
        starts=(transfer.TransferStatus.PLANNED,),
        ends=transfer.TERMINAL,
    ),
    Machine(
        name="Strategy",
        table=record.TRANSITIONS,
        starts=(record.StrategyStatus.RUNNING,),
    ),
    Machine(
        name="Halt",
        table=halts.TRANSITIONS,
        starts=(halts.HaltStatus.ACTIVE,),
        ends=(halts.HaltStatus.RELEASED,),
    ),
)


def diagram(machine: Machine) -> str:
    """Draw one table: states in the order they are declared, events without the common name."""
    events: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for (start, event), end in machine.table.items():
        events.setdefault((start, end), []).append(_words(machine.name, event))
    lines = [f"    [*] --> {start}" for start in machine.starts]
    lines += [f"    {start} --> {end}: {', '.join(of)}" for (start, end), of in events.items()]
    lines += [f"    {end} --> [*]" for end in type(machine.starts[0]) if end in machine.ends]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _words(name: str, event: type) -> str:
    """Turn an event's name into words: IntentCancelRequested -> cancel requested."""
    return " ".join(re.findall("[A-Z][a-z]*", event.__name__.removeprefix(name))).lower()


def page() -> str:
    """Return the whole page."""
    head = (
        "# State machines\n\nDrawn from the tables that move them (`make docs`); a test compares.\n"
        "A move that is not here is refused.\n"
    )
    parts = (f"\n## {machine.name}\n\n{diagram(machine)}\n" for machine in MACHINES)
    return head + "".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
