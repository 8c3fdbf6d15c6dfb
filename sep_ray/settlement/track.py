"""What a bridge has done so far: its record, and whether it is cut off. Derived, never kept.

A movement that came in time speaks for a bridge; one that was late, refunded, never took effect or
needs a person speaks against it. `CUT_AFTER` of the latter in a row, the newest first, cut it off
for a while that doubles with each further one; then it is tried with one movement at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sep_ray.kernel.clock import Millis
from sep_ray.settlement.transfer import Transfer, TransferStatus

CUT_AFTER: Final = 3
"""Failures in a row after which nothing more is given to a bridge."""
COOL_MS: Final = 600_000
"""How long a bridge is cut off at first."""
LONGEST_MS: Final = 24 * 3_600_000
REMEMBERED: Final = 50
"""Movements that count, the newest ones."""

_FAILED: Final = frozenset(
    {
        TransferStatus.REFUNDED,
        TransferStatus.ABANDONED,
        TransferStatus.EXPIRED_REFUND_DUE,
        TransferStatus.NEEDS_OPERATOR,
        TransferStatus.INDETERMINATE,
        TransferStatus.DELIVERED_OTHER_ASSET,
        TransferStatus.DELAYED,
    }
)
_CAME: Final = frozenset({TransferStatus.ARRIVED, TransferStatus.ARRIVAL_INCLUDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A bridge's record: movements that came in time and that did not, of those `in_row` at the
    newest end; how long those that came took in all; when the newest failure showed; and what is
    under way now."""

    came: int = 0
    failed: int = 0
    in_row: int = 0
    took_ms: int = 0
    failed_at: Millis | None = None
    under_way: int = 0

    def cut_until(self) -> Millis | None:
        """Return until when it is given nothing; None when it is not cut off at all."""
        if self.in_row < CUT_AFTER or self.failed_at is None:
            return None
        pause = min(COOL_MS << (self.in_row - CUT_AFTER), LONGEST_MS)
        return Millis(self.failed_at + pause)

    @property
    def risk_ppm(self) -> int:
        """Return how often it fails, in parts per million, with 19 good ones taken for granted."""
        return self.failed * 1_000_000 // (self.came + self.failed + 19)

    def expected_ms(self, quoted_ms: int) -> int:
        """Return what is to be expected when so much is quoted: the quote counts as 4 sightings."""
        return (4 * quoted_ms + self.took_ms) // (4 + self.came)


def track(transfers: Sequence[Transfer], now: Millis) -> Track:
    """Return the record that a bridge's newest transfers (any order) make."""
    newest = sorted(transfers, key=lambda each: each.id, reverse=True)[:REMEMBERED]
    came = [each for each in newest if each.status in _CAME]
    failed = [each for each in newest if _has_failed(each, now)]
    good = {each.id for each in came if not _has_failed(each, now)}
    return Track(
        came=len(good),
        failed=len(failed),
        in_row=_in_row(newest, good, {each.id for each in failed}),
        took_ms=sum(_took(each) for each in came if each.id in good),
        failed_at=max((each.updated_at for each in failed), default=None),
        under_way=sum(each.departure_id is not None and not _ended(each) for each in newest),
    )


def _in_row(newest: Iterable[Transfer], good: set[UUID], bad: set[UUID]) -> int:
    count = 0
    for each in newest:
        if each.id in good:
            break
        count += each.id in bad
    return count


def _has_failed(transfer: Transfer, now: Millis) -> bool:
    if transfer.status in _FAILED or transfer.refund_due:
        return True
    if transfer.departed_at is None:
        return False
    end = transfer.arrived_at if transfer.arrived_at is not None else now
    return end > transfer.late_after


def _took(transfer: Transfer) -> int:
    start = transfer.departed_at or transfer.planned_at
    return max((transfer.arrived_at or transfer.updated_at) - start, 0)


def _ended(transfer: Transfer) -> bool:
    return transfer.status in _CAME or transfer.status in (
        TransferStatus.REFUNDED,
        TransferStatus.ABANDONED,
    )
