"""The Ray shell around the SettlementManager. No decisions live here."""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.actor import ActorClass, ActorProxy

from actors.control import living_actor, with_control
from actors.hints import ExecutorHints
from actors.host import EngineHost
from actors.market import ActorMarket
from actors.names import SETTLEMENT
from sep_ray.adapters import metrics
from sep_ray.bootstrap.bridges import open_settlement
from sep_ray.bootstrap.store import open_store
from sep_ray.engine.settlement import SettlementManager
from sep_ray.kernel.clock import SystemClock
from sep_ray.logs import configure
from sep_ray.settings import Settings


class SettlementManagerShell:
    """One for the platform; a lease in the database decides which of several works."""

    def __init__(self) -> None:
        self._settings = Settings()
        configure(self._settings.log_format, self._settings.log_level)
        self._manager: SettlementManager | None = None
        self._host = EngineHost("settlement-manager", self._main)

    async def _main(self, stop: asyncio.Event) -> None:
        async with open_store(self._settings, SystemClock()) as store:
            hints = ExecutorHints().give
            market = ActorMarket(SystemClock())
            opened = open_settlement(self._settings, store, hints, metrics.ProcessMeter(), market)
            async with opened as manager:
                self._manager = manager
                self._host.running()
                await manager.run(stop)

    @ray.method
    def hint(self) -> None:
        """Say that a look at the open transfers is worth it."""
        if self._manager is not None:
            self._host.post(self._manager.hint)

    @ray.method(concurrency_group="control")
    def status(self) -> dict[str, Any]:
        """Return the engine's state."""
        return self._host.status()

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """End the engine, its lease given back; the actor stays until it is removed."""
        self._host.stop(timeout_s=5.0)


_SettlementManager: ActorClass[SettlementManagerShell] = with_control(
    SettlementManagerShell, calls=1
)


def start_settlement_manager() -> ActorProxy[SettlementManagerShell]:
    """Return the settlement manager, creating it if needed."""
    return living_actor(_SettlementManager, SETTLEMENT)
