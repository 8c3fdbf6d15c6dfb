"""The board in Redis: one script adds a batch, its place beside it, so that nothing tears."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final, cast
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sep_ray.adapters.codec import decode_event, encode_event
from sep_ray.intent.states import Status
from sep_ray.journal.board import Batch, Group, Move, Place, Summary, covered
from sep_ray.journal.records import Recorded
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Transient

KEPT: Final = 20_000
"""Events kept, about 20 MB; whoever wants older ones reads the journal."""
LUA: Final = files("sep_ray.adapters.redis").joinpath("publish.lua").read_text()

Count = Callable[[str, str], None]


class RedisBoard:
    """Implements the port Board. `count(op, outcome)` hears of every call.

    The keys share a hash tag, so that a cluster keeps them in one place. The client's socket
    timeout must exceed the waits asked of `tail`.
    """

    def __init__(
        self, redis: Redis, count: Count, *, prefix: str = "{sep:board}:", kept: int = KEPT
    ) -> None:
        self._redis = redis
        self._count = count
        self._kept = kept
        self._script = redis.register_script(LUA)
        names = ("place", "events", "open", "counts")
        self._keys = [prefix + name for name in names]
        self._place, self._events, _, self._counts = self._keys

    async def place(self) -> Place | None:
        """See the port."""
        with self._told("place"):
            return _place(cast(bytes | None, await self._redis.get(self._place)))

    async def publish(self, batch: Batch) -> bool:
        """See the port."""
        arguments: list[Any] = [
            _text(batch.after),
            _text(batch.place),
            int(batch.anew),
            self._kept,
            len(batch.moves),
        ]
        for move in batch.moves:
            arguments += _move(move)
        for row in batch.rows:
            arguments += (row.seq, _entry(row))
        with self._told("publish"):
            return bool(await cast(Awaitable[int], self._script(self._keys, arguments)))

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        """See the port."""
        block = max(1, round(wait_s * 1_000)) if wait_s > 0 else None
        with self._told("tail"):
            found = await self._redis.xread({self._events: f"{after}-0"}, limit, block)
        entries = _entries(found)
        return tuple(_row(name, fields) for name, fields in entries)

    async def summary(self) -> Summary | None:
        """See the port."""
        with self._told("summary"):
            async with self._redis.pipeline(transaction=True) as both:
                both.get(self._place)
                both.hgetall(self._counts)
                text, counts = await both.execute()
        place = _place(text)
        if place is None:
            return None
        return Summary(
            as_of_seq=place.seq,
            counts=Counter({_group(key.decode()): int(n) for key, n in counts.items()}),
        )

    @contextmanager
    def _told(self, op: str) -> Iterator[None]:
        """Count a call; raise Transient where Redis did not do it, or did not say so."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            self._count(op, "error")
            raise Transient("Redis does not answer", op=op, why=type(error).__name__) from error
        self._count(op, "ok")


def _text(place: Place | None) -> str:
    return "" if place is None else f"{place.seq} {place.mark}"


def _place(text: bytes | None) -> Place | None:
    if text is None:
        return None
    seq, _, mark = text.decode().partition(" ")
    return Place(seq=int(seq), mark=mark)


def _move(move: Move) -> tuple[Any, ...]:
    group = move.group
    # The strategy comes last: it may hold anything.
    text = "" if group is None else f"{group.chain_id} {group.type} {group.strategy_id}"
    return str(move.intent_id), move.version, move.status.value, int(move.open), text


def _group(key: str) -> tuple[Group, Status]:
    status, chain_id, kind, strategy_id = key.split(" ", 3)
    return Group(strategy_id=strategy_id, chain_id=int(chain_id), type=kind), Status(status)


def _entry(row: Recorded) -> bytes:
    """Return an event as one line of what surrounds it, and its JSON."""
    kind, body = encode_event(covered(row.event))
    cause = row.causation_id or ""
    # A stream's name may hold blanks; nothing that comes before it does.
    head = f"{kind} {row.version} {row.at} {row.correlation_id} {cause} {row.stream_id}\n"
    return head.encode() + body


def _entries(found: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of the one stream that was read, in either form of the protocol."""
    if not found:
        return []
    streams = found.values() if isinstance(found, dict) else [each[1] for each in found]
    (entries,) = streams
    flat = entries[0] if entries and isinstance(entries[0], list) else entries
    return list(flat)


def _row(name: bytes, fields: dict[bytes, bytes]) -> Recorded:
    head, _, body = fields[b"e"].partition(b"\n")
    kind, version, at, correlation, cause, stream_id = head.decode().split(" ", 5)
    return Recorded(
        seq=int(name.partition(b"-")[0]),
        stream_id=stream_id,
        version=int(version),
        event=decode_event(kind, body),
        at=Millis(int(at)),
        correlation_id=UUID(correlation),
        causation_id=UUID(cause) if cause else None,
        previous_hash=b"",
        hash=b"",
    )
