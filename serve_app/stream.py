"""The live stream: every event once and in order, from wherever a client left off.

One task per replica follows the journal while there are clients and hands each event to all of
them; each client has a bounded queue and is closed, told where to resume, when it cannot keep up.
A client is first given what the journal holds beyond its last event, then joins the live ones
without a gap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

import structlog
from pydantic_core import to_json

from sep_ray.adapters import metrics
from sep_ray.intent.states import IntentRecord
from sep_ray.journal.records import Recorded
from sep_ray.kernel.errors import SepError
from serve_app.assets import AssetBook
from serve_app.auth import Principal
from serve_app.explain import Teller
from serve_app.wire import event_facts

RING: Final = 2_000
"""Events kept for clients that are about to join."""
QUEUE: Final = 1_000
"""Events a slow client may lag behind."""
PAGE: Final = 500
WAIT_S: Final = 5.0
HEARTBEAT_S: Final = 15.0
PAUSE_S: Final = 0.5
KNOWN: Final = 10_000

CLOSE_TOO_SLOW: Final = 1013
CLOSE_RESTART: Final = 1012
CLOSE_POLICY: Final = 1008

log = structlog.get_logger()


class Feed(Protocol):
    """What is followed."""

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        """Return events above `after`, waiting up to `wait_s` for the first."""

    async def newest(self) -> int:
        """Return the seq of the newest event."""

    async def intent(self, intent_id: UUID) -> IntentRecord | None:
        """Return an intent."""

    async def stream(self, stream_id: str) -> tuple[Recorded, ...]:
        """Return all events of a stream, in order."""


@dataclass(frozen=True, slots=True)
class Item:
    """An event as it is sent, with what clients filter by."""

    seq: int
    kind: str
    stream: str
    correlation_id: UUID
    text: str


@dataclass(slots=True, eq=False)
class Subscription:
    """A client's place in the live stream; `close_code` is set when it is to end."""

    queue: asyncio.Queue[Item | None] = field(default_factory=lambda: asyncio.Queue(QUEUE + 1))
    close_code: int | None = None


class Hub:
    """Follows the journal once for all clients of a replica."""

    def __init__(self, feed: Feed, book: AssetBook) -> None:
        self._feed = feed
        self._teller = Teller(book)
        self._seq = 0
        self._ring: deque[Item] = deque(maxlen=RING)
        self._clients: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._present = 0
        self._entering = asyncio.Lock()
        self._awake = asyncio.Event()

    @property
    def seq(self) -> int:
        """The newest event handed out."""
        return self._seq

    @property
    def watched(self) -> int:
        """How many clients follow the live events."""
        return len(self._clients)

    async def start(self) -> None:
        """Begin at the journal's end."""
        self._seq = await self._feed.newest()
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """End every client, telling it to come back, and stop following."""
        self._closed = True
        for client in list(self._clients):
            self._end(client, CLOSE_RESTART)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """Follow the journal as long as somebody is in here; whoever is first, from its end."""
        async with self._entering:
            if not self._present:
                self._seq = await self._feed.newest()
                self._ring.clear()
            self._present += 1
            self._awake.set()
        try:
            yield
        finally:
            self._present -= 1
            if not self._present:
                self._awake.clear()

    def join(self, after: int) -> Subscription | None:
        """Return a place that continues right after `after`; None when that is too long ago."""
        oldest = self._ring[0].seq if self._ring else self._seq + 1
        if after < self._seq and after + 1 < oldest:
            return None
        client = Subscription()
        missed = [item for item in self._ring if item.seq > after]
        if len(missed) > QUEUE:
            return None
        for item in missed:
            client.queue.put_nowait(item)
        if self._closed:
            self._end(client, CLOSE_RESTART)
        else:
            self._clients.add(client)
        return client

    def leave(self, client: Subscription) -> None:
        """Give up a place."""
        self._clients.discard(client)

    async def catch_up(self, rows: Sequence[Recorded], teller: Teller) -> None:
        """Let a teller read the beginning of what began before it listened."""
        for row in rows:
            if teller.lacks(row):
                for earlier in await self._feed.stream(row.stream_id):
                    teller.learn(earlier)

    def render(self, row: Recorded, teller: Teller) -> Item:
        """Return an event as it is sent."""
        facts = event_facts(row, teller)
        text = to_json(facts, inf_nan_mode="strings").decode()
        return Item(row.seq, facts["type"], row.stream_id, row.correlation_id, text)

    async def _follow(self) -> None:
        # A cancellation may be lost to an event that comes at the same moment: the flag is not.
        while not self._closed:
            await self._awake.wait()
            try:
                rows = await self._feed.tail(self._seq, PAGE, WAIT_S)
                await self.catch_up(rows, self._teller)
            except (SepError, OSError) as error:
                log.warning("stream_waits", error=type(error).__name__, after=self._seq)
                await asyncio.sleep(PAUSE_S)
                continue
            for row in rows:
                if row.seq > self._seq:  # else asked for before everybody left and came back
                    self._publish(self.render(row, self._teller))

    def _publish(self, item: Item) -> None:
        self._seq = item.seq
        self._ring.append(item)
        for client in list(self._clients):
            if client.queue.qsize() >= QUEUE:
                self._end(client, CLOSE_TOO_SLOW)
            else:
                client.queue.put_nowait(item)

    def _end(self, client: Subscription, code: int) -> None:
        client.close_code = code
        self._clients.discard(client)
        client.queue.put_nowait(None)


