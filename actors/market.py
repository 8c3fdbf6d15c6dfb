"""The newest snapshots, asked of the executors that read them."""

from __future__ import annotations

import asyncio
from typing import Final

from ray.exceptions import RayError

from actors.names import Handles, executor_name
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.units import ChainId
from sep_ray.routing.snapshot import Snapshot

FRESH_MS: Final = 1_000
"""A snapshot is asked for again after this long. It serves to rank and to split up; what is sent is
planned anew on the newest block."""
PATIENCE_S: Final = 2.0


class ActorMarket:
    """Implements the engine's Market port over the ChainExecutor actors."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[ChainId, tuple[Millis, Snapshot | None]] = {}
        self._handles = Handles()

    async def snapshot(self, chain_id: ChainId) -> Snapshot | None:
        """Return a snapshot at most FRESH_MS old when asked for; None while there is none."""
        kept = self._kept.get(chain_id)
        if kept is not None and self._clock.now() - kept[0] < FRESH_MS:
            return kept[1]
        snapshot = await self._ask(chain_id)
        self._kept[chain_id] = (self._clock.now(), snapshot)
        return snapshot

    async def _ask(self, chain_id: ChainId) -> Snapshot | None:
        name = executor_name(chain_id)
        actor = self._handles.get(name)
        if actor is None:
            return None
        try:
            answer: Snapshot | None = await asyncio.wait_for(actor.snapshot.remote(), PATIENCE_S)
        except (RayError, TimeoutError):
            self._handles.forget(name)
            return None
        return answer
