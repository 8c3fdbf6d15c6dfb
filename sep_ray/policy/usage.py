"""What of the limits is in use, and what becomes of it when an attempt ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sep_ray.execution.attempt import TERMINAL, Attempt, AttemptStatus
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset
from sep_ray.policy.limits import Kind, Measure

NOBODY: Final = UUID(int=0)
FOREVER: Final = 0
"""The slot of what does not depend on time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What was taken of a limit in the slot that begins at `start`."""

    start: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A share of a limit for one attempt, booked before its bytes are signed.

    Decided before there is an attempt, it names nobody yet; booked before there is one, it names
    the `lane` that is to sign. The commit stands only if the slots
    from `since` on, this amount included, hold at most `bound`; None only counts. A position is
    held until the ledger shows it. What is crossed between strategies has no attempt: its shares
    stay nobody's, count for good, and hold no position, for the same commit's postings do.
    """

    attempt_id: UUID = NOBODY
    limit_id: str
    kind: Kind
    measure: Measure
    slot: int
    amount: int
    since: int
    bound: int | None
    lane: str = ""

    @property
    def booked(self) -> int:
        """What of the amount is in use once the commit stands."""
        shown = self.attempt_id == NOBODY and self.kind is Kind.POSITION
        return 0 if shown else self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """How a strategy does, in the numeraire's smallest units, deposits and withdrawals aside.

    * `profit`: its equity now less what it was given, each valued when it came
    * `high_profit`: the most that ever was; `day_profit` what it was at the day's first mark
    * `given`: what it was given, so that `given` + `high_profit` is its best equity
    """

    strategy_id: str
    profit: int
    high_profit: int
    day_profit: int
    given: int
    day: int
    at: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """All that `decide` looks at besides request and limits.

    `held` are units per strategy and asset, of every bucket that is ours.
    """

    slots: Mapping[str, tuple[Slot, ...]] = field(default_factory=dict)
    held: Mapping[tuple[str, Asset], int] = field(default_factory=dict)
    marks: Mapping[str, Marks] = field(default_factory=dict)

    def since(self, limit_id: str, start: int) -> int:
        """Return what is in use from a slot on."""
        return sum(s.amount for s in self.slots.get(limit_id, ()) if s.start >= start)

    def plus(self, taken: tuple[Reservation, ...]) -> Usage:
        """Return the usage once these are booked."""
        if not taken:
            return self
        slots = dict(self.slots)
        for each in taken:
            new = Slot(start=each.slot, amount=each.amount)
            slots[each.limit_id] = (*slots.get(each.limit_id, ()), new)
        return Usage(slots=slots, held=self.held, marks=self.marks)


def held(shares: Iterable[Reservation]) -> tuple[Reservation, ...]:
    """Return those that an attempt holds until it ends."""
    return tuple(share for share in shares if share.attempt_id != NOBODY)


def ended(attempt: Attempt) -> bool:
    """Whether what an attempt reserved is to be settled: only evidence ends one (P6)."""
    return attempt.status in TERMINAL


def kept(kind: Kind, measure: Measure, amount: int, attempt: Attempt) -> int:
    """Return how much of a reservation counts for good, now that its attempt has ended.

    Gas counts as it was paid, by a reverted or a cancelled transaction too. A transaction that
    took no effect gives everything else back. A position is in the ledger by now.
    """
    inclusion = attempt.inclusion
    if measure is Measure.GAS:
        paid = inclusion.gas_used * inclusion.gas_price_wei if inclusion is not None else 0
        return min(paid, amount)
    if measure is Measure.COUNT:
        return amount if inclusion is not None else 0
    if kind is Kind.POSITION:
        return 0
    return amount if attempt.status is AttemptStatus.FINAL else 0