class Socket(Protocol):
    """A client's connection."""

    async def send_text(self, data: str) -> None:
        """Send a message."""

    async def receive(self) -> Any:
        """Return what the client sent or that it left."""

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close with a code and a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a client wants to see; None means everything its token covers."""

    intent_id: UUID | None = None
    kinds: frozenset[str] | None = None


class Client:
    """One connection, from its first replayed event to its close."""

    def __init__(
        self,
        socket: Socket,
        feed: Feed,
        hub: Hub,
        book: AssetBook,
        principal: Principal,
        wanted: Wanted,
    ) -> None:
        self._socket = socket
        self._feed = feed
        self._hub = hub
        self._teller = Teller(book)
        self._principal = principal
        self._wanted = wanted
        self._owners: dict[UUID, str | None] = {}
        self._seq = 0

    async def serve(self, after: int, token_left_s: Callable[[], float]) -> None:
        """Send events above `after` until the client leaves, lags, or its token ends."""
        self._seq = after
        metrics.websocket_connections_active.inc()
        try:
            await self._until_left(self._send_all(token_left_s))
        finally:
            metrics.websocket_connections_active.dec()

    async def _until_left(self, sending: Awaitable[tuple[int, str]]) -> None:
        sender = asyncio.ensure_future(sending)
        listener = asyncio.ensure_future(self._listen())
        await asyncio.wait((sender, listener), return_when=asyncio.FIRST_COMPLETED)
        left = listener.done()
        for task in (sender, listener):
            task.cancel()
        (outcome, _) = await asyncio.gather(sender, listener, return_exceptions=True)
        if left:
            return
        code, why = outcome if isinstance(outcome, tuple) else (CLOSE_RESTART, "interrupted")
        if isinstance(outcome, Exception):
            log.warning("stream_broke", error=type(outcome).__name__, after=self._seq)
        await self._socket.close(code, f"{why}; resume with after={self._seq}")

    async def _listen(self) -> None:
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass

    async def _send_all(self, token_left_s: Callable[[], float]) -> tuple[int, str]:
        async with self._hub.attended():
            return await self._send_on(token_left_s)

    async def _send_on(self, token_left_s: Callable[[], float]) -> tuple[int, str]:
        place = await self._replay()
        try:
            while (left_s := token_left_s()) > 0:
                try:
                    async with asyncio.timeout(min(HEARTBEAT_S, left_s)):
                        item = await place.queue.get()
                except TimeoutError:
                    await self._socket.send_text(f'{{"type":"heartbeat","seq":{self._seq}}}')
                    continue
                if item is None:
                    slow = place.close_code == CLOSE_TOO_SLOW
                    return place.close_code or CLOSE_RESTART, "too slow" if slow else "restarting"
                await self._send([item])
            return CLOSE_POLICY, "the token has expired"
        finally:
            self._hub.leave(place)

    async def _replay(self) -> Subscription:
        """Send what the journal holds beyond the client's place, then join the live stream."""
        while (place := self._hub.join(self._seq)) is None:
            rows = await self._feed.tail(self._seq, PAGE, 0.0)
            await self._hub.catch_up(rows, self._teller)
            await self._send([self._hub.render(row, self._teller) for row in rows])
        return place

    async def _send(self, items: Sequence[Item]) -> None:
        for item in items:
            if item.seq <= self._seq:  # replayed while the live stream was still behind
                continue
            if self._matches(item) and await self._covered(item):
                await self._socket.send_text(item.text)
            self._seq = item.seq

    def _matches(self, item: Item) -> bool:
        wanted = self._wanted
        if wanted.intent_id is not None and item.correlation_id != wanted.intent_id:
            return False
        return wanted.kinds is None or item.kind in wanted.kinds

    async def _covered(self, item: Item) -> bool:
        """Whether the token covers the strategy that an event belongs to."""
        if self._principal.strategies is None:
            return True
        aggregate, _, name = item.stream.partition("/")
        if aggregate == "strategy":
            return self._principal.covers(name)
        if item.correlation_id not in self._owners:
            if len(self._owners) >= KNOWN:
                self._owners.clear()
            record = await self._feed.intent(item.correlation_id)
            self._owners[item.correlation_id] = record.intent.strategy_id if record else None
        owner = self._owners[item.correlation_id]
        return owner is not None and self._principal.covers(owner)
