"""The Ray shell around one chain's executor. No decisions live here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

import ray
from ray.actor import ActorClass, ActorProxy

from actors.control import living_actor, with_control
from actors.host import EngineHost
from actors.names import executor_name
from actors.served_model import ServedModel
from sep_ray.adapters import metrics
from sep_ray.bootstrap.bridges import bridges_of, crossings_of
from sep_ray.bootstrap.chain import open_executor
from sep_ray.bootstrap.store import open_store
from sep_ray.decomposition.step import Step
from sep_ray.engine.executor import ChainExecutor
from sep_ray.engine.planning import Trade
from sep_ray.kernel.clock import SystemClock
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import ChainId
from sep_ray.logs import configure
from sep_ray.policy.halts import Halt
from sep_ray.routing.plan import Plan
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot
from sep_ray.settings import Settings
from sep_ray.settlement.choice import Chosen, NoBridge

QUOTE_S = 5.0
PUBLISH_S = 2.0
"""How often the endpoints' figures are published."""


class ChainExecutorShell:
    """One per chain; its lanes hold their leases in the database, not in the actor's name."""

    def __init__(self, chain_id: ChainId) -> None:
        self._chain_id = chain_id
        self._settings = Settings()
        configure(self._settings.log_format, self._settings.log_level)
        self._executor: ChainExecutor | None = None
        self._host = EngineHost(executor_name(chain_id), self._main)

    async def _main(self, stop: asyncio.Event) -> None:
        model = ServedModel("cost", self._settings.model_timeout_ms / 1_000)
        model.warm()
        settings, clock = self._settings, SystemClock()
        async with open_store(settings, clock) as store, bridges_of(settings) as bridges:
            crossings = crossings_of(settings, bridges)[self._chain_id]
            meter = metrics.ProcessMeter()
            opened = open_executor(settings, self._chain_id, store, model, meter, crossings)
            async with opened as executor:
                self._executor = executor
                self._host.running()
                publishing = asyncio.create_task(self._publish(executor))
                try:
                    await executor.run(stop)
                finally:
                    publishing.cancel()

    async def _publish(self, executor: ChainExecutor) -> None:
        """Keep the endpoints' figures fresh."""
        while True:
            metrics.endpoints(self._chain_id, executor.status().endpoints)
            await asyncio.sleep(PUBLISH_S)

    @ray.method
    def hint(self) -> None:
        """Say that steps may have become ready."""
        if self._executor is not None:
            self._host.post(self._executor.hint)

    @ray.method(concurrency_group="control")
    def snapshot(self) -> Snapshot | None:
        """Return the newest market; None before the first block was read."""
        return self._executor.market.snapshot if self._executor is not None else None

    @ray.method
    def quote(self, trade: Trade) -> Plan | NoRoute:
        """Plan a trade on the newest market without sending it; Transient while there is none."""
        if self._executor is None:
            raise Transient("the chain is not being read yet", chain_id=self._chain_id)
        return self._host.call(self._executor.quote(trade), QUOTE_S)

    @ray.method
    def weigh(self, step: Step) -> Chosen | NoBridge:
        """Choose the bridge of a step as things stand, without sending it; Transient while there
        is no market."""
        if self._executor is None:
            raise Transient("the chain is not being read yet", chain_id=self._chain_id)
        return self._host.call(self._executor.weigh(step), QUOTE_S)

    @ray.method(concurrency_group="control")
    def status(self) -> Mapping[str, Any]:
        """Return the state of the engine and of its lanes."""
        status = self._host.status()
        if self._executor is not None:
            status |= asdict(self._executor.status())
        return status

    @ray.method(concurrency_group="control")
    def halt(self, halt: Halt) -> bool:
        """Stop what a halt covers, now, before it is in the database; whether there is an engine.

        Nothing that waits in a queue comes before this: it does not even ask the engine's loop.
        """
        executor = self._executor
        if executor is not None:
            executor.halts.tell(halt)
        return executor is not None

    @ray.method(concurrency_group="control")
    def release(self, halt_id: UUID) -> bool:
        """Forget a halt that the database no longer has."""
        executor = self._executor
        if executor is not None:
            executor.halts.untell(halt_id)
            self._host.post(executor.hint)
        return executor is not None

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """End the engine, its leases given back; the actor stays until it is removed."""
        self._host.stop(timeout_s=5.0)


_ChainExecutor: ActorClass[ChainExecutorShell] = with_control(ChainExecutorShell, calls=4)


def start_chain_executor(chain_id: ChainId) -> ActorProxy[ChainExecutorShell]:
    """Return the chain's executor, creating it if needed."""
    return living_actor(_ChainExecutor, executor_name(chain_id), chain_id)
