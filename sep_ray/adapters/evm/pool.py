"""Several endpoints of one chain that answer as one node.

Reads that move money need `needed` equal answers: what a minority says, lying or behind, is never
handed on, and no agreement is Transient with the evidence. Other reads come from the best endpoint
that answers. Signed bytes go to all of them. Implements `Node`, so nothing above knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from sep_ray.adapters.evm.agreement import MONEY, NEWEST, Ballot
from sep_ray.adapters.evm.broadcast import Broadcast
from sep_ray.adapters.evm.rpc import Call, EvmRpc, reply_of, results_of
from sep_ray.execution.ports import EndpointState, EndpointStatus
from sep_ray.execution.verdict import Lost, Reply
from sep_ray.kernel.errors import SepError, Transient

log = structlog.get_logger()

LEAST_PATIENCE_S: Final = 0.05
MOST_PATIENCE_S: Final = 1.0
"""How long an answer is waited for before the next endpoint is asked too: four times the average
latency, within these bounds."""
BY_TAG: Final = "eth_getBlockByNumber"


class EndpointPool:
    """Endpoints in the order of the settings; `needed` of them must agree where money moves.

    `private`: an endpoint that shows transactions to nobody; see Broadcast.
    """

    def __init__(
        self,
        endpoints: Sequence[EvmRpc],
        needed: int,
        *,
        private: EvmRpc | None = None,
        private_blocks: int = 5,
    ) -> None:
        self.endpoints = tuple(endpoints)
        self.needed = needed
        self._private = private
        self._broadcast = Broadcast(self.endpoints, private, private_blocks)
        self._names = [f"{n}/{each.host}" for n, each in enumerate(self.endpoints, 1)]

    @property
    def host(self) -> str:
        """The endpoints' names."""
        return "+".join(each.host for each in self.endpoints)

    async def close(self) -> None:
        """Drop all connections; what is still being handed over is given up."""
        await self._broadcast.close()
        for each in (*self.endpoints, self._private):
            if each is not None:
                await each.close()

    # Node

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        """Return one call's result."""
        return (await self.batch([(method, params)]))[0]

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of many calls in their order; raises for the first refused one."""
        return results_of(calls, await self.answers(calls))

    async def hand_over(self, raws: Sequence[str], since: Sequence[int | None]) -> list[Reply]:
        """Hand signed bytes to all; one reply speaks for all."""
        return await self._broadcast.hand_over(raws, since, self.head)

    async def replies(self, calls: Sequence[Call]) -> list[Reply]:
        """Return what became of each call; what is not agreed on is lost."""
        try:
            return [reply_of(answer) for answer in await self.answers(calls)]
        except SepError as error:
            return [Lost(str(error))] * len(calls)

    async def answers(self, calls: Sequence[Call]) -> list[Any]:
        """Return the agreed answers, {"result": ..} or {"error": ..}, in order; or Transient."""
        if not calls:
            return []
        named = [call for call in calls if call[0] == BY_TAG and call[1][0] in NEWEST]
        if not named:
            return await self._agreed(calls)
        found = {call[1][0]: await self._tagged(call[1][0]) for call in named}
        rest = iter(await self.answers([call for call in calls if call not in named]))
        return [found[call[1][0]] if call in named else next(rest) for call in calls]

    # How they are

    @property
    def head(self) -> int:
        """The highest number that `needed` endpoints are known to have reached; 0 at first."""
        heads = sorted((each.health.head or 0 for each in self.endpoints), reverse=True)
        return heads[self.needed - 1]

    def status(self) -> tuple[EndpointStatus, ...]:
        """Return how each endpoint is."""
        return endpoint_status(self.endpoints, self.head)

    def _ranked(self) -> list[int]:
        """Return the endpoints' places, the one to ask first before the others."""
        order = list(EndpointState)
        best = self.head

        def rank(place: int) -> tuple[int, float, int]:
            health = self.endpoints[place].health
            return order.index(health.state(best)), health.latency_s or 0.0, place

        return sorted(range(len(self.endpoints)), key=rank)

    # Agreement

    async def _agreed(self, calls: Sequence[Call]) -> list[Any]:
        needed = self.needed if any(method in MONEY for method, _ in calls) else 1
        ballot = Ballot(calls, needed)
        await self._vote(ballot, calls)
        for name, evidence in ballot.contradictions().items():
            self._quarantine(name, evidence)
        if ballot.missing:
            raise Transient("endpoints do not agree", needed=needed, evidence=ballot.evidence())
        return ballot.decided()

    async def _vote(self, ballot: Ballot, calls: Sequence[Call]) -> None:
        """Ask as many as are needed, and one more for each that is slow, silent or differs."""
        waiting = self._ranked()
        running: dict[asyncio.Task[list[Any]], int] = {}
        spare, started = 0, time.monotonic()
        try:
            while ballot.missing and (waiting or running):
                while waiting and len(running) < ballot.missing + spare:
                    place = waiting.pop(0)
                    asked = asyncio.create_task(self.endpoints[place].answers(calls))
                    running[asked] = place
                done, _ = await asyncio.wait(
                    running,
                    timeout=self._patience() if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                spare += not done
                for task in done:
                    _count(ballot, self._names[running.pop(task)], task)
        finally:
            for task, place in running.items():
                task.cancel()
                self.endpoints[place].health.outrun(time.monotonic() - started)

    def _patience(self) -> float:
        known = [e.health.latency_s for e in self.endpoints if e.health.latency_s is not None]
        usual = sorted(known)[len(known) // 2] if known else MOST_PATIENCE_S
        return min(max(4 * usual, LEAST_PATIENCE_S), MOST_PATIENCE_S)

    async def _tagged(self, tag: str) -> Any:
        """Return the newest block of a tag that `needed` endpoints have reached.

        Each may know another one: of the numbers they name, the highest counts that is not above
        those of `needed` of them, and then they must agree on that block.
        """
        told = await self._numbers(tag)
        if len(told.numbers) < self.needed:
            if len(told.absent) >= self.needed:
                return {"result": None}
            evidence = "; ".join(told.silent)
            raise Transient("endpoints do not agree", tag=tag, evidence=evidence)
        number = sorted(told.numbers, reverse=True)[self.needed - 1]
        (answer,) = await self._agreed([(BY_TAG, [hex(number), False])])
        return answer

    async def _numbers(self, tag: str) -> _Told:
        """Ask all for the block of a tag."""
        call = (BY_TAG, [tag, False])
        tasks = {asyncio.create_task(each.answers([call])): each for each in self.endpoints}
        told = _Told([], [], [])
        patience = None
        while tasks:
            done, _ = await asyncio.wait(
                tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                endpoint = tasks.pop(task)
                number = told.take(task, endpoint.host)
                if tag == "latest" and number is not None:
                    endpoint.health.head = number
            if not done:
                break
            if max(len(told.numbers), len(told.absent)) >= self.needed:
                patience = self._patience()
        for task in tasks:
            task.cancel()
        return told

    def _quarantine(self, name: str, evidence: str) -> None:
        rpc = self.endpoints[self._names.index(name)]
        rpc.health.contradicted(evidence)
        log.warning("endpoint_quarantined", node=rpc.host, evidence=evidence)


def endpoint_status(endpoints: Sequence[EvmRpc], best: int | None) -> tuple[EndpointStatus, ...]:
    """Return how endpoints are when the best known head is `best`."""
    found = []
    for each in endpoints:
        health = each.health
        latency = None if health.latency_s is None else round(health.latency_s * 1_000)
        status = EndpointStatus(
            name=each.host,
            state=health.state(best),
            latency_ms=latency,
            head=health.head,
            lag_blocks=health.lag(best),
            failures=health.failures,
            offences=health.offences,
            evidence=health.evidence,
        )
        found.append(status)
    return tuple(found)


def _count(ballot: Ballot, name: str, task: asyncio.Task[list[Any]]) -> None:
    try:
        ballot.cast(name, task.result())
    except SepError as error:
        ballot.abstain(name, str(error))


@dataclass(slots=True)
class _Told:
    """The numbers that endpoints name for a tag, who has no such block, and who is silent."""

    numbers: list[int]
    absent: list[str]
    silent: list[str]

    def take(self, task: asyncio.Task[list[Any]], host: str) -> int | None:
        """Read an endpoint's answer; return its number."""
        try:
            (answer,) = task.result()
            if "error" in answer or answer["result"] is None:
                self.absent.append(host)
                return None
            number = int(answer["result"]["number"], 16)
        except (SepError, LookupError, ValueError, TypeError, AttributeError) as error:
            self.silent.append(f"{host}: {error}")
            return None
        self.numbers.append(number)
        return number
