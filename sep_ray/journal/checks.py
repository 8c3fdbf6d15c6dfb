"""What a commit must look like before any database sees it."""

from __future__ import annotations

from typing import Final

from sep_ray.execution.attempt import TERMINAL, Attempt
from sep_ray.journal.records import Commit
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.policy.usage import NOBODY
from sep_ray.portfolio.events import SalesNetted
from sep_ray.portfolio.ledger import balanced
from sep_ray.settlement.transfer import Transfer

FOLDED: Final = frozenset({"intent", "step", "attempt", "strategy", "transfer", "policy", "halt"})
"""Aggregates whose streams have a current-state row; `account` streams have none."""


def aggregate_of(stream_id: str) -> str:
    """Return what a stream is about: the part of its id before the slash."""
    return stream_id.partition("/")[0]


def check_commit(commit: Commit) -> None:
    """Raise InvariantBroken unless states match streams and postings balance and have an owner.

    Each stream appears once and gets at least one event; each folded stream brings its state,
    at exactly the version its last event has; postings need appends of one correlation, or a
    netting of several intents' sales as the first; shares of limits belong to live attempts of
    the same commit, those of a netting to nobody, or are booked ahead by a lane in a commit of
    their own; exposure caps belong to its transfers.
    """
    ends = {a.stream_id: a.expected_version + len(a.events) for a in commit.appends}
    if len(ends) != len(commit.appends) or not all(a.events for a in commit.appends):
        raise InvariantBroken("a stream appears twice or without events", streams=list(ends))
    states = {state.stream_id: state.version for state in commit.states}
    needed = {stream: end for stream, end in ends.items() if aggregate_of(stream) in FOLDED}
    if states != needed or len(states) != len(commit.states):
        raise InvariantBroken("states are not the folds", streams=needed, states=states)
    balanced(commit.postings)
    moved = {s.id for s in commit.states if isinstance(s, Attempt) and s.status not in TERMINAL}
    if _netting(commit):
        moved.add(NOBODY)
    ahead = commit.fence is not None and not commit.appends
    if not ahead and any(share.attempt_id not in moved for share in commit.reservations):
        raise InvariantBroken("shares of limits without their attempt", streams=list(ends))
    crossing = {s.id for s in commit.states if isinstance(s, Transfer)}
    if any(cap.transfer_id not in crossing for cap in commit.caps):
        raise InvariantBroken("an exposure cap without its transfer", streams=list(ends))
    owners = {each.correlation_id for each in commit.appends}
    if commit.postings and len(owners) != 1 and not _netting(commit):
        raise InvariantBroken("postings belong to no single correlation", streams=list(ends))


def _netting(commit: Commit) -> bool:
    """Whether it begins with sales of several intents that were netted: that event owns the
    lines between their strategies."""
    return bool(commit.appends) and isinstance(commit.appends[0].events[0], SalesNetted)
