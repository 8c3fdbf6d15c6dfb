"""Where things stand when a commit is judged: one rule book for every store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sep_ray.execution.attempt import TERMINAL, Attempt
from sep_ray.journal.checks import check_commit
from sep_ray.journal.records import (
    Append,
    Commit,
    Fence,
    LeaseLost,
    LimitExceeded,
    VersionConflict,
)
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.book import STREAM
from sep_ray.policy.usage import Reservation, ended, held, kept
from sep_ray.portfolio.ledger import HOLDINGS, Bucket, InsufficientBalance, Posting
from sep_ray.settlement.transfer import Transfer

BalanceKey = tuple[str, Asset, Bucket]
"""Strategy, asset, bucket."""
NonceKey = tuple[ChainId, str, int]
"""Chain, account, nonce."""
UsageKey = tuple[str, int]
"""Limit, slot."""
Exposure = tuple[str, Asset, int]
"""Bridge, what was sent, units."""


@dataclass(slots=True)
class Standing:
    """The facts a commit depends on; `take` moves them on as the commit would.

    `heads`: each stream's last version; absent is 0. `units`: each balance; absent is 0.
    `live`: the attempt that holds each nonce. `fences`: those that stand now. `usage`: what is
    taken of each limit's slots; `reserved`: by which live attempt; `ahead`: attempts to come that
    shares were booked for, and by which lane. `exposed`: what bridges have, by transfer, at least
    of those bridges that a commit caps. `settled`: attempts whose shares were settled, and `used`:
    slots that changed, both since this object was made.
    """

    heads: dict[str, int] = field(default_factory=dict)
    units: dict[BalanceKey, int] = field(default_factory=dict)
    live: dict[NonceKey, UUID] = field(default_factory=dict)
    fences: frozenset[Fence] = frozenset()
    usage: dict[str, dict[int, int]] = field(default_factory=dict)
    reserved: dict[UUID, tuple[Reservation, ...]] = field(default_factory=dict)
    exposed: dict[UUID, Exposure] = field(default_factory=dict)
    ahead: dict[UUID, str] = field(default_factory=dict)
    settled: set[UUID] = field(default_factory=set)
    used: set[UsageKey] = field(default_factory=set)

    def take(self, commit: Commit) -> None:
        """Move on, or raise what Journal.commit raises and stay as it was."""
        check_commit(commit)
        if commit.fence is not None and commit.fence not in self.fences:
            raise LeaseLost("the lease is lost", name=commit.fence.name, epoch=commit.fence.epoch)
        for append in commit.appends:
            self._require_version(append)
        units = self._after(commit.postings)
        live = self._holders(commit)
        idle = self._idle(commit)
        usage = self._limited(commit, idle)
        exposed = self._exposed(commit)
        self._settle(commit, usage, idle)
        self.heads |= {a.stream_id: a.expected_version + len(a.events) for a in commit.appends}
        self.units |= units
        self.live = live
        self.exposed = exposed

    def _exposed(self, commit: Commit) -> dict[UUID, Exposure]:
        """Return what bridges have afterwards; none may be above a cap of the commit."""
        moved = [state for state in commit.states if isinstance(state, Transfer)]
        if not moved:
            return self.exposed
        after = self.exposed | {t.id: exposure(t) for t in moved}
        after = {name: found for name, found in after.items() if found[2]}
        for cap in commit.caps:
            bridge, asset, units = after.get(cap.transfer_id, ("", None, 0))
            has = sum(each[2] for each in after.values() if each[:2] == (bridge, asset))
            if has > cap.most:
                raise LimitExceeded(
                    "a bridge would have more than is allowed",
                    limit_id=f"bridge/{bridge}",
                    used=has - units,
                    amount=units,
                    bound=cap.most,
                )
        return after

    def _idle(self, commit: Commit) -> list[UUID]:
        """Return attempts that never came to be, whose shares the commit gives back."""
        if commit.appends or commit.fence is None:
            return []
        return [name for name, lane in self.ahead.items() if lane == commit.fence.name]

    def _limited(self, commit: Commit, idle: Sequence[UUID]) -> dict[UsageKey, int]:
        """Return the slots that change with what the commit takes of limits (P9)."""
        stands = self.heads.get(STREAM, 0)
        if commit.policy_version not in (None, stands):
            raise VersionConflict("the limits have moved on", stream_id=STREAM, stands=stands)
        after: dict[UsageKey, int] = {}
        for share in (share for name in idle for share in self.reserved.get(name, ())):
            slots = self._slots(share.limit_id, after)
            if share.slot in slots:  # else it has left its window
                after[share.limit_id, share.slot] = max(slots[share.slot] - share.amount, 0)
        for share in commit.reservations:
            slots = self._slots(share.limit_id, after)
            used = sum(amount for slot, amount in slots.items() if slot >= share.since)
            if share.bound is not None and used + share.amount > share.bound:
                raise LimitExceeded(
                    "a limit would be exceeded",
                    limit_id=share.limit_id,
                    used=used,
                    amount=share.amount,
                    bound=share.bound,
                )
            after[share.limit_id, share.slot] = slots.get(share.slot, 0) + share.booked
        return after

    def _slots(self, limit_id: str, after: dict[UsageKey, int]) -> dict[int, int]:
        changed = {slot: amount for (name, slot), amount in after.items() if name == limit_id}
        return {**self.usage.get(limit_id, {}), **changed}

    def _settle(self, commit: Commit, usage: dict[UsageKey, int], idle: Sequence[UUID]) -> None:
        """Book what was taken and give back what ended attempts did not use, once each."""
        for name in idle:
            del self.ahead[name]
            del self.reserved[name]
            self.settled.add(name)
        for share in held(commit.reservations):
            self.reserved[share.attempt_id] = (*self.reserved.get(share.attempt_id, ()), share)
            if share.lane:
                self.ahead[share.attempt_id] = share.lane
        for attempt in (state for state in commit.states if isinstance(state, Attempt)):
            self.ahead.pop(attempt.id, None)
            if ended(attempt):
                self._return(attempt, usage)
        for (limit_id, slot), amount in usage.items():
            self.usage.setdefault(limit_id, {})[slot] = amount
        for share in commit.reservations:
            slots = self.usage[share.limit_id]
            self.usage[share.limit_id] = {s: n for s, n in slots.items() if s >= share.since}
        self.used |= set(usage)

    def _return(self, attempt: Attempt, usage: dict[UsageKey, int]) -> None:
        """Give back what an attempt that has ended did not use."""
        spent: dict[str, int] = {}
        for share in self.reserved.pop(attempt.id, ()):
            before = spent.get(share.limit_id, 0)
            whole = kept(share.kind, share.measure, before + share.amount, attempt)
            spent[share.limit_id] = whole
            slots = self._slots(share.limit_id, usage)
            if share.slot in slots:  # else it has left its window
                left = slots[share.slot] - share.amount + whole - before
                usage[share.limit_id, share.slot] = max(left, 0)
            self.settled.add(attempt.id)

    def _require_version(self, append: Append) -> None:
        stands = self.heads.get(append.stream_id, 0)
        if stands != append.expected_version:
            raise VersionConflict(
                "the stream has moved on",
                stream_id=append.stream_id,
                expected=append.expected_version,
                stands=stands,
            )

    def _after(self, postings: tuple[Posting, ...]) -> dict[BalanceKey, int]:
        after: dict[BalanceKey, int] = {}
        for line in postings:
            key = balance_key(line)
            after[key] = after.get(key, self.units.get(key, 0)) + line.delta
        for (strategy_id, asset, bucket), units in sorted(after.items()):
            if units < 0 and bucket in HOLDINGS:
                raise InsufficientBalance(
                    "a holding would fall below zero",
                    strategy_id=strategy_id,
                    asset=str(asset),
                    bucket=bucket.value,
                )
        return after

    def _holders(self, commit: Commit) -> dict[NonceKey, UUID]:
        """Return who holds which nonce afterwards; at most one live attempt each."""
        moved = [state for state in commit.states if isinstance(state, Attempt)]
        if not moved:
            return self.live
        live = dict(self.live)
        for attempt in moved:
            if attempt.status in TERMINAL and live.get(nonce_key(attempt)) == attempt.id:
                del live[nonce_key(attempt)]
        for attempt in moved:
            if attempt.status not in TERMINAL:
                holder = live.setdefault(nonce_key(attempt), attempt.id)
                if holder != attempt.id:
                    raise InvariantBroken(
                        "two live attempts on one nonce",
                        chain_id=attempt.chain_id,
                        account=attempt.account,
                        nonce=attempt.nonce,
                        holder=str(holder),
                        second=str(attempt.id),
                    )
        return live


def exposure(transfer: Transfer) -> Exposure:
    """Return what a transfer's bridge has for its sake."""
    return transfer.bridge, transfer.source, transfer.exposed


def nonce_key(attempt: Attempt) -> NonceKey:
    """Return the nonce an attempt is about."""
    return attempt.chain_id, attempt.account, attempt.nonce


def balance_key(line: Posting) -> BalanceKey:
    """Return the balance a posting moves."""
    return line.strategy_id, line.asset, line.bucket
