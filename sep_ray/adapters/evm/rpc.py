"""Asynchronous JSON-RPC over HTTP: kept-alive connections, batches, bounded time, no resending.

Errors are translated here, once. A node's refusal is RpcRefused (Rejected); what a later call
may answer is Transient; a lost reply to a call that writes is Indeterminate.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp

from sep_ray.adapters.evm.health import Health
from sep_ray.execution.verdict import Answered, Lost, Refused, Reply
from sep_ray.kernel.errors import Indeterminate, Rejected, SepError, Transient

Call = tuple[str, Sequence[Any]]

BATCH: Final = 100
"""Calls in one request; nodes refuse long batches."""
WRITES: Final = frozenset({"eth_sendRawTransaction", "eth_sendTransaction"})
BUSY_CODES: Final = frozenset({-32005, -32007, -32016, 429})
NOT_YET: Final = (
    "header not found",
    "unknown block",
    "block not found",
    "missing trie node",
    "required data unavailable",
    "blockoutofrange",
    "state not available",
    "state is not available",
)
"""Texts that say: this node cannot answer that now."""


class RpcRefused(Rejected):
    """The node answered with an error; facts: method, code, text, data (0x-hex or None)."""


class Node(Protocol):
    """What readers and senders ask: one endpoint, or several that answer as one."""

    @property
    def host(self) -> str:
        """Its name in messages; holds no secret."""

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        """Return one call's result."""

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of many calls in their order; raises for the first refused one."""

    async def replies(self, calls: Sequence[Call]) -> list[Reply]:
        """Return what became of each call, in order; nothing that node or network do raises."""

    async def hand_over(self, raws: Sequence[str], since: Sequence[int | None]) -> list[Reply]:
        """Hand signed bytes over; `since`: the heads at which each nonce first was, if ever."""


class Unreached(Transient):
    """No connection to the node: nothing can have arrived there."""


class EvmRpc:
    """Calls to one node. Use it on one event loop; `close` it there.

    The URL may hold a secret in its path or query: errors name the host only.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 10.0, connect_s: float = 2.0, connections: int = 16
    ) -> None:
        self._url = url
        self.host = urlsplit(url).netloc.rpartition("@")[2]
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_s)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self.health = Health()

    async def close(self) -> None:
        """Drop the connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        """Return one call's result."""
        return _result(method, await self._exchange([(method, params)], method in WRITES))

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of many calls in their order; raises for the first refused one."""
        return results_of(calls, await self.answers(calls))

    async def replies(self, calls: Sequence[Call]) -> list[Reply]:
        """Return what became of each call, in order; nothing that node or network do raises."""
        found: list[Reply] = []
        for start in range(0, len(calls), BATCH):
            chunk = calls[start : start + BATCH]
            try:
                found += [reply_of(answer) for answer in await self._exchange(chunk, True)]
            except SepError as lost:
                gone = Lost(str(lost), reached=not isinstance(lost, Unreached))
                found += [gone] * len(chunk)
        return found

    async def hand_over(self, raws: Sequence[str], since: Sequence[int | None]) -> list[Reply]:
        """Hand signed bytes over, all in one request: nobody is kept from hearing of them."""
        return await self.replies([("eth_sendRawTransaction", [raw]) for raw in raws])

    async def answers(self, calls: Sequence[Call]) -> list[Any]:
        """Return the answers as the node wrote them, {"result": ..} or {"error": ..}, in order."""
        writes = any(method in WRITES for method, _ in calls)
        found: list[Any] = []
        for start in range(0, len(calls), BATCH):
            found += await self._exchange(calls[start : start + BATCH], writes)
        return found

    async def _exchange(self, calls: Sequence[Call], writes: bool) -> list[Any]:
        """Post one request and return the replies as the node wrote them, in the calls' order."""
        body = [
            {"jsonrpc": "2.0", "id": n, "method": method, "params": list(params)}
            for n, (method, params) in enumerate(calls)
        ]
        started = time.monotonic()
        status, text = await self._post(body if len(body) > 1 else body[0], writes)
        try:
            answer = json.loads(text)
            by_id = {each["id"]: each for each in (answer if len(body) > 1 else [answer])}
            found = [by_id[n] for n in range(len(body))]
        except (ValueError, KeyError, TypeError):
            raise self._unreadable(status, text, writes) from None
        self.health.answered(time.monotonic() - started)
        return found

    async def _post(self, body: Any, writes: bool) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, connector=aiohttp.TCPConnector(limit=self._connections)
            )
        try:
            async with self._session.post(self._url, json=body) as response:
                return response.status, await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            self.health.failed("cannot be reached")
            raise Unreached("node cannot be reached", node=self.host) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.health.failed(type(error).__name__)
            kind = Indeterminate if writes else Transient
            raise kind("reply was lost", node=self.host, why=type(error).__name__) from None

    def _unreadable(self, status: int, text: bytes, writes: bool) -> SepError:
        self.health.failed(f"status {status}")
        facts = {"node": self.host, "status": status, "text": text[:100].decode("utf-8", "replace")}
        if status in (401, 403):
            return Rejected("node refuses this client", **facts)
        if writes and status != 429:
            return Indeterminate("reply cannot be read", **facts)
        return Transient("reply cannot be read", **facts)


def results_of(calls: Sequence[Call], answers: Sequence[Any]) -> list[Any]:
    """Return the results in answers, or raise for the first that is none."""
    return [_result(method, [each]) for (method, _), each in zip(calls, answers, strict=True)]


def reply_of(answer: Any) -> Reply:
    """Read an answer as a reply to judge."""
    match answer:
        case {"error": {"code": code, "message": message}}:
            return Refused(code, message)
        case {"result": result}:
            return Answered(result)
        case _:
            return Lost(f"neither result nor error: {str(answer)[:100]}")


def passing(code: object, text: object) -> bool:
    """Whether an error says that this node cannot answer now."""
    return code in BUSY_CODES or any(sign in str(text).lower() for sign in NOT_YET)


def _result(method: str, answers: Sequence[Any]) -> Any:
    match answers[0]:
        case {"error": {"code": code, "message": text, **rest}}:
            if passing(code, text):
                raise Transient("node cannot answer now", method=method, code=code, text=text)
            raise RpcRefused(
                "node refused the call", method=method, code=code, text=text, data=rest.get("data")
            )
        case {"result": result}:
            return result
        case _:
            raise Transient("node answered neither result nor error", method=method)
