"""The two tables of the memory store that have rules of their own: balances and leases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sep_ray.journal.records import Fence, Lease, LeaseLost
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.portfolio.ledger import HOLDINGS, Bucket, Holding, InsufficientBalance, Posting

_Key = tuple[str, Asset, Bucket]


class Balances:
    """Sums of postings; a holding never stands below zero."""

    def __init__(self) -> None:
        self._units: dict[_Key, int] = {}

    def book(self, postings: Sequence[Posting]) -> None:
        """Add all postings or, raising InsufficientBalance, none."""
        after: dict[_Key, int] = {}
        for line in postings:
            key = (line.strategy_id, line.asset, line.bucket)
            after[key] = after.get(key, self._units.get(key, 0)) + line.delta
        for (strategy_id, asset, bucket), units in sorted(after.items()):
            if units < 0 and bucket in HOLDINGS:
                raise InsufficientBalance(
                    "a holding would fall below zero",
                    strategy_id=strategy_id,
                    asset=str(asset),
                    bucket=bucket.value,
                )
        self._units.update(after)

    def holdings(self, strategy_id: str | None) -> tuple[Holding, ...]:
        """Return the non-zero balances by strategy, asset and bucket."""
        return tuple(
            Holding(strategy_id=owner, asset=asset, bucket=bucket, units=units)
            for (owner, asset, bucket), units in sorted(self._units.items())
            if units and strategy_id in (None, owner)
        )

    def totals(self, chain_id: ChainId) -> dict[Asset, int]:
        """Return what the accounts must hold of every asset ever booked, zero included."""
        sums: dict[Asset, int] = {}
        for (_, asset, bucket), units in sorted(self._units.items()):
            if asset.chain_id == chain_id and bucket in HOLDINGS:
                sums[asset] = sums.get(asset, 0) + units
        return sums


class LeaseTable:
    """One row per name ever leased; a row's epoch only rises."""

    def __init__(self) -> None:
        self._rows: dict[str, Lease] = {}

    def acquire(self, name: str, holder: str, ttl_ms: int, now: Millis) -> Lease | None:
        """See the port."""
        held = self._rows.get(name)
        if held is not None and held.holder != holder and held.expires_at > now:
            return None
        epoch = held.epoch + 1 if held is not None else 1
        lease = Lease(name=name, holder=holder, epoch=epoch, expires_at=Millis(now + ttl_ms))
        self._rows[name] = lease
        return lease

    def renew(self, lease: Lease, ttl_ms: int, now: Millis) -> Lease | None:
        """See the port."""
        if not self._stands(lease.fence, now):
            return None
        self._rows[lease.name] = replace(lease, expires_at=Millis(now + ttl_ms))
        return self._rows[lease.name]

    def release(self, lease: Lease) -> None:
        """See the port."""
        held = self._rows.get(lease.name)
        if held is not None and held.epoch == lease.epoch:
            self._rows[lease.name] = replace(held, expires_at=Millis(0))

    def require(self, fence: Fence, now: Millis) -> None:
        """Raise LeaseLost unless the fence's epoch is the newest and has not expired."""
        if not self._stands(fence, now):
            raise LeaseLost("the lease is lost", name=fence.name, epoch=fence.epoch)

    def _stands(self, fence: Fence, now: Millis) -> bool:
        held = self._rows.get(fence.name)
        return held is not None and held.epoch == fence.epoch and held.expires_at > now
