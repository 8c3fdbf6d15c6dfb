"""Which halts stand, as one process knows it: from the database, and from word of mouth (P10).

Word comes first, because it is faster than any database; what was only told lapses unless the
database says the same soon. Until the database was read once, everything is halted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sep_ray.kernel.clock import Clock, Millis
from sep_ray.policy.codes import Denial
from sep_ray.policy.halts import Halt, Scope, Sending, stopped

HEARSAY_MS: Final = 10_000
"""How long a halt that was told counts before the database must show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why something is not sent: the code, and the halt in words."""

    code: Denial
    why: str


class HaltBoard:
    """Asked before everything that is signed or sent. Telling is safe from any thread."""

    def __init__(self, steady: Clock) -> None:
        """`steady` never jumps: it judges how old a word is."""
        self._steady = steady
        self._durable: tuple[Halt, ...] | None = None
        self._told: dict[UUID, tuple[Halt, Millis]] = {}

    def tell(self, halt: Halt) -> None:
        """Note a halt that is about to be durable."""
        until = Millis(self._steady.now() + HEARSAY_MS)
        self._told = {**self._told, halt.id: (halt, until)}

    def untell(self, halt_id: UUID) -> None:
        """Note that a halt was released, or never came to be."""
        self._told = {name: told for name, told in self._told.items() if name != halt_id}
        if self._durable is not None:
            self._durable = tuple(halt for halt in self._durable if halt.id != halt_id)

    def read(self, halts: Iterable[Halt]) -> None:
        """Note what the database says; it outlives every word."""
        self._durable = tuple(halts)
        known, now = {halt.id for halt in self._durable}, self._steady.now()
        self._told = {
            name: (halt, until)
            for name, (halt, until) in self._told.items()
            if name not in known and until > now
        }

    @property
    def standing(self) -> tuple[Halt, ...]:
        """All halts that count now."""
        now = self._steady.now()
        told = tuple(halt for halt, until in self._told.values() if until > now)
        return (*(self._durable or ()), *told)

    def stop(self, sending: Sending) -> Stop | None:
        """Return why this is not to be signed or sent, or None."""
        if self._durable is None:
            return Stop(code=Denial.HALTED, why="the halts have not been read yet")
        found = stopped(self.standing, sending)
        if found is None:
            return None
        code, halt = found
        about = f" {halt.target}" if halt.scope is not Scope.ALL else ""
        return Stop(code=code, why=f"{halt.scope.value}{about}, by {halt.principal}: {halt.why}")
