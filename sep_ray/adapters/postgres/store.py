"""The store on Postgres: every port of journal/ports.py over a few connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TypeVar
from uuid import UUID

from sep_ray.adapters.codec import decode_state
from sep_ray.adapters.postgres.acceptance import AcceptWriter
from sep_ray.adapters.postgres.commits import CommitWriter
from sep_ray.adapters.postgres.feed import Feed
from sep_ray.adapters.postgres.marks import MarkTable
from sep_ray.adapters.postgres.migrations import migrate, require_schema
from sep_ray.adapters.postgres.queries import SQL
from sep_ray.adapters.postgres.rows import posting, recorded
from sep_ray.adapters.postgres.ticks import TickTable
from sep_ray.adapters.postgres.wire import Readers
from sep_ray.decomposition.step import Step
from sep_ray.execution.attempt import Attempt
from sep_ray.intent.states import IntentRecord
from sep_ray.journal.records import (
    Commit,
    Footing,
    IntentFilter,
    Lease,
    Recorded,
    Submission,
    Tick,
    TransferFilter,
    Verdict,
    VersionConflict,
)
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.book import STREAM, LimitBook
from sep_ray.policy.halts import Halt
from sep_ray.policy.marks import ChainMark
from sep_ray.policy.usage import Marks, Slot
from sep_ray.portfolio.ledger import Bucket, Holding, Posting
from sep_ray.settlement.transfer import Transfer
from sep_ray.strategy.record import StrategyRecord

S = TypeVar("S", IntentRecord, Step, Attempt, StrategyRecord, Transfer, LimitBook, Halt)

_NIL = UUID(int=0)


class PostgresStore:
    """Answers the ports; build it with `connect`. One per process and event loop.

    A database that restarts is waited for (wire.CONNECT_SECONDS); then reads and what may safely
    be said twice raise Transient, and a commit whose answer was lost Indeterminate.
    """

    def __init__(self, url: str, readers: Readers, clock: Clock) -> None:
        self._clock = clock
        self._readers = readers
        self._feed = Feed(url, readers)
        self._commits = CommitWriter(url, self._feed.wake)
        self._acceptance = AcceptWriter(url, self._feed.wake)
        self._ticks = TickTable(readers)
        self._marks = MarkTable(readers)

    @classmethod
    async def connect(cls, url: str, *, clock: Clock) -> PostgresStore:
        """Connect to a migrated database; Rejected when it lacks migrations this code needs.

        `clock` is the one the caller compares a lease's `expires_at` with.
        """
        readers = await Readers.open(url)
        try:
            await require_schema(readers)
        except BaseException:
            await readers.close()
            raise
        return cls(url, readers, clock)

    @staticmethod
    async def migrate(url: str) -> tuple[str, ...]:
        """Bring a database up to date; return the names of what was applied."""
        return await migrate(url)

    async def close(self) -> None:
        """Write what waits, then disconnect."""
        await self._commits.close()
        await self._acceptance.close()
        await self._feed.close()
        await self._readers.close()

    async def commit(self, commit: Commit) -> tuple[Recorded, ...]:
        return await self._commits.commit(commit)

    async def accept(self, batch: Sequence[Submission], at: Millis) -> tuple[Verdict, ...]:
        return await self._acceptance.accept(batch, at)

    async def stream(self, stream_id: str, after: int = 0) -> tuple[Recorded, ...]:
        rows = await self._readers.rows(SQL["stream"], stream_id, after)
        return tuple(map(recorded, rows))

    async def related(self, correlation_id: UUID) -> tuple[Recorded, ...]:
        return tuple(map(recorded, await self._readers.rows(SQL["related"], correlation_id)))

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        return await self._feed.tail(after, limit, wait_s)

    async def broken_links(self, limit: int) -> tuple[str, ...]:
        return tuple(row["place"] for row in await self._readers.rows(SQL["broken_links"], limit))

    async def intent(self, intent_id: UUID) -> IntentRecord | None:
        return await self._one(IntentRecord, "intents", [intent_id])

    async def intents(self, intent_ids: Sequence[UUID]) -> tuple[IntentRecord, ...]:
        return await self._many(IntentRecord, "intents", list(intent_ids))

    async def open_intents(self, after: UUID | None, limit: int) -> tuple[IntentRecord, ...]:
        return await self._many(IntentRecord, "open_intents", after or _NIL, limit)

    async def page_of_intents(
        self, wanted: IntentFilter, before: UUID | None, limit: int
    ) -> tuple[IntentRecord, ...]:
        fits = wanted.strategy_id, wanted.status, wanted.type, wanted.chain_id
        return await self._many(IntentRecord, "page_of_intents", *fits, before, limit)

    async def step(self, step_id: UUID) -> Step | None:
        return await self._one(Step, "steps", [step_id])

    async def steps_of(self, intent_ids: Sequence[UUID]) -> tuple[Step, ...]:
        return await self._many(Step, "steps_of", list(intent_ids))

    async def ready_steps(self, chain_id: ChainId, limit: int) -> tuple[Step, ...]:
        return await self._many(Step, "ready_steps", chain_id, limit)

    async def next_due(self) -> Millis | None:
        row = await self._readers.row(SQL["next_due"])
        return None if row is None or row[0] is None else Millis(row[0])

    async def due_intents(self, now: Millis, limit: int) -> tuple[UUID, ...]:
        rows = await self._readers.rows(SQL["due_intents"], now, limit)
        return tuple(UUID(int=row["intent_id"].int) for row in rows)

    async def attempt(self, attempt_id: UUID) -> Attempt | None:
        return await self._one(Attempt, "attempts", [attempt_id])

    async def live_attempts(self, chain_id: ChainId, account: str) -> tuple[Attempt, ...]:
        return await self._many(Attempt, "live_attempts", chain_id, account)

    async def attempts_of(self, step_ids: Sequence[UUID]) -> tuple[Attempt, ...]:
        return await self._many(Attempt, "attempts_of", list(step_ids))

    async def attempt_by_hash(self, tx_hash: str) -> Attempt | None:
        return await self._one(Attempt, "attempt_by_hash", tx_hash)

    async def next_nonce(self, chain_id: ChainId, account: str) -> int | None:
        row = await self._readers.row(SQL["next_nonce"], chain_id, account)
        return None if row is None else row[0]

    async def transfer(self, transfer_id: UUID) -> Transfer | None:
        return await self._one(Transfer, "transfers", [transfer_id])

    async def transfers_of(self, step_ids: Sequence[UUID]) -> tuple[Transfer, ...]:
        return await self._many(Transfer, "transfers_of", list(step_ids))

    async def open_transfers(self, chain_id: ChainId | None) -> tuple[Transfer, ...]:
        return await self._many(Transfer, "open_transfers", chain_id)

    async def page_of_transfers(
        self, wanted: TransferFilter, before: UUID | None, limit: int
    ) -> tuple[Transfer, ...]:
        fits = wanted.strategy_id, wanted.bridge, wanted.status, wanted.chain_id
        return await self._many(Transfer, "page_of_transfers", *fits, before, limit)

    async def holdings(self, strategy_id: str | None = None) -> tuple[Holding, ...]:
        found = (
            Holding(
                strategy_id=row["strategy_id"],
                asset=Asset.parse(row["asset"]),
                bucket=Bucket(row["bucket"]),
                units=int(row["units"]),
            )
            for row in await self._readers.rows(SQL["holdings"], strategy_id)
        )
        return tuple(sorted(found, key=attrgetter("strategy_id", "asset", "bucket")))

    async def has_held(self, strategy_id: str) -> bool:
        return bool(await self._readers.rows(SQL["has_held"], strategy_id))

    async def totals(self, chain_id: ChainId) -> dict[Asset, int]:
        rows = await self._readers.rows(SQL["totals"], chain_id)
        sums = {Asset.parse(row["asset"]): int(row["units"]) for row in rows}
        return dict(sorted(sums.items()))

    async def account_units(self, chain_id: ChainId, account: str) -> dict[Asset, int]:
        rows = await self._readers.rows(SQL["account_units"], chain_id, account)
        found = {Asset.parse(row["asset"]): int(row["units"]) for row in rows}
        return dict(sorted(found.items()))

    async def postings_of(self, correlation_id: UUID) -> tuple[Posting, ...]:
        return tuple(map(posting, await self._readers.rows(SQL["postings_of"], correlation_id)))

    async def acquire(self, name: str, holder: str, ttl_ms: int) -> Lease | None:
        asked = self._clock.now()
        row = await self._readers.row(SQL["acquire"], name, holder, ttl_ms)
        return None if row is None else _lease(name, holder, row["epoch"], asked, ttl_ms)

    async def renew(self, lease: Lease, ttl_ms: int) -> Lease | None:
        asked = self._clock.now()
        row = await self._readers.row(SQL["renew"], lease.name, lease.epoch, ttl_ms)
        return None if row is None else _lease(lease.name, lease.holder, lease.epoch, asked, ttl_ms)

    async def stands(self, lease: Lease) -> Footing | None:
        row = await self._readers.row(SQL["stands"], lease.name, lease.epoch, STREAM)
        return None if row is None else Footing(policy_version=row["policy_version"])

    async def release(self, lease: Lease) -> None:
        await self._readers.rows(SQL["release"], lease.name, lease.epoch)

    async def strategy(self, strategy_id: str) -> StrategyRecord | None:
        return await self._one(StrategyRecord, "strategies", strategy_id)

    async def strategies(self) -> tuple[StrategyRecord, ...]:
        return await self._many(StrategyRecord, "strategies", None)

    async def save_state(self, strategy_id: str, state: str, version: int) -> None:
        row = await self._readers.once(SQL["save_state"], strategy_id, state, version)
        if row is None:
            raise VersionConflict(
                "the state has moved on", strategy_id=strategy_id, version=version
            )

    async def load_state(self, strategy_id: str) -> tuple[str, int] | None:
        row = await self._readers.row(SQL["load_state"], strategy_id)
        return None if row is None else (row["state"], row["version"])

    async def limits(self) -> LimitBook:
        return await self._one(LimitBook, "policies", STREAM) or LimitBook()

    async def limit_usage(self, limit_ids: Sequence[str]) -> Mapping[str, tuple[Slot, ...]]:
        return await self._marks.limit_usage(limit_ids)

    async def chain_marks(self, strategy_id: str) -> tuple[ChainMark, ...]:
        return await self._marks.chain_marks(strategy_id)

    async def marks(self, strategy_ids: Sequence[str]) -> Mapping[str, Marks]:
        return await self._marks.marks(strategy_ids)

    async def keep_mark(self, mark: ChainMark) -> None:
        await self._marks.keep_mark(mark)

    async def active_halts(self) -> tuple[Halt, ...]:
        return await self._many(Halt, "active_halts")

    async def halt(self, halt_id: UUID) -> Halt | None:
        return await self._one(Halt, "halts", [halt_id])

    async def newest_halts(self, limit: int) -> tuple[Halt, ...]:
        return await self._many(Halt, "newest_halts", limit)

    async def cursor(self, name: str) -> int:
        row = await self._readers.row(SQL["cursor"], name)
        return 0 if row is None else row["seq"]

    async def advance(self, name: str, seq: int) -> None:
        await self._readers.rows(SQL["advance"], name, seq)

    async def newest(self) -> int:
        row = await self._readers.row(SQL["newest"])
        return 0 if row is None else row[0]

    async def record_ticks(self, ticks: Sequence[Tick]) -> None:
        await self._ticks.record(ticks)

    async def recent_ticks(
        self, chain_id: ChainId, base: Asset, quote: Asset, limit: int
    ) -> tuple[Tick, ...]:
        return await self._ticks.recent(chain_id, base, quote, limit)

    async def _many(self, cls: type[S], query: str, *args: object) -> tuple[S, ...]:
        rows = await self._readers.rows(SQL[query], *args)
        return tuple(decode_state(cls, row["body"]) for row in rows)

    async def _one(self, cls: type[S], query: str, *args: object) -> S | None:
        return next(iter(await self._many(cls, query, *args)), None)


def _lease(name: str, holder: str, epoch: int, asked: Millis, ttl_ms: int) -> Lease:
    """Date the end from before we asked: never later than the database's, by our own clock."""
    return Lease(name=name, holder=holder, epoch=epoch, expires_at=Millis(asked + ttl_ms))
