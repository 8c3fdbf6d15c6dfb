"""One rebalance of a strategy is decided at a time, however many routers there are (P5).

Whoever decides takes the strategy's lease first, reads the facts then, and writes under its fence.
So each decision counts what the one before it began: of two routers that decide at once, during a
fail-over or an upgrade, one waits, and what is written under a lease lost meanwhile does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from sep_ray.journal.ports import Leases
from sep_ray.journal.records import Fence, Lease
from sep_ray.kernel.errors import SepError

log = structlog.get_logger()

TTL_MS: Final = 10_000
"""How long a decision may take, slow bridges asked twice included; then another may decide."""


class Turnstile:
    """Holds the leases of the strategies that are being decided about, for one router."""

    def __init__(self, leases: Leases, holder: str) -> None:
        """`holder` names this router; no two that live at once may share it."""
        self._leases = leases
        self._holder = holder
        self._held: dict[str, Lease] = {}

    async def enter(self, strategy_ids: Iterable[str]) -> frozenset[str]:
        """Return those of these strategies that this router may decide about now."""
        wanted = sorted(set(strategy_ids))
        names = (f"rebalance/{each}" for each in wanted)
        taken = await asyncio.gather(
            *(self._leases.acquire(name, self._holder, TTL_MS) for name in names)
        )
        found = {who: lease for who, lease in zip(wanted, taken, strict=True) if lease is not None}
        self._held |= found
        return frozenset(found)

    def fence(self, strategy_id: str) -> Fence:
        """Return what a decision about a strategy that was entered for is written under."""
        return self._held[strategy_id].fence

    async def leave(self) -> None:
        """Let others decide; what cannot be given back ends by itself."""
        held, self._held = self._held, {}
        for strategy_id, lease in held.items():
            try:
                await self._leases.release(lease)
            except SepError as error:
                log.warning("lease_not_released", lane=f"rebalance/{strategy_id}", why=str(error))
