"""What becomes of a request: each call meets the rules; what is left goes to the node."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sep_ray.devnet.faults.rules import HEADS, REMEMBERED, SENDS, Decision, Fault, Rule, Rules
from sep_ray.devnet.faults.upstream import Gone, Json, Refused, Upstream
from sep_ray.devnet.faults.views import Behind, Forger, forged
from sep_ray.devnet.faults.waiting import Waiting


class CutOff(Exception):
    """The connection ends here."""


class Status(Exception):
    """The whole request gets an HTTP status."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.status)
        self.rule = rule


@dataclass(slots=True)
class _Job:
    """One call: as it came, as it is forwarded (None: not at all), and its reply."""

    call: Json
    decision: Decision
    forward: Json | None = None
    behind: Behind | None = None
    reply: Json | None = None

    def answer(self, result: Any) -> None:
        self.reply = {"jsonrpc": "2.0", "id": self.call.get("id"), "result": result}

    def refuse(self, error: Any) -> None:
        self.reply = {"jsonrpc": "2.0", "id": self.call.get("id"), "error": error}


class Answers:
    """Replies to requests, with the faults of the rules in force."""

    def __init__(self, upstream: Upstream, rules: Rules, waiting: Waiting, seed: int) -> None:
        self._upstream = upstream
        self._rules = rules
        self._waiting = waiting
        self._forger = Forger(seed)
        self.sends: deque[float] = deque(maxlen=REMEMBERED)
        """When raw transactions came in, seconds since the epoch."""

    async def reply(self, calls: Sequence[Json]) -> list[Json]:
        """Return the replies in order.

        Raises CutOff where the connection is to be cut, Status where the request as a whole fails.
        """
        jobs = [_Job(call, self._rules.decide(str(call.get("method")))) for call in calls]
        delay_ms = max((job.decision.delay_ms for job in jobs), default=0)
        if delay_ms:
            await asyncio.sleep(delay_ms / 1_000)
        for job in jobs:
            _fail_as_a_whole(job.decision.act)
        try:
            for job in jobs:
                await self._prepare(job)
            await self._forward([job for job in jobs if job.forward is not None])
        except Gone:
            raise CutOff from None
        if any(job.decision.act and job.decision.act.fault is Fault.DROP for job in jobs):
            raise CutOff
        return [job.reply for job in jobs if job.reply is not None]

    async def head(self, header: Json) -> Json | None:
        """Return a newHeads notification as it is passed on; None when it gets lost."""
        decision = self._rules.decide(HEADS)
        if decision.delay_ms:
            await asyncio.sleep(decision.delay_ms / 1_000)
        act = decision.act
        if act is not None:
            if act.fault is Fault.CUT:
                raise CutOff
            return None
        back = _lag(decision)
        if back:
            top = max(int(header["number"], 16) - back, 0)
            header = await self._upstream.ask("eth_getBlockByNumber", hex(top), False)
        return dict(self._seen(header, decision))

    async def _prepare(self, job: _Job) -> None:
        """Decide whether and how a call is forwarded."""
        act, call = job.decision.act, job.call
        try:
            if act is not None and act.fault is Fault.FAIL:
                job.refuse({"code": act.code, "message": act.text})
                return
            if act is not None and act.fault is Fault.ANSWER:
                job.answer(act.result)
                return
            if call.get("method") == "eth_sendRawTransaction":
                self.sends.append(time.time())
                raw = str(call["params"][0])
                await self._waiting.admit(raw)
                if act is not None and act.fault in SENDS:
                    job.answer(self._waiting.keep(raw, act.fault))
                    return
            job.forward = await self._asked(job)
        except Refused as refused:
            job.refuse(refused.error)

    async def _asked(self, job: _Job) -> Json:
        call = {**job.call, "params": self._forger.asked(job.call.get("params") or [])}
        back = _lag(job.decision)
        if back:
            top = int(await self._upstream.ask("eth_blockNumber"), 16) - back
            job.behind = Behind(self._upstream, max(top, 0))
            call = await job.behind.asked(call)
        return call

    async def _forward(self, jobs: Sequence[_Job]) -> None:
        replies = await self._upstream.forward([job.forward for job in jobs if job.forward])
        for job, reply in zip(jobs, replies, strict=True):
            job.reply = reply
            if "result" not in reply:
                continue
            method = job.call["method"]
            if method == "eth_sendRawTransaction":
                self._waiting.sent(str(job.call["params"][0]))
            result = reply["result"]
            if job.behind is not None:
                result = job.behind.answered(method, result)
            job.answer(self._seen(result, job.decision))

    def _seen(self, result: Any, decision: Decision) -> Any:
        for rule in decision.views:
            result = forged(result, rule)
            if rule.fault is Fault.LIE:
                result = self._forger.answered(result, rule.first_block)
        return result


def _lag(decision: Decision) -> int:
    return sum(rule.blocks for rule in decision.views if rule.fault is Fault.LAG)


def _fail_as_a_whole(act: Rule | None) -> None:
    if act is None:
        return
    if act.fault is Fault.CUT:
        raise CutOff
    if act.fault is Fault.FAIL and act.status is not None:
        raise Status(act)
