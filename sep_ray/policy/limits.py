"""Limits as data: what they count, about what, and how much of it they allow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import MAX_UINT256, PPM, Asset, ChainId

MOST_LIMITS: Final = 500
MOST_MEMBERS: Final = 1_000
WINDOW_MS: Final = (60_000, 31 * 86_400_000)
"""The shortest and the longest rolling window."""
SLOTS: Final = 60
"""A window is counted in so many slots; a slot counts until all of it has left the window."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SELECTOR: Final = re.compile(r"0x[0-9a-f]{8}")
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")


class InvalidLimit(Rejected):
    """A limit that says nothing sensible; facts: field, allowed."""


class Kind(StrEnum):
    """How a limit counts."""

    TRANSACTION = "transaction"  # each transaction for itself
    WINDOW = "window"  # the sum over the last `window_ms`
    TOTAL = "total"  # the sum over all time
    POSITION = "position"  # what a strategy would hold afterwards
    DAILY_LOSS = "daily_loss"  # a strategy's loss since midnight, UTC
    DRAWDOWN = "drawdown"  # a strategy's loss since its best moment
    LIST = "list"  # what is not a member is not allowed


class Measure(StrEnum):
    """What a limit counts."""

    VALUE = "value"  # smallest units of the numeraire, at the mids of the newest block
    UNITS = "units"  # smallest units of the limit's asset
    GAS = "gas"  # wei that may be paid for gas
    COUNT = "count"  # transactions
    PPM = "ppm"  # parts per million of the best equity (drawdown)
    MEMBERS = "members"  # nothing: a list


class Listed(StrEnum):
    """What an allow-list is a list of."""

    CONTRACTS = "contracts"
    SELECTORS = "selectors"
    ASSETS = "assets"
    RECIPIENTS = "recipients"
    SPENDERS = "spenders"


ALLOWED: Final = {
    Kind.TRANSACTION: (Measure.VALUE, Measure.UNITS, Measure.GAS),
    Kind.WINDOW: (Measure.VALUE, Measure.UNITS, Measure.GAS, Measure.COUNT),
    Kind.TOTAL: (Measure.VALUE, Measure.UNITS, Measure.GAS, Measure.COUNT),
    Kind.POSITION: (Measure.VALUE, Measure.UNITS),
    Kind.DAILY_LOSS: (Measure.VALUE,),
    Kind.DRAWDOWN: (Measure.VALUE, Measure.PPM),
    Kind.LIST: (Measure.MEMBERS,),
}
"""What each kind can count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a limit is about; None is any. All that is named must fit."""

    strategy_id: str | None = None
    chain_id: ChainId | None = None
    asset: Asset | None = None
    contract: str | None = None
    selector: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One rule. `amount` is in the measure's unit; `listed` and `members` belong to a LIST.

    Assets are listed as CAIP-19 text, addresses and selectors as lower-case 0x-hex.
    """

    id: str
    kind: Kind
    measure: Measure
    subject: Subject = field(default_factory=Subject)
    amount: int = 0
    window_ms: int | None = None
    listed: Listed | None = None
    members: frozenset[str] = frozenset()

    @property
    def slot_ms(self) -> int:
        """How long a slot of its window is."""
        return max((self.window_ms or 0) // SLOTS, 1)


def checked(limit: Limit) -> Limit:
    """Return the limit, or raise InvalidLimit naming the field and what it may be."""
    for name, wrong, allowed in _faults(limit):
        if wrong:
            raise InvalidLimit(f"{name} is not acceptable", field=name, allowed=allowed)
    return limit


def _faults(limit: Limit) -> Iterator[tuple[str, bool, str]]:
    measures = ALLOWED[limit.kind]
    yield "id", not _NAME.fullmatch(limit.id), "1..64 of a-z 0-9 . _ -, a letter or digit first"
    yield "measure", limit.measure not in measures, ", ".join(measures)
    most = PPM if limit.measure is Measure.PPM else MAX_UINT256
    yield "amount", not 0 <= limit.amount <= most, f"0..{most}"
    low, high = WINDOW_MS
    if limit.kind is Kind.WINDOW:
        wide = limit.window_ms is not None and low <= limit.window_ms <= high
        yield "window_ms", not wide, f"{low}..{high}"
    else:
        yield "window_ms", limit.window_ms is not None, "only for kind window"
    yield from _subject_faults(limit)
    yield from _list_faults(limit)


def _subject_faults(limit: Limit) -> Iterator[tuple[str, bool, str]]:
    subject = limit.subject
    units = limit.measure is Measure.UNITS
    yield "subject.asset", units and subject.asset is None, "an asset, for measure units"
    loss = limit.kind in (Kind.DAILY_LOSS, Kind.DRAWDOWN)
    yield "subject.strategy_id", loss and subject.strategy_id is None, "a strategy, for losses"
    contract, selector = subject.contract, subject.selector
    wrong = contract is not None and not _ADDRESS.fullmatch(contract)
    yield "subject.contract", wrong, "0x and 40 lower-case hex digits"
    wrong = selector is not None and not _SELECTOR.fullmatch(selector)
    yield "subject.selector", wrong, "0x and 8 lower-case hex digits"


def _list_faults(limit: Limit) -> Iterator[tuple[str, bool, str]]:
    listing = limit.kind is Kind.LIST
    yield "listed", (limit.listed is None) == listing, f"for kind list: {', '.join(Listed)}"
    count = len(limit.members)
    yield "members", count > MOST_MEMBERS or (count > 0 and not listing), f"0..{MOST_MEMBERS}"
    wrong = [member for member in sorted(limit.members) if not _is_member(limit.listed, member)]
    shape = _SHAPES.get(limit.listed, "0x and 40 lower-case hex digits")
    yield "members", bool(wrong), f"{shape}; not {wrong[0][:80]}" if wrong else ""


_SHAPES: Final[Mapping[Listed | None, str]] = {
    Listed.SELECTORS: "0x and 8 lower-case hex digits",
    Listed.ASSETS: "CAIP-19 assets",
}


def _is_member(listed: Listed | None, text: str) -> bool:
    if listed is Listed.SELECTORS:
        return _SELECTOR.fullmatch(text) is not None
    if listed is not Listed.ASSETS:
        return _ADDRESS.fullmatch(text) is not None
    try:
        return str(Asset.parse(text)) == text
    except Rejected:
        return False
