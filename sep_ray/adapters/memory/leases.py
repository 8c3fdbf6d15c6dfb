"""Leases in memory: whose turn it is to write under a name."""

from __future__ import annotations

from dataclasses import replace

from sep_ray.journal.records import Fence, Lease
from sep_ray.kernel.clock import Millis


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
        if not self.stands(lease.fence, now):
            return None
        self._rows[lease.name] = replace(lease, expires_at=Millis(now + ttl_ms))
        return self._rows[lease.name]

    def release(self, lease: Lease) -> None:
        """See the port."""
        held = self._rows.get(lease.name)
        if held is not None and held.epoch == lease.epoch:
            self._rows[lease.name] = replace(held, expires_at=Millis(0))

    def fences(self, now: Millis) -> frozenset[Fence]:
        """Return the fences that stand: each name's newest epoch, unless expired."""
        return frozenset(held.fence for held in self._rows.values() if held.expires_at > now)

    def stands(self, fence: Fence, now: Millis) -> bool:
        held = self._rows.get(fence.name)
        return held is not None and held.epoch == fence.epoch and held.expires_at > now
