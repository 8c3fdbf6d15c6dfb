"""Time as an argument. Instants are integer milliseconds since the Unix epoch, UTC."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NewType, Protocol

Millis = NewType("Millis", int)


class Clock(Protocol):
    """Where a part that needs the time gets it from."""

    def now(self) -> Millis:
        """Return the present instant."""


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> Millis:
        return Millis(time.time_ns() // 1_000_000)


class SteadyClock:
    """Never jumps, since it counts from an arbitrary instant: for durations only."""

    def now(self) -> Millis:
        return Millis(time.monotonic_ns() // 1_000_000)


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told; for tests and simulations."""

    at: Millis

    def now(self) -> Millis:
        return self.at

    def advance(self, millis: int) -> None:
        """Move forward (or, for a jump of a real clock, backward) by `millis`."""
        self.at = Millis(self.at + millis)
