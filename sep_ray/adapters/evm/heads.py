"""New block headers as they come: a newHeads subscription, polling where there is none."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import aiohttp
import structlog

from sep_ray.adapters.evm.rpc import EvmRpc, Node
from sep_ray.execution.ports import Head
from sep_ray.kernel.errors import SepError, Transient

log = structlog.get_logger()

BACKFILL: Final = 64
"""Missed heads that are fetched; older ones are left out."""
HEARTBEAT_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0
"""How long polling stands in before the subscription is tried again, doubled with each failure."""
LONGEST_POLL_S: Final = 1.0
"""A node that does not answer is asked as often at least, unless its blocks are slower."""
SILENT_POLLS: Final = 12
LEAST_SILENCE_S: Final = 2.0
"""A subscription that is silent for so long is checked against the node."""
CLOSING: Final = aiohttp.ClientWSTimeout(ws_close=1.0)


def parse_head(header: Any) -> Head:
    """Read a header as nodes write it; Transient when it makes no sense."""
    try:
        return _head(header)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise Transient("the node's header makes no sense", why=repr(error)) from None


def _head(header: Any) -> Head:
    return Head(
        number=int(header["number"], 16),
        hash=header["hash"].lower(),
        parent_hash=header["parentHash"].lower(),
        timestamp=int(header["timestamp"], 16),
        base_fee_wei=int(header.get("baseFeePerGas", "0x0"), 16),
        gas_used=int(header["gasUsed"], 16),
        gas_limit=int(header["gasLimit"], 16),
    )


async def read_heads(rpc: Node, numbers: list[int]) -> list[Head | None]:
    """Return canonical headers by number, None where the chain is not that long."""
    blocks = await rpc.batch([("eth_getBlockByNumber", [hex(n), False]) for n in numbers])
    return [parse_head(block) if block else None for block in blocks]


async def newest_head(rpc: Node) -> Head:
    """Return the newest header."""
    return parse_head(await rpc.request("eth_getBlockByNumber", ["latest", False]))


async def missed(rpc: Node, last: Head | None, head: Head) -> list[Head]:
    """Return the heads between two, oldest first, at most BACKFILL; what cannot be read is left."""
    if last is None or head.number <= last.number + 1:
        return []
    first = max(last.number + 1, head.number - BACKFILL)
    try:
        found = await read_heads(rpc, list(range(first, head.number)))
    except SepError as error:
        log.warning("heads_not_backfilled", node=rpc.host, why=str(error))
        return []
    return [each for each in found if each is not None]


class HeadFeed:
    """One node's heads. `ws_url` may be None: then every head comes by polling."""

    def __init__(self, rpc: EvmRpc, ws_url: str | None, poll_s: float) -> None:
        self._rpc = rpc
        self._ws_url = ws_url
        self._poll_s = poll_s
        self._silence_s = max(SILENT_POLLS * poll_s, LEAST_SILENCE_S)
        self._lost = 0

    async def heads(self) -> AsyncGenerator[Head, None]:
        """Yield heads without end; a lost connection is mended and missed heads are fetched.

        A number may come again with another hash: that is a reorganisation, and the reader's to
        notice. The first head is the chain's newest.
        """
        last: Head | None = None
        async with aclosing(self._unfilled()) as stream:
            async for head in stream:
                self._rpc.health.head = head.number
                if last is not None and head.hash == last.hash:
                    continue
                for each in await missed(self._rpc, last, head):
                    yield each
                yield head
                last = head

    async def _unfilled(self) -> AsyncGenerator[Head, None]:
        while True:
            if self._ws_url is not None:
                try:
                    async with aclosing(self._subscribed(self._ws_url)) as stream:
                        async for head in stream:
                            yield head
                except (aiohttp.ClientError, OSError, TimeoutError, SepError) as error:
                    why = type(error).__name__
                    log.warning("heads_subscription_lost", node=self._rpc.host, why=why)
            pause_s = min(FIRST_PAUSE_S * 2 ** min(self._lost, 16), LONGEST_PAUSE_S)
            self._lost += 1
            async with aclosing(self._polled(pause_s)) as stream:
                async for head in stream:
                    yield head

    async def _subscribed(self, url: str) -> AsyncGenerator[Head, None]:
        """Yield the newest head and then those that are told.

        A subscription that says nothing for long, while the chain goes on, is lost too.
        """
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                url, heartbeat=HEARTBEAT_S, max_msg_size=1 << 22, timeout=CLOSING
            ) as socket,
        ):
            ask = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
            await socket.send_json(ask)
            newest = await newest_head(self._rpc)
            yield newest
            while True:
                try:
                    message = await socket.receive(self._silence_s)
                except TimeoutError:
                    yield await self._unheard(newest)
                    continue
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise Transient("subscription ended", node=self._rpc.host)
                head = await self._read(message.data)
                if head is not None:
                    self._lost = 0
                    newest = head
                    yield head

    async def _unheard(self, newest: Head) -> Head:
        """Return the newest head while nothing new was due; Transient when something was missed."""
        found = await newest_head(self._rpc)
        if found.hash != newest.hash:
            raise Transient("subscription fell silent", node=self._rpc.host)
        return found

    async def _read(self, text: str) -> Head | None:
        """Read a notification; a header that lacks fields is fetched whole."""
        try:
            message = json.loads(text)
        except ValueError:
            raise Transient("notification cannot be read", node=self._rpc.host) from None
        match message:
            case {"error": refusal}:
                raise Transient("node refuses to subscribe", text=str(refusal)[:100])
            case {"params": {"result": {"hash": block_hash, **rest}}}:
                try:
                    return parse_head({"hash": block_hash, **rest})
                except Transient:
                    found = await self._rpc.request("eth_getBlockByHash", [block_hash, False])
                    return parse_head(found) if found else None
            case _:
                return None

    async def _polled(self, for_s: float) -> AsyncGenerator[Head, None]:
        """Yield the newest head whenever it changed; for so long, or for ever without a socket."""
        seen, failures, until = "", 0, time.monotonic() + for_s
        while self._ws_url is None or time.monotonic() < until:
            try:
                head = await newest_head(self._rpc)
                failures = 0
                if head.hash != seen:
                    seen = head.hash
                    yield head
            except SepError as error:
                failures += 1
                if failures == 1:
                    log.warning("head_not_read", node=self._rpc.host, why=str(error))
            pause_s = min(self._poll_s * 2 ** min(failures, 16), max(self._poll_s, LONGEST_POLL_S))
            await asyncio.sleep(pause_s)
