"""The Ray shell around one StrategyHost. No decisions live here.

It imports neither chain nor web libraries: an idle one costs little more than an empty actor,
and settings say how many strategies share it.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Sequence
from typing import Any

import ray
from ray.actor import ActorClass, ActorProxy

from actors.control import living_actor, with_control
from actors.host import EngineHost
from actors.preload import Kind
from sep_ray.adapters.evm.addresses import TOKENS
from sep_ray.bootstrap.store import open_store
from sep_ray.engine.enrolment import placement
from sep_ray.engine.strategies import StrategyHost
from sep_ray.kernel.clock import SystemClock
from sep_ray.logs import configure
from sep_ray.settings import Settings
from sep_ray.strategy.desk import Prediction, SignalModels
from sep_ray.strategy.record import StrategyRecord
from sep_ray.strategy.tokens import Tokens


class LazySignals:
    """The signal models of this process; their library is loaded by the first who asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models: SignalModels | None = None

    def predict(self, name: str, features: Sequence[float]) -> Prediction:
        """See SignalModels."""
        if self._models is None:
            from sep_ray.adapters.onnx.signals import LocalSignals

            budget_s = self._settings.model_timeout_ms / 1_000
            self._models = LocalSignals(self._settings.models_dir, budget_s)
        return self._models.predict(name, features)


class StrategyShell:
    """One for each name in `placement`: strategy-<id>, or strategies-<number> for many."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._settings = Settings()
        configure(self._settings.log_format, self._settings.log_level)
        self._strategies: StrategyHost | None = None
        self._host = EngineHost(name, self._main)

    async def _main(self, stop: asyncio.Event) -> None:
        clock = SystemClock()
        async with open_store(self._settings, clock) as store:
            self._strategies = StrategyHost(
                store, clock, Tokens(TOKENS.values()), self._mine, LazySignals(self._settings)
            )
            self._host.running()
            _give_back_memory()
            await self._strategies.run(stop)

    def _mine(self, records: Sequence[StrategyRecord]) -> Sequence[str]:
        placed = placement(records, self._settings.strategies_per_actor)
        return placed.get(self._name, ())

    @ray.method
    def hint(self) -> None:
        """Say that there is news: a block, an event; polling finds it too, a little later."""
        if self._strategies is not None:
            self._host.post(self._strategies.hint)

    @ray.method(concurrency_group="control")
    def status(self) -> dict[str, Any]:
        """Return the engine's state, that of each strategy, and the process's id."""
        strategies = self._strategies.health() if self._strategies is not None else {}
        return {**self._host.status(), **strategies, "pid": os.getpid()}

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """End the engine; the actor stays until it is removed."""
        self._host.stop(timeout_s=5.0)


def _give_back_memory() -> None:
    """Return to the system what importing has freed: 3 MiB, where the C library can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


_Strategy: ActorClass[StrategyShell] = with_control(StrategyShell, calls=1)


def start_strategy_actor(name: str) -> ActorProxy[StrategyShell]:
    """Return the actor of this name, creating it if needed."""
    return living_actor(_Strategy, name, name, kind=Kind.STRATEGY)
