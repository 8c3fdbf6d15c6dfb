"""Accepting intents: the hot path. One function call is one transaction is one fsync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg

from sep_ray.adapters.codec import decode_state, encode_event, encode_state
from sep_ray.adapters.postgres.batching import Batcher
from sep_ray.adapters.postgres.errors import Phase, translated
from sep_ray.adapters.postgres.queries import SQL
from sep_ray.adapters.postgres.rows import columns
from sep_ray.adapters.postgres.wire import Wire
from sep_ray.intent.intent import Intent
from sep_ray.intent.states import IntentAccepted, IntentRecord, evolve
from sep_ray.journal.chain import GENESIS, link
from sep_ray.journal.records import Accepted, KeyReused, Repeated, Submission, Verdict
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Indeterminate, InvariantBroken, Rejected, SepError, Transient

GROUP: Final = 1_000
"""Submissions that share one transaction, about."""
_TRIES: Final = 5
_TAKEN: Final = "SEP01"
"""SQLSTATE of accept_intents and accept_intent when a key or an id exists already."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    submission: Submission
    at: Millis
    state: str
    body: str
    hash: bytes


@dataclass(slots=True)
class _Known:
    """What exists already: keys with digest and intent, and intents."""

    keys: dict[tuple[str, str], tuple[bytes, UUID]] = field(default_factory=dict)
    intents: dict[UUID, Intent] = field(default_factory=dict)

    def judge(self, submission: Submission) -> Verdict:
        """Return the verdict; what is accepted is known from then on."""
        intent, key = submission.intent, (submission.principal, submission.key or "")
        if submission.key is not None and key in self.keys:
            digest, first = self.keys[key]
            return Repeated(first) if submission.digest == digest else KeyReused(first)
        if intent.id in self.intents:
            same = self.intents[intent.id] == intent
            return Repeated(intent.id) if same else KeyReused(intent.id)
        self.intents[intent.id] = intent
        if submission.key is not None:
            self.keys[key] = submission.digest, intent.id
        return Accepted(intent.id)


class AcceptWriter:
    """The one task of a store that accepts; its callers share transactions."""

    def __init__(self, url: str, written: Callable[[], None]) -> None:
        self._wire = Wire(url)
        self._written = written
        self._batcher: Batcher[Sequence[_Prepared], tuple[Verdict, ...]] = Batcher(
            self._flush, limit=GROUP, weigh=len
        )

    async def accept(self, batch: Sequence[Submission], at: Millis) -> tuple[Verdict, ...]:
        """See Journal.accept. A lost answer is asked for again before anybody hears of it."""
        if not batch:
            return ()
        return await self._batcher.submit([_prepare(submission, at) for submission in batch])

    async def close(self) -> None:
        """Write what waits and disconnect."""
        await self._batcher.close()
        await self._wire.close()

    async def _flush(
        self, requests: Sequence[Sequence[_Prepared]]
    ) -> Sequence[tuple[Verdict, ...] | SepError]:
        try:
            verdicts = iter(await self._accept([one for request in requests for one in request]))
        except (Rejected, InvariantBroken) as error:
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in await self._flush([request])]
        self._written()
        return [tuple(next(verdicts) for _ in request) for request in requests]

    async def _accept(self, items: Sequence[_Prepared]) -> list[Verdict]:
        """Write what is new; first without looking, then knowing what stood in the way."""
        known, sent = _Known(), set[UUID]()
        for _ in range(_TRIES):
            verdicts = [known.judge(item.submission) for item in items]
            pairs = zip(items, verdicts, strict=True)
            fresh = [item for item, verdict in pairs if isinstance(verdict, Accepted)]
            try:
                if not fresh or await self._insert(fresh):
                    return [_own(verdict, sent) for verdict in verdicts]
            except Indeterminate:
                sent |= {item.submission.intent.id for item in fresh}
            try:
                known = await self._look_up(items)
            except Transient as error:
                raise (Indeterminate(error.message, **error.facts) if sent else error) from None
        raise Transient("others keep taking the same keys", tries=_TRIES)

    async def _insert(self, items: Sequence[_Prepared]) -> bool:
        """Write them all, or nothing and False when a key or an id is taken."""
        connection = await self._wire.get()
        try:
            with translated(Phase(committing=True)):
                await _call(connection, items)
        except (Indeterminate, asyncio.CancelledError):
            self._wire.drop()
            raise
        except _Taken:
            return False
        return True

    async def _look_up(self, items: Sequence[_Prepared]) -> _Known:
        submissions = [item.submission for item in items]
        keys = ((s.principal, s.key) for s in submissions if s.key is not None)
        ids = [s.intent.id for s in submissions]
        connection = await self._wire.get()
        try:
            with translated(Phase()):
                taken = await connection.fetch(SQL["known_keys"], *columns(keys, 2))
                rows = await connection.fetch(SQL["intents"], ids)
        except (Transient, asyncio.CancelledError):
            self._wire.drop()
            raise
        intents = [decode_state(IntentRecord, row["body"]).intent for row in rows]
        return _Known(
            keys={
                (row["principal"], row["key"]): (row["digest"], row["intent_id"]) for row in taken
            },
            intents={intent.id: intent for intent in intents},
        )


class _Taken(Exception):
    """A key or an id exists."""


async def _call(connection: asyncpg.Connection[Any], items: Sequence[_Prepared]) -> None:
    try:
        if len(items) == 1:
            await connection.execute(SQL["accept_one"], *_row(items[0]))
        else:
            await connection.execute(SQL["accept"], *columns(map(_row, items), 11))
    except asyncpg.PostgresError as error:
        if error.sqlstate == _TAKEN:
            raise _Taken from None
        raise


def _own(verdict: Verdict, sent: set[UUID]) -> Verdict:
    """Return Accepted where our own write had arrived and only its answer was lost."""
    if isinstance(verdict, Repeated) and verdict.intent_id in sent:
        sent.discard(verdict.intent_id)
        return Accepted(verdict.intent_id)
    return verdict


def _prepare(submission: Submission, at: Millis) -> _Prepared:
    event = IntentAccepted(intent=submission.intent, principal=submission.principal)
    record = evolve(None, event, at)
    kind, body = encode_event(event)
    digest = link(
        GENESIS,
        stream_id=record.stream_id,
        version=1,
        kind=kind,
        at=at,
        correlation_id=submission.intent.id,
        causation_id=None,
        body=body,
    )
    return _Prepared(submission, at, encode_state(record).decode(), body.decode(), digest)


def _row(item: _Prepared) -> tuple[Any, ...]:
    given, intent = item.submission, item.submission.intent
    return (
        intent.id, intent.strategy_id, intent.type, intent.chain_id, given.principal, given.key,
        given.digest, item.at, item.state, item.body, item.hash,
    )  # fmt: skip
