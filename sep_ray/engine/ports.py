"""What the engine asks of models and markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sep_ray.kernel.units import ChainId
from sep_ray.routing.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One list of outputs per row; `source` is "model" or "fallback", `reason` says why."""

    rows: list[list[float]]
    source: str
    reason: str = ""


class Model(Protocol):
    """A model that always answers: itself, or its deterministic fallback."""

    async def score(self, rows: Sequence[Sequence[float]]) -> Scored:
        """Score rows of features; never raises for a model that is missing, slow or wrong."""


class Market(Protocol):
    """The newest immutable snapshot of each chain."""

    async def snapshot(self, chain_id: ChainId) -> Snapshot | None:
        """Return the newest snapshot, or None while the chain is not being read."""
