"""Where things stand when a commit is judged: one rule book for every store."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from sep_ray.execution.attempt import TERMINAL, Attempt
from sep_ray.journal.checks import check_commit
from sep_ray.journal.records import Append, Commit, Fence, LeaseLost, VersionConflict
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.portfolio.ledger import HOLDINGS, Bucket, InsufficientBalance, Posting

BalanceKey = tuple[str, Asset, Bucket]
"""Strategy, asset, bucket."""
NonceKey = tuple[ChainId, str, int]
"""Chain, account, nonce."""


@dataclass(slots=True)
class Standing:
    """The facts a commit depends on; `take` moves them on as the commit would.

    `heads`: each stream's last version; absent is 0. `units`: each balance; absent is 0.
    `live`: the attempt that holds each nonce. `fences`: those that stand now.
    """

    heads: dict[str, int] = field(default_factory=dict)
    units: dict[BalanceKey, int] = field(default_factory=dict)
    live: dict[NonceKey, UUID] = field(default_factory=dict)
    fences: frozenset[Fence] = frozenset()

    def take(self, commit: Commit) -> None:
        """Move on, or raise what Journal.commit raises and stay as it was."""
        check_commit(commit)
        if commit.fence is not None and commit.fence not in self.fences:
            raise LeaseLost("the lease is lost", name=commit.fence.name, epoch=commit.fence.epoch)
        for append in commit.appends:
            self._require_version(append)
        units = self._after(commit.postings)
        live = self._holders(commit)
        self.heads |= {a.stream_id: a.expected_version + len(a.events) for a in commit.appends}
        self.units |= units
        self.live = live

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


def nonce_key(attempt: Attempt) -> NonceKey:
    """Return the nonce an attempt is about."""
    return attempt.chain_id, attempt.account, attempt.nonce


def balance_key(line: Posting) -> BalanceKey:
    """Return the balance a posting moves."""
    return line.strategy_id, line.asset, line.bucket
