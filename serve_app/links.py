"""From an API replica to the platform's actors. A missing actor is an answer, not an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from ray.exceptions import RayError

from actors.names import INTENT_ROUTER, SUPERVISOR, executor_name, find
from sep_ray.decomposition.step import Step
from sep_ray.engine.planning import Trade
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import ChainId
from sep_ray.policy.halts import Halt
from sep_ray.routing.plan import Plan
from sep_ray.routing.reasons import NoRoute
from sep_ray.settlement.choice import Chosen, NoBridge
from serve_app.health import Down

ANSWER_S: Final = 2.0
LOOK_AGAIN_S: Final = 0.5
"""A missing actor is looked for at most this often."""
STALE_BLOCKS: Final = 20
STALE_S: Final = 15.0


class ActorLink:
    """One named actor, found again when it was replaced."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._handle: Any = None
        self._looked = float("-inf")

    async def ask(self, method: str, *args: object) -> Any:
        """Call a method and return its answer. Raises Transient when none comes."""
        handle = await self._found()
        try:
            async with asyncio.timeout(ANSWER_S):
                return await getattr(handle, method).remote(*args)
        except (RayError, TimeoutError) as error:
            self._handle = None
            why = type(error).__name__
            raise Transient("the actor does not answer", actor=self._name, why=why) from None

    async def _found(self) -> Any:
        if self._handle is None and time.monotonic() - self._looked > LOOK_AGAIN_S:
            self._looked = time.monotonic()
            self._handle = await asyncio.to_thread(find, self._name)
        if self._handle is None:
            raise Transient("the actor is not there", actor=self._name)
        return self._handle


class Links:
    """The actors that the API talks to."""

    def __init__(self, chains: Sequence[ChainId], clock: Clock) -> None:
        self._clock = clock
        self._router = ActorLink(INTENT_ROUTER)
        self._supervisor = ActorLink(SUPERVISOR)
        self._executors = {chain_id: ActorLink(executor_name(chain_id)) for chain_id in chains}
        self._nudges: set[asyncio.Task[None]] = set()

    async def hint(self, intent_ids: list[UUID]) -> None:
        """Tell the router which intents are worth a look."""
        await self._router.ask("hint", intent_ids)

    def nudge(self) -> None:
        """Tell the supervisor that what should live has changed; returns at once."""
        task = asyncio.get_running_loop().create_task(self._nudge())
        self._nudges.add(task)
        task.add_done_callback(self._nudges.discard)

    async def quote(self, chain_id: ChainId, trade: Trade) -> Plan | NoRoute:
        """Ask a chain's executor for a plan. Raises Transient when it cannot say."""
        if chain_id not in self._executors:
            raise Transient("nobody works on the chain", chain_id=chain_id)
        outcome: Plan | NoRoute = await self._executors[chain_id].ask("quote", trade)
        return outcome

    async def weigh(self, step: Step) -> Chosen | NoBridge:
        """Ask a chain's executor for the bridge of a step. Raises Transient when it cannot say."""
        if step.chain_id not in self._executors:
            raise Transient("nobody works on the chain", chain_id=step.chain_id)
        chosen: Chosen | NoBridge = await self._executors[step.chain_id].ask("weigh", step)
        return chosen

    async def tell(self, halt: Halt) -> dict[str, bool]:
        """Tell every executor of a halt, all at once; say which of them know it now."""
        return await self._all("halt", halt)

    async def untell(self, halt_id: UUID) -> None:
        """Tell every executor that a halt is over."""
        await self._all("release", halt_id)

    async def _all(self, method: str, *args: object) -> dict[str, bool]:
        async def one(link: ActorLink) -> bool:
            try:
                return bool(await link.ask(method, *args))
            except Transient:
                return False  # it reads the database at its next head

        links = self._executors
        answers = await asyncio.gather(*(one(link) for link in links.values()))
        return {str(chain_id): said for chain_id, said in zip(links, answers, strict=True)}

    async def accounts(self, chain_id: ChainId) -> Sequence[str]:
        """Return the accounts that a chain's executor sends from."""
        return [str(lane["account"]) for lane in await self.lanes(chain_id)]

    async def lanes(self, chain_id: ChainId) -> Sequence[Mapping[str, Any]]:
        """Return how a chain's accounts stand. Raises Transient when nobody can be asked."""
        if chain_id not in self._executors:
            raise Transient("nobody works on the chain", chain_id=chain_id)
        status = await self._executors[chain_id].ask("status")
        found: Sequence[Mapping[str, Any]] = status.get("lanes", ())
        return found

    async def router_health(self) -> str:
        """Raise unless the router works."""
        return _running(await self._router.ask("status"))

    async def supervisor_health(self) -> str:
        """Raise unless the supervisor works."""
        return _running(await self._supervisor.ask("status"))

    async def publisher_health(self, newest: Callable[[], Awaitable[int]]) -> str:
        """Say how far the publisher is behind the newest event; raise when it shows nothing."""
        told = (await self._supervisor.ask("status")).get("publisher")
        if told is None:
            raise Down("starting")
        said = _running(told)
        seq = told["seq"]
        lag = max(0, await newest() - seq)
        if told["trouble"]:
            raise Down(f"{told['trouble']}; readers use the journal")
        return f"{said}, at event {seq}, {lag} behind"

    async def executor_health(self, chain_id: ChainId, block_seconds: float) -> str:
        """Raise unless the chain's executor works and its newest head is fresh."""
        status = await self._executors[chain_id].ask("status")
        said = _running(status)
        head_at = status.get("head_at")
        if head_at is None:
            raise Down("no block seen yet")
        age_s = (self._clock.now() - head_at) / 1_000
        if age_s > STALE_S + STALE_BLOCKS * block_seconds:
            raise Down(f"newest block {age_s:.0f} s ago")
        lanes = ", ".join(str(lane["state"]) for lane in status.get("lanes", ()))
        still = [f"{each['pool']} ({each['cause']})" for each in status.get("stopped", ())]
        stopped = f"; stopped pools: {', '.join(still)}" if still else ""
        return f"{said}, block {status.get('head')}, {age_s:.1f} s old; lanes: {lanes}{stopped}"

    async def endpoint_health(self, chain_id: ChainId) -> str:
        """Say how the chain's endpoints are; raise when one of them is not well."""
        status = await self._executors[chain_id].ask("status")
        found = status.get("endpoints") or ()
        words = "; ".join(map(_endpoint, found))
        if not found or any(each["state"] != "ok" for each in found):
            raise Down(words or "not known yet")
        return words

    async def _nudge(self) -> None:
        try:
            await self._supervisor.ask("nudge")
        except Transient:
            return  # it looks by itself every second


def _endpoint(status: Mapping[str, Any]) -> str:
    """Show an endpoint in few words, the evidence only while it is not well."""
    latency = status["latency_ms"]
    words = [status["name"], str(status["state"])]
    words += [f"{latency} ms"] if latency is not None else []
    words += [f"{status['lag_blocks']} behind"] if status["lag_blocks"] else []
    words += [f"({status['evidence'][:120]})"] if status["state"] != "ok" else []
    return " ".join(words)


def _running(status: Mapping[str, Any]) -> str:
    state = str(status.get("state"))
    if state != "running":
        raise Down(state)
    return state
