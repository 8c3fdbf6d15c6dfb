"""The chain as an executor meets it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sep_ray.engine.gate import CallReader, Unread
from sep_ray.engine.planning import Snapshots
from sep_ray.execution.ports import (
    Accounts,
    Calls,
    Chain,
    DataFees,
    Endpoints,
    Evidence,
    Finality,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The ports of one chain; None for what the chain does not have."""

    chain: Chain
    accounts: Accounts
    calls: Calls
    snapshots: Snapshots
    finality: Finality | None = None
    evidence: Evidence | None = None
    data_fees: DataFees | None = None
    endpoints: Endpoints | None = None
    reader: CallReader = field(default_factory=Unread)
