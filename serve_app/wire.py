"""Events as clients read them: amounts as strings, assets as CAIP-19, nothing that could be sent.

Signed bytes and strategies' code stay inside: whoever watches must not be able to act.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final
from uuid import UUID

from sep_ray.decomposition.step import StepHeld
from sep_ray.journal.board import NOT_SHOWN
from sep_ray.journal.records import Recorded
from sep_ray.kernel.units import Asset
from serve_app.explain import Teller

AMOUNTS: Final = frozenset(
    {
        "amount",
        "units",
        "sold",
        "bought",
        "quoted",
        "reserved",
        "numerator",
        "denominator",
        "max_fee_wei",
        "tip_wei",
        "gas_price_wei",
        "data_fee_wei",
        "ledger_units",
        "low_units",
        "high_units",
        "price",
        "chain_units",
        "quoted_out",
        "out_of",
        "least_out",
        "units_out",
        "fee_wei",
        "departed",
        "left",
        "arrived",
        "refunded",
    }
)
"""Integer fields that may exceed what a client's number type holds; written as strings."""
INSIDE: Final = frozenset({"raw", "code"})
"""Fields that are not shown."""
REASONS: Final = frozenset({(StepHeld, "code")})
"""Fields of such a name that are shown: they say which limit, and nobody could act with that."""


def wire(value: Any) -> Any:
    """Return a value of the core as plain JSON values."""
    if isinstance(value, Asset | UUID):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _of(value, f.name) for f in fields(value)}
    if isinstance(value, frozenset):
        return sorted(map(wire, value))
    if isinstance(value, list | tuple):
        return [wire(each) for each in value]
    return value.value if isinstance(value, Enum) else value


def event_facts(row: Recorded, teller: Teller) -> dict[str, Any]:
    """Return a journal event as JSON values, with a sentence that says what happened."""
    return {
        "seq": row.seq,
        "stream": row.stream_id,
        "version": row.version,
        "type": type(row.event).__name__,
        "at": row.at,
        "correlation_id": str(row.correlation_id),
        "words": teller.words(row),
        "data": wire(row.event),
    }


def _of(owner: Any, name: str) -> Any:
    value = getattr(owner, name)
    return wire(value) if (type(owner), name) in REASONS else _field(name, value)


def _field(name: str, value: Any) -> Any:
    if name in INSIDE:
        return NOT_SHOWN if value else ""
    if name in AMOUNTS and isinstance(value, int):
        return str(value)
    if name in AMOUNTS and isinstance(value, tuple):
        return [_field(name, each) for each in value]
    return wire(value)
