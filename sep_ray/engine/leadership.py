"""Taking and keeping lanes' leases (P5)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from sep_ray.engine.lane import Lane
from sep_ray.engine.rules import ChainRules
from sep_ray.journal.ports import Leases
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import SepError
from sep_ray.kernel.points import Point, reached

log = structlog.get_logger()


class Leadership:
    """Holds the leases of a process's lanes.

    How long a lease surely lasts is judged by this process's steady clock, counted from before
    the database was asked: however late the answer came, the database gave at least that long.
    """

    def __init__(
        self,
        leases: Leases,
        lanes: Sequence[Lane],
        holder: str,
        steady: Clock,
        rules: ChainRules,
    ) -> None:
        self._leases = leases
        self._lanes = lanes
        self._holder = holder
        self._steady = steady
        self._rules = rules
        self._asking = asyncio.Lock()

    async def take(self) -> None:
        """Take the leases that are free, prolong those that are half over.

        One question at a time: of two takings of one lease the older answer could come last.
        """
        async with self._asking:
            for lane in self._lanes:
                await self._lead(lane)

    async def keep(self) -> None:
        """Do so in good time, for ever, whatever else the process is busy with."""
        while True:
            await asyncio.sleep(self._rules.lease_ttl_ms / 3_000)
            try:
                await self.take()
            except SepError as error:
                log.warning("lease_not_kept", holder=self._holder, why=str(error))

    async def release(self) -> None:
        """Give all leases back, so that another need not wait for their end."""
        for lane in self._lanes:
            lease = lane.lease
            if lease is None:
                continue
            lane.lost()
            try:
                await self._leases.release(lease)
            except SepError as error:
                log.warning("lease_not_released", lane=lane.name, why=str(error))

    async def _lead(self, lane: Lane) -> None:
        asked = self._steady.now()
        ttl, margin = self._rules.lease_ttl_ms, self._rules.lease_margin_ms
        held = lane.lease
        if held is None:
            lease = await self._leases.acquire(lane.name, self._holder, ttl)
            if lease is not None:
                log.info("lease_taken", lane=lane.name, epoch=lease.epoch)
                reached(Point.LEASE_TAKEN)
        elif lane.sure_until - asked > (ttl - margin) // 2:
            return
        else:
            lease = await self._leases.renew(held, ttl)
        if lease is not None:
            lane.held(lease, Millis(asked + ttl - margin))
        elif held is not None and lane.lease is held:
            lane.lost()
            log.warning("lease_lost", lane=lane.name, epoch=held.epoch)
