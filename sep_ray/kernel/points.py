"""Named places in the code at which a process may be made to die. In production nobody listens."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """Where dying is most instructive: between a decision, its record and its effect."""

    LEASE_TAKEN = "lease_taken"  # the lease is ours, the journal is not read yet
    BOOKS_READ = "books_read"  # the journal is read, nothing is done yet
    RECEIPTS_READ = "receipts_read"  # the chain has told, nothing is booked
    SIGNED = "signed"  # signed bytes exist in memory only
    PREPARED = "prepared"  # signed bytes are durable, nobody has heard of them
    SENT = "sent"  # a node was handed the bytes, that is not recorded
    REPRICED = "repriced"  # a replacement is signed and not durable
    OBSERVED = "observed"  # a surplus is explained and not booked
    DECIDED = "decided"  # the router has decided and not written
    RECORDED = "recorded"  # the router has written and told nobody


_listener: Callable[[Point], None] | None = None


def reached(point: Point) -> None:
    """Say that a point is reached; whoever listens may not return."""
    if _listener is not None:
        _listener(point)


def listen(listener: Callable[[Point], None] | None) -> Callable[[Point], None] | None:
    """Hear of every point reached in this process; return who heard before."""
    global _listener
    before, _listener = _listener, listener
    return before
