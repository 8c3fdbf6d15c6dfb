"""When a part works again: what it has to show for it, and how long that took.

A part has resumed with the first progress that only it can have made after the fault, read from
the journal: an executor writes about an attempt on its chain, the router decides an intent, the
API accepts one, a strategy saves its state, the settlement leads. The clock starts when the
fault is over: at the kill or the death, for a pause when the lease is free again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from serve_app.chaos.books import Books
from serve_app.chaos.flow import CHAINS, Flow
from serve_app.chaos.targets import Targets

RESUME_S: Final = 60.0
"""Within so many seconds whatever was killed must work again."""
POLL_S: Final = 0.1
LOOK_S: Final = 0.25
WORDS: Final = (
    "from the end of the fault to the first progress of the part: executor: an entry about an"
    " attempt on its chain; Postgres: such an entry on every chain; chain, proxy: an inclusion on"
    " that chain; router, model: an intent decided; API replica: an intent accepted; strategy: its"
    " state saved; settlement: its lease held by the new process; supervisor, Redis: it answers."
    " replaced: until the killed process had a successor"
)


@dataclass(slots=True)
class Tally:
    """What was done, what could not be, and how long it took to work again."""

    faults: Counter[str] = field(default_factory=Counter)
    not_done: Counter[str] = field(default_factory=Counter)
    resumed: list[tuple[str, float]] = field(default_factory=list)
    replaced: list[tuple[str, float]] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    def resume_seconds(self) -> dict[str, Any]:
        """Return the quantiles of all and of each kind."""
        kinds = sorted({kind for kind, _ in self.resumed})
        return {
            "means": WORDS,
            **quantiles([seconds for _, seconds in self.resumed]),
            "by_kind": {kind: quantiles(_of(self.resumed, kind)) for kind in kinds},
            "replaced": {
                kind: quantiles(_of(self.replaced, kind))
                for kind in sorted({kind for kind, _ in self.replaced})
            },
        }


@dataclass(frozen=True, slots=True)
class Missing:
    """A kind of process one of which was killed, and those that lived before."""

    kind: str
    began: float
    before: frozenset[int]


class Resuming:
    """Waits until parts of one platform work again, and notes how long it took."""

    def __init__(self, targets: Targets, books: Books, flow: Flow) -> None:
        self._targets = targets
        self._books = books
        self._flow = flow
        self._missing: list[Missing] = []
        self._looked = 0.0
        self.tally = Tally()

    def gone(self, kind: str, began: float, before: Sequence[int]) -> None:
        """Note that a process of a kind was ended; its successor is looked for from now on."""
        self._missing.append(Missing(kind, began, frozenset(before)))

    def look(self) -> None:
        """Note the successors that have come; to find them costs some milliseconds."""
        if time.monotonic() < self._looked + LOOK_S:
            return
        self._looked = time.monotonic()
        for each in list(self._missing):
            if set(self._targets.pids(each.kind)) - each.before:
                seconds = time.monotonic() - each.began
                self.tally.replaced.append((f"kill_{each.kind}", seconds))
                self._missing.remove(each)

    def mark(self) -> int | None:
        """Return the newest entry of the journal, as soon as the database tells."""
        marks: list[int] = []

        def told() -> bool:
            seq = self._books.newest()
            marks.extend([] if seq is None else [seq])
            return bool(marks)

        return marks[0] if within(RESUME_S, told) else None

    def wait(self, fault: str, began: float, works: Callable[[], bool]) -> None:
        """Wait until a part works again."""

        def looked() -> bool:
            self.look()
            return works()

        if within(RESUME_S, looked):
            self.tally.resumed.append((fault, time.monotonic() - began))
        else:
            self.tally.stuck.append(fault)

    def works(
        self, kind: str, before: Sequence[int], since: int, chains: frozenset[int]
    ) -> Callable[[], bool]:
        """Return what tells that a part does its work again; see this module's head."""
        books, targets = self._books, self._targets
        saved = books.saved() if kind == "strategy" else 0

        def another() -> bool:
            return bool(set(targets.pids(kind)) - set(before))

        told: Mapping[str, Callable[[], bool]] = {
            "executor": lambda: books.chains_since(since, "Attempt%") >= chains,
            "postgres": lambda: books.chains_since(since, "Attempt%") >= frozenset(CHAINS),
            "chain": lambda: books.chains_since(since, "AttemptIncluded") >= chains,
            "proxy": lambda: books.chains_since(since, "AttemptIncluded") >= chains,
            "router": lambda: books.happened_since(since, "IntentDecomposed"),
            "model_replica": lambda: books.happened_since(since, "IntentDecomposed"),
            "api_replica": lambda: books.happened_since(since, "IntentAccepted"),
            "strategy": lambda: another() and books.saved() > saved,
            "settlement": lambda: another() and books.leader("settlement") not in (None, *before),
            "supervisor": lambda: another() and self._flow.well("supervisor"),
            "redis": lambda: another() and self._flow.well("redis"),
        }
        return told[kind]


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait until it holds, at most so long; say whether it does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(POLL_S)
    return False


def quantiles(seconds: Sequence[float]) -> dict[str, float | int | None]:
    """Return how many there are, their median, 95 % quantile and greatest."""
    ordered = sorted(seconds)
    named = {"p50": 0.5, "p95": 0.95, "worst": 1.0}
    return {"n": len(ordered)} | {name: _quantile(ordered, at) for name, at in named.items()}


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)


def _of(seconds: Sequence[tuple[str, float]], kind: str) -> list[float]:
    return [each for named, each in seconds if named == kind]
