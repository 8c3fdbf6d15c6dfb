"""A JSON-RPC node that misbehaves: passes HTTP and WebSocket on to a real one, with faults.

Loopback only. The control interface lies beside the node's own, under /faults.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

import aiohttp
from aiohttp import web

from sep_ray.devnet.faults.answering import Answers, CutOff, Status
from sep_ray.devnet.faults.control import ControlRoutes
from sep_ray.devnet.faults.rules import Rule, Rules
from sep_ray.devnet.faults.upstream import Json, Refused, Upstream
from sep_ray.devnet.faults.waiting import Waiting

LARGEST: Final = 1 << 26
"""Bytes of a request or a notification."""
SUBSCRIPTIONS: Final = frozenset({"eth_subscribe", "eth_unsubscribe"})


class FaultProxy:
    """`async with FaultProxy(url, seed=7) as proxy:` then `proxy.http` and `proxy.ws`.

    Same seed, same rules, same calls: same faults. `strict_replacement` refuses what geth would
    refuse and a local chain takes: a replacement with less than 10 % more of both fees.
    """

    def __init__(
        self, upstream: str, *, seed: int = 0, port: int = 0, strict_replacement: bool = False
    ) -> None:
        self._upstream = Upstream(upstream)
        self._wanted_port = port
        self.rules = Rules(seed)
        self.waiting = Waiting(self._upstream, strict=strict_replacement)
        self._answers = Answers(self._upstream, self.rules, self.waiting, seed)
        self._open: set[asyncio.Transport] = set()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def http(self) -> str:
        """Where requests go."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        """Where subscriptions are had."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def sends(self) -> Sequence[float]:
        """When raw transactions came in, seconds since the epoch; the newest of them."""
        return tuple(self._answers.sends)

    def add(self, rule: Rule) -> int:
        """Put a rule in force; return its number for `rules.remove`."""
        return self.rules.add(rule)

    async def release(self) -> list[Any]:
        """Forward the raw transactions that were held; return what the node said to each."""
        return await self.waiting.release()

    def cut(self) -> int:
        """End all open connections; return how many there were."""
        cut = [transport for transport in self._open if not transport.is_closing()]
        for transport in cut:
            transport.abort()
        self._open.clear()
        return len(cut)

    async def __aenter__(self) -> FaultProxy:
        app = web.Application(client_max_size=LARGEST)
        app.add_routes(ControlRoutes(self).routes())
        app.router.add_get("/{any:.*}", self._socket)
        app.router.add_post("/{any:.*}", self._request)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._wanted_port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._upstream.close()

    async def _request(self, request: web.Request) -> web.StreamResponse:
        self._remember(request)
        try:
            body = json.loads(await request.read())
        except ValueError:
            error = {"code": -32700, "message": "parse error"}
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": error})
        calls = body if isinstance(body, list) else [body]
        try:
            replies = await self._answers.reply(calls)
        except Status as failure:
            return web.Response(status=failure.rule.status or 500, text=failure.rule.text)
        except CutOff:
            _abort(request)
            return web.Response()
        return web.json_response(replies if isinstance(body, list) else replies[0])

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        client = web.WebSocketResponse(max_msg_size=LARGEST)
        await client.prepare(request)
        self._remember(request)
        try:
            async with self._upstream.session.ws_connect(
                self._upstream.ws, max_msg_size=LARGEST
            ) as node:
                pumps = [
                    asyncio.create_task(self._upwards(client, node)),
                    asyncio.create_task(self._downwards(node, client)),
                ]
                await _first(pumps)
        except (aiohttp.ClientError, OSError, CutOff):
            pass
        _abort(request)
        return client

    async def _upwards(
        self, client: web.WebSocketResponse, node: aiohttp.ClientWebSocketResponse
    ) -> None:
        """Answer the client's calls; subscriptions are made at the node."""
        async for message in client:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            body = json.loads(message.data)
            calls: list[Json] = body if isinstance(body, list) else [body]
            if any(call.get("method") in SUBSCRIPTIONS for call in calls):
                await self._subscribe(calls, client, node)
                continue
            try:
                replies = await self._answers.reply(calls)
            except Status as failure:
                error = {"code": failure.rule.code, "message": failure.rule.text}
                replies = [{"jsonrpc": "2.0", "id": c.get("id"), "error": error} for c in calls]
            await client.send_json(replies if isinstance(body, list) else replies[0])

    async def _subscribe(
        self,
        calls: Sequence[Json],
        client: web.WebSocketResponse,
        node: aiohttp.ClientWebSocketResponse,
    ) -> None:
        for call in calls:
            act = self.rules.decide(call["method"]).act
            if act is None:
                await node.send_json(call)
            elif act.fault.value == "fail":
                error = {"code": act.code, "message": act.text}
                await client.send_json({"jsonrpc": "2.0", "id": call.get("id"), "error": error})
            else:
                raise CutOff

    async def _downwards(
        self, node: aiohttp.ClientWebSocketResponse, client: web.WebSocketResponse
    ) -> None:
        """Pass on what the node tells; heads meet the rules."""
        async for message in node:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            told = json.loads(message.data)
            news = told.get("params", {}).get("result") if isinstance(told, dict) else None
            if isinstance(news, dict) and "parentHash" in news:
                try:
                    head = await self._answers.head(news)
                except Refused:
                    head = None
                if head is None:
                    continue
                told["params"]["result"] = head
            await client.send_json(told)

    def _remember(self, request: web.Request) -> None:
        self._open = {each for each in self._open if not each.is_closing()}
        if isinstance(request.transport, asyncio.Transport):
            self._open.add(request.transport)


async def _first(pumps: Sequence[asyncio.Task[None]]) -> None:
    """Wait until one pump ends, then end the other; raises what ended them."""
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        ends = await asyncio.gather(*pumps, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception) and not isinstance(end, asyncio.CancelledError):
            raise end


def _abort(request: web.Request) -> None:
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
