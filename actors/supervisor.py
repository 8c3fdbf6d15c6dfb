"""The Supervisor: compares the actors that should live with those that do, and mends it.

What should live follows from the settings (chains) and from Postgres (strategies). Ray restarts
actors that crash; the supervisor creates those that are missing, replaces those that have not
answered for long, and removes those nobody wants any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import ray
import structlog
from ray.actor import ActorClass, ActorProxy
from ray.exceptions import RayError

from actors.control import living_actor, with_control
from actors.host import EngineHost
from actors.names import (
    INTENT_ROUTER,
    SETTLEMENT,
    STRATEGY_PREFIXES,
    SUPERVISOR,
    executor_name,
    find,
    living,
)
from actors.spares import Spares
from sep_ray.bootstrap.chain import CHAINS
from sep_ray.bootstrap.store import open_store
from sep_ray.engine.enrolment import placement
from sep_ray.journal.ports import Strategies
from sep_ray.kernel.clock import Millis, SteadyClock, SystemClock
from sep_ray.kernel.units import ChainId
from sep_ray.logs import configure
from sep_ray.settings import Settings

if TYPE_CHECKING:
    from actors.publisher import PublisherShell

log = structlog.get_logger()

EVERY_S: Final = 1.0
ANSWER_S: Final = 5.0
PATIENCE_MS: Final = 20_000
"""How long an actor that has answered before may be silent until it is replaced."""
BIRTH_MS: Final = 120_000
"""How long a new one may take until its first answer."""
SPARES_AFTER_MS: Final = 20_000
"""A platform that starts has better use for its processors than spare processes."""


@dataclass(frozen=True, slots=True)
class Watched:
    """When an actor last answered, or was first seen if it has not answered yet."""

    since: Millis
    answered: bool = False

    @property
    def until(self) -> int:
        """The instant from which on its silence counts against it."""
        return self.since + (PATIENCE_MS if self.answered else BIRTH_MS)


class SupervisorShell:
    """One for the platform."""

    def __init__(self) -> None:
        self._settings = Settings()
        configure(self._settings.log_format, self._settings.log_level)
        self._clock = SteadyClock()
        self._watched: dict[str, Watched] = {}
        again = ray.get_runtime_context().was_current_actor_reconstructed
        patience_ms = 0 if again else SPARES_AFTER_MS
        self._spares = Spares(self._settings.spare_processes, self._clock, patience_ms)
        self._nudged: asyncio.Event | None = None
        self._publisher: PublisherShell | None = None
        self._host = EngineHost("supervisor", self._main)

    async def _main(self, stop: asyncio.Event) -> None:
        self._nudged = asyncio.Event()
        async with open_store(self._settings, SystemClock()) as store:
            self._host.running()
            while not stop.is_set():
                await self._round(store)
                self._publish()
                await self._pause(stop)

    def _publish(self) -> None:
        """Begin to publish, once; not before the first round, which others wait for."""
        url = self._settings.redis_url
        if self._publisher is None and url is not None:
            from actors.publisher import PublisherShell

            self._publisher = PublisherShell(self._settings, url)

    async def _pause(self, stop: asyncio.Event) -> None:
        if self._nudged is None or stop.is_set():
            return
        try:
            await asyncio.wait_for(self._nudged.wait(), EVERY_S)
        except TimeoutError:
            return
        self._nudged.clear()

    async def _round(self, strategies: Strategies) -> None:
        wanted = await self._wanted(strategies)
        for name, start in wanted.items():
            if find(name) is None:
                log.info("actor_started", actor=name)
                start()
        answered = await asyncio.gather(*(self._check(name) for name in wanted))
        await self._spares.mend(taken=not all(answered))
        for name in living():
            if name.startswith(STRATEGY_PREFIXES) and name not in wanted:
                log.info("actor_removed", actor=name)
                _remove(name)

    async def _wanted(self, strategies: Strategies) -> Mapping[str, Callable[[], Any]]:
        wanted = dict(_always_wanted())
        records = await strategies.strategies()
        for name in placement(records, self._settings.strategies_per_actor):
            wanted[name] = partial(_start_strategy_actor, name)
        return wanted

    async def _check(self, name: str) -> bool:
        """Ask an actor how it is and return whether it answers; replace it when it has been
        silent for too long."""
        actor = find(name)
        if actor is None:
            self._watched.pop(name, None)
            return False
        watched = self._watched.setdefault(name, Watched(self._clock.now()))
        try:
            await asyncio.wait_for(actor.status.remote(), ANSWER_S)
        except (RayError, TimeoutError):
            if self._clock.now() > watched.until:
                log.warning("actor_replaced", actor=name, answered_before=watched.answered)
                del self._watched[name]
                ray.kill(actor, no_restart=False)
        else:
            self._watched[name] = Watched(self._clock.now(), answered=True)
            return True
        return False

    @ray.method
    def nudge(self) -> None:
        """Look now: somebody changed what should live."""
        if self._nudged is not None:
            self._host.post(self._nudged.set)

    @ray.method(concurrency_group="control")
    def status(self) -> dict[str, Any]:
        """Return the engine's state, and the publisher's."""
        publisher = self._publisher.status() if self._publisher else None
        return self._host.status() | {"publisher": publisher}

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """End the rounds, so that nothing is started any more, and the publisher."""
        self._host.stop(timeout_s=5.0)
        if self._publisher is not None:
            self._publisher.stop(timeout_s=3.0)


_Supervisor: ActorClass[SupervisorShell] = with_control(SupervisorShell, calls=1)


def start_supervisor() -> ActorProxy[SupervisorShell]:
    """Return the supervisor, creating it if needed."""
    return living_actor(_Supervisor, SUPERVISOR)


def start_actors() -> None:
    """Create all that the settings ask for at once; the supervisor adds what Postgres does."""
    for start in _always_wanted().values():
        start()
    start_supervisor()


def _always_wanted() -> Mapping[str, Callable[[], Any]]:
    chains = {executor_name(c): partial(_start_executor, c) for c in CHAINS}
    return chains | {INTENT_ROUTER: _start_router, SETTLEMENT: _start_settlement}


# A supervisor that comes back finds the others alive as a rule: what those are made of is imported
# only to make one, else it would be seconds late.


def _start_executor(chain_id: ChainId) -> None:
    from actors.executor import start_chain_executor

    start_chain_executor(chain_id)


def _start_router() -> None:
    from actors.router import start_intent_router

    start_intent_router()


def _start_settlement() -> None:
    from actors.settlement import start_settlement_manager

    start_settlement_manager()


def _start_strategy_actor(name: str) -> None:
    from actors.strategy_actor import start_strategy_actor

    start_strategy_actor(name)


def stop_actors(timeout_s: float = 10.0) -> None:
    """End the supervisor first, then every other actor, each after its engine has stopped."""
    others = [name for name in living() if name != SUPERVISOR]
    for names in ([SUPERVISOR], others):
        actors = [actor for name in names if (actor := find(name)) is not None]
        if actors:
            calls = [actor.stop.remote() for actor in actors]
            ray.wait(calls, num_returns=len(calls), timeout=timeout_s)
        for name in names:
            _remove(name)


def _remove(name: str) -> None:
    actor = find(name)
    if actor is not None:
        ray.kill(actor)
