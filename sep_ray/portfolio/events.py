"""Events of a chain account: what arrived, what was given to whom, what did not add up."""

from __future__ import annotations

from dataclasses import dataclass

from sep_ray.kernel.units import Asset


@dataclass(frozen=True, slots=True, kw_only=True)
class FundsObserved:
    """The account's balance changed by somebody else's doing; units may be negative."""

    asset: Asset
    units: int
    block_number: int
    block_hash: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FundsAllocated:
    """Available units moved between strategies by a named principal."""

    asset: Asset
    units: int
    source: str
    target: str
    principal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerBreached:
    """Ledger and chain disagree at a block; the account stops (P8). `detail` is the evidence."""

    asset: Asset
    ledger_units: int
    chain_units: int
    block_number: int
    block_hash: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneResumed:
    """A named person has looked at a breach: the account goes on with what the chain says it held
    then. `strategy_id` has more, or less, by the difference."""

    principal: str
    note: str
    strategy_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SalesNetted:
    """Strategies' opposite sales were crossed at the mid of a block; the ledger's lines beside
    this say who gave what. `price` is units of `high` per unit of `low`."""

    low: Asset
    high: Asset
    price: tuple[int, int]
    low_units: int
    high_units: int
    block_number: int
    block_hash: str


AccountEvent = FundsObserved | FundsAllocated | LedgerBreached | LaneResumed | SalesNetted
