"""Pools that are not routed on, because what was followed is not what the chain holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StopCause(StrEnum):
    """Why a pool's followed state cannot be trusted."""

    MISSED_LOG = "missed_log"
    """The chain holds a log of the pool that never reached us."""
    UNSEEN_REORG = "unseen_reorg"
    """A block we followed, or one that a log names, is not the chain's."""
    STORAGE_CHANGED = "storage_changed"
    """Every log was followed, and yet the contract says something else."""
    LATE_DELIVERY = "late_delivery"
    """A log of a block came after that block had been worked on."""
    MALFORMED = "malformed"
    """The contract's answers make no sense for a pool of its kind."""
    NO_ANSWER = "no_answer"
    """The contract does not answer as a pool of its kind does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedPool:
    """A pool that stands still since `block_number`. It comes back only when read as a whole."""

    pool: str
    cause: StopCause
    block_number: int
    detail: str = ""
