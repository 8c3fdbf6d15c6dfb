"""The Ray shell around the IntentRouter. No decisions live here."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any
from uuid import UUID

import ray
from ray.actor import ActorClass, ActorProxy

from actors.control import living_actor, with_control
from actors.hints import ExecutorHints
from actors.host import EngineHost
from actors.market import ActorMarket
from actors.names import INTENT_ROUTER
from actors.served_model import ServedModel
from sep_ray.adapters import metrics
from sep_ray.bootstrap.bridges import bridges_of, crossings_of
from sep_ray.bootstrap.chain import NUMERAIRES
from sep_ray.bootstrap.store import open_store
from sep_ray.engine.facts import FactSource
from sep_ray.engine.router import IntentRouter
from sep_ray.engine.slicing import ModelSlicer
from sep_ray.intent.states import IntentRecord, Status
from sep_ray.kernel.clock import SystemClock
from sep_ray.logs import configure
from sep_ray.settings import Settings

SUCCESSES = frozenset({Status.COMPLETED, Status.PARTIALLY_COMPLETED})

NICENESS = 5
"""Deciding gives way to accepting and to sending: it has the intent's whole window for it."""


class IntentRouterShell:
    """One for the platform; its engine runs beside the mailbox."""

    def __init__(self) -> None:
        self._settings = Settings()
        configure(self._settings.log_format, self._settings.log_level)
        self._router: IntentRouter | None = None
        self._host = EngineHost("intent-router", self._main, niceness=NICENESS)

    async def _main(self, stop: asyncio.Event) -> None:
        clock = SystemClock()
        timeout_s = self._settings.model_timeout_ms / 1_000
        prioritizer, slicer = (ServedModel(name, timeout_s) for name in ("prioritizer", "slice"))
        prioritizer.warm()
        slicer.warm()
        settings = self._settings
        async with open_store(settings, clock) as store, bridges_of(settings) as bridges:
            facts = FactSource(
                *(store, store, ActorMarket(clock), NUMERAIRES),
                underway=store,
                crossings=crossings_of(settings, bridges),
            )
            self._router = IntentRouter(
                store=store,
                clock=clock,
                facts=facts,
                prioritizer=prioritizer,
                slicer=ModelSlicer(slicer),
                on_end=_count,
                on_ready=ExecutorHints().give,
                holder=f"{socket.gethostname()}/{os.getpid()}",
            )
            self._host.running()
            await self._router.run(stop)

    @ray.method
    def hint(self, intent_ids: list[UUID]) -> None:
        """Say that these intents are worth a look; the journal says it too, a little later."""
        if self._router is not None:
            self._host.post(self._router.hint, intent_ids)

    @ray.method(concurrency_group="control")
    def status(self) -> dict[str, Any]:
        """Return the engine's state."""
        return self._host.status()

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """End the engine; the actor stays until it is removed."""
        self._host.stop(timeout_s=5.0)


def _count(record: IntentRecord) -> None:
    seconds = (record.updated_at - record.intent.created_at) / 1_000
    metrics.intent_processing_seconds.labels(record.intent.type).observe(seconds)
    if record.status in SUCCESSES:
        metrics.intents_completed.labels(record.intent.type).inc()
    else:
        metrics.intents_failed.labels(record.intent.type, record.reason or "").inc()


_IntentRouter: ActorClass[IntentRouterShell] = with_control(IntentRouterShell, calls=1)


def start_intent_router() -> ActorProxy[IntentRouterShell]:
    """Return the router, creating it if needed."""
    return living_actor(_IntentRouter, INTENT_ROUTER)
