"""The whole database in one process's memory: for simulations, tests and dry runs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import TypeVar
from uuid import UUID

from sep_ray.adapters.codec import decode_event, encode_event
from sep_ray.adapters.memory.leases import LeaseTable
from sep_ray.decomposition.step import Step, StepStatus
from sep_ray.execution.attempt import TERMINAL as SPENT
from sep_ray.execution.attempt import Attempt, AttemptStatus
from sep_ray.intent.states import TERMINAL as ENDED
from sep_ray.intent.states import IntentAccepted, IntentRecord, evolve
from sep_ray.journal.chain import GENESIS, link
from sep_ray.journal.records import (
    Accepted,
    Append,
    Commit,
    Fence,
    Footing,
    IntentFilter,
    KeyReused,
    Lease,
    Recorded,
    Repeated,
    State,
    Submission,
    Tick,
    TransferFilter,
    Verdict,
    VersionConflict,
)
from sep_ray.journal.standing import Standing
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.book import STREAM, LimitBook
from sep_ray.policy.halts import Halt, HaltStatus
from sep_ray.policy.marks import ChainMark, marked
from sep_ray.policy.usage import Marks, Slot
from sep_ray.portfolio.ledger import ON_ACCOUNT, Holding, Posting
from sep_ray.settlement.transfer import TERMINAL as SETTLED
from sep_ray.settlement.transfer import Transfer
from sep_ray.strategy.record import StrategyRecord

S = TypeVar("S", IntentRecord, Step, Attempt, StrategyRecord, Transfer, LimitBook, Halt)


class MemoryStore:
    """Answers every port of journal/ports.py as the Postgres store does; lost with its process.

    `clock` judges the leases' expiry. A method changes nothing across an await, so a commit is
    atomic for everybody on the event loop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: list[Recorded] = []
        self._streams: dict[str, list[Recorded]] = defaultdict(list)
        self._states: dict[type[State], dict[str, State]] = defaultdict(dict)
        self._keys: dict[tuple[str, str], tuple[bytes, UUID]] = {}
        self._postings: dict[UUID, list[Posting]] = defaultdict(list)
        self._standing = Standing()
        self._accounts: dict[tuple[str, Asset], int] = {}
        self._leases = LeaseTable()
        self._strategy_states: dict[str, tuple[str, int]] = {}
        self._chain_marks: dict[tuple[str, ChainId], ChainMark] = {}
        self._marks: dict[str, Marks] = {}
        self._cursors: dict[str, int] = {}
        self._ticks: dict[tuple[ChainId, Asset, Asset], dict[int, Tick]] = defaultdict(dict)
        self._written = asyncio.Event()

    def fences(self) -> frozenset[Fence]:
        """Return the fences under which a commit counts now."""
        return self._leases.fences(self._clock.now())

    async def commit(self, commit: Commit) -> tuple[Recorded, ...]:
        self._standing.fences = self.fences()
        self._require_one_transfer(commit)
        self._standing.take(commit)
        for state in commit.states:
            self._states[type(state)][state.stream_id] = state
        for line in commit.postings:
            if line.account and line.bucket in ON_ACCOUNT:
                key = line.account, line.asset
                self._accounts[key] = self._accounts.get(key, 0) + line.delta
        if commit.postings:
            self._postings[commit.appends[0].correlation_id].extend(commit.postings)
        return tuple(row for append in commit.appends for row in self._append(append, commit.at))

    async def accept(self, batch: Sequence[Submission], at: Millis) -> tuple[Verdict, ...]:
        return tuple(self._accept(submission, at) for submission in batch)

    async def stream(self, stream_id: str, after: int = 0) -> tuple[Recorded, ...]:
        return tuple(self._streams.get(stream_id, ())[after:])

    async def related(self, correlation_id: UUID) -> tuple[Recorded, ...]:
        return tuple(row for row in self._events if row.correlation_id == correlation_id)

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        if len(self._events) <= after:
            try:
                await asyncio.wait_for(self._written.wait(), wait_s)
            except TimeoutError:
                return ()
        return tuple(self._events[after : after + limit])

    async def broken_links(self, limit: int) -> tuple[str, ...]:
        broken = (
            f"{stream_id}@{row.version}"
            for stream_id, rows in sorted(self._streams.items())
            for row, before in zip(rows, [None, *rows], strict=False)
            if row.hash != _link(row, before.hash if before else GENESIS)
            or row.previous_hash != (before.hash if before else GENESIS)
        )
        return tuple(where for where, _ in zip(broken, range(limit), strict=False))

    async def intent(self, intent_id: UUID) -> IntentRecord | None:
        return self._get(IntentRecord, f"intent/{intent_id}")

    async def intents(self, intent_ids: Sequence[UUID]) -> tuple[IntentRecord, ...]:
        found = (self._get(IntentRecord, f"intent/{name}") for name in sorted(set(intent_ids)))
        return tuple(record for record in found if record is not None)

    async def open_intents(self, after: UUID | None, limit: int) -> tuple[IntentRecord, ...]:
        found = (
            record
            for record in self._all(IntentRecord)
            if record.status not in ENDED and (after is None or record.intent.id > after)
        )
        return tuple(sorted(found, key=attrgetter("intent.id"))[:limit])

    async def page_of_intents(
        self, wanted: IntentFilter, before: UUID | None, limit: int
    ) -> tuple[IntentRecord, ...]:
        found = (
            record
            for record in self._all(IntentRecord)
            if _matches(record, wanted) and (before is None or record.intent.id < before)
        )
        return tuple(sorted(found, key=attrgetter("intent.id"), reverse=True)[:limit])

    async def step(self, step_id: UUID) -> Step | None:
        return self._get(Step, f"step/{step_id}")

    async def steps_of(self, intent_ids: Sequence[UUID]) -> tuple[Step, ...]:
        wanted = set(intent_ids)
        found = (step for step in self._all(Step) if step.intent_id in wanted)
        return tuple(sorted(found, key=attrgetter("intent_id", "ordinal")))

    async def ready_steps(self, chain_id: ChainId, limit: int) -> tuple[Step, ...]:
        found = (
            step
            for step in self._all(Step)
            if step.status is StepStatus.READY and step.chain_id == chain_id
        )
        return tuple(sorted(found, key=lambda s: (-s.priority, s.deadline, s.id))[:limit])

    async def next_due(self) -> Millis | None:
        return min((when for when, _ in self._alarms()), default=None)

    async def due_intents(self, now: Millis, limit: int) -> tuple[UUID, ...]:
        due = sorted((when, step.intent_id) for when, step in self._alarms() if when <= now)
        return tuple(dict.fromkeys(intent_id for _, intent_id in due))[:limit]

    async def attempt(self, attempt_id: UUID) -> Attempt | None:
        return self._get(Attempt, f"attempt/{attempt_id}")

    async def live_attempts(self, chain_id: ChainId, account: str) -> tuple[Attempt, ...]:
        found = (a for a in self._lane(chain_id, account) if a.status not in SPENT)
        return tuple(sorted(found, key=attrgetter("nonce")))

    async def attempts_of(self, step_ids: Sequence[UUID]) -> tuple[Attempt, ...]:
        wanted = set(step_ids)
        found = (a for a in self._all(Attempt) if a.step_id in wanted)
        return tuple(sorted(found, key=attrgetter("step_id", "nonce", "id")))

    async def attempt_by_hash(self, tx_hash: str) -> Attempt | None:
        found = (a for a in self._all(Attempt) if any(s.tx_hash == tx_hash for s in a.signed))
        return next(found, None)

    async def next_nonce(self, chain_id: ChainId, account: str) -> int | None:
        used = [
            a.nonce for a in self._lane(chain_id, account) if a.status is not AttemptStatus.EXPIRED
        ]
        return max(used) + 1 if used else None

    async def transfer(self, transfer_id: UUID) -> Transfer | None:
        return self._get(Transfer, f"transfer/{transfer_id}")

    async def transfers_of(self, step_ids: Sequence[UUID]) -> tuple[Transfer, ...]:
        wanted = set(step_ids)
        found = (each for each in self._all(Transfer) if each.step_id in wanted)
        return tuple(sorted(found, key=attrgetter("step_id", "id")))

    async def open_transfers(self, chain_id: ChainId | None) -> tuple[Transfer, ...]:
        found = (
            each
            for each in self._all(Transfer)
            if each.status not in SETTLED and chain_id in (None, *_ends(each))
        )
        return tuple(sorted(found, key=attrgetter("id")))

    async def page_of_transfers(
        self, wanted: TransferFilter, before: UUID | None, limit: int
    ) -> tuple[Transfer, ...]:
        found = (
            each
            for each in self._all(Transfer)
            if wanted.strategy_id in (None, each.strategy_id)
            and wanted.bridge in (None, each.bridge)
            and wanted.status in (None, each.status)
            and wanted.chain_id in (None, *_ends(each))
            and (before is None or each.id < before)
        )
        return tuple(sorted(found, key=attrgetter("id"), reverse=True)[:limit])

    async def holdings(self, strategy_id: str | None = None) -> tuple[Holding, ...]:
        return tuple(
            Holding(strategy_id=owner, asset=asset, bucket=bucket, units=units)
            for (owner, asset, bucket), units in sorted(self._standing.units.items())
            if units and strategy_id in (None, owner)
        )

    async def has_held(self, strategy_id: str) -> bool:
        return any(owner == strategy_id for owner, _, _ in self._standing.units)

    async def totals(self, chain_id: ChainId) -> dict[Asset, int]:
        sums: dict[Asset, int] = {}
        for (_, asset, bucket), units in sorted(self._standing.units.items()):
            if asset.chain_id == chain_id and bucket in ON_ACCOUNT:
                sums[asset] = sums.get(asset, 0) + units
        return sums

    async def account_units(self, chain_id: ChainId, account: str) -> dict[Asset, int]:
        return {
            asset: units
            for (who, asset), units in sorted(self._accounts.items())
            if who == account and asset.chain_id == chain_id
        }

    async def postings_of(self, correlation_id: UUID) -> tuple[Posting, ...]:
        return tuple(self._postings.get(correlation_id, ()))

    async def acquire(self, name: str, holder: str, ttl_ms: int) -> Lease | None:
        return self._leases.acquire(name, holder, ttl_ms, self._clock.now())

    async def renew(self, lease: Lease, ttl_ms: int) -> Lease | None:
        return self._leases.renew(lease, ttl_ms, self._clock.now())

    async def stands(self, lease: Lease) -> Footing | None:
        stands = self._leases.stands(lease.fence, self._clock.now())
        return Footing(policy_version=self._standing.heads.get(STREAM, 0)) if stands else None

    async def release(self, lease: Lease) -> None:
        self._leases.release(lease)

    async def strategy(self, strategy_id: str) -> StrategyRecord | None:
        return self._get(StrategyRecord, f"strategy/{strategy_id}")

    async def strategies(self) -> tuple[StrategyRecord, ...]:
        return tuple(sorted(self._all(StrategyRecord), key=attrgetter("id")))

    async def save_state(self, strategy_id: str, state: str, version: int) -> None:
        _, stands = self._strategy_states.get(strategy_id, ("", 0))
        if version != stands + 1:
            raise VersionConflict("the state has moved on", strategy_id=strategy_id, stands=stands)
        self._strategy_states[strategy_id] = (state, version)

    async def load_state(self, strategy_id: str) -> tuple[str, int] | None:
        return self._strategy_states.get(strategy_id)

    async def limits(self) -> LimitBook:
        return self._get(LimitBook, STREAM) or LimitBook()

    async def limit_usage(self, limit_ids: Sequence[str]) -> Mapping[str, tuple[Slot, ...]]:
        return {
            name: tuple(Slot(start=slot, amount=slots[slot]) for slot in sorted(slots))
            for name in limit_ids
            if (slots := self._standing.usage.get(name))
        }

    async def chain_marks(self, strategy_id: str) -> tuple[ChainMark, ...]:
        found = (self._chain_marks[key] for key in sorted(self._chain_marks))
        return tuple(mark for mark in found if mark.strategy_id == strategy_id)

    async def marks(self, strategy_ids: Sequence[str]) -> Mapping[str, Marks]:
        return {name: self._marks[name] for name in strategy_ids if name in self._marks}

    async def keep_mark(self, mark: ChainMark) -> None:
        name, key = mark.strategy_id, (mark.strategy_id, mark.chain_id)
        if key not in self._chain_marks or self._chain_marks[key].at <= mark.at:
            self._chain_marks[key] = mark
        after = marked(self._marks.get(name), await self.chain_marks(name), mark.at)
        if after is not None:
            self._marks[name] = after

    async def active_halts(self) -> tuple[Halt, ...]:
        found = (halt for halt in self._all(Halt) if halt.status is HaltStatus.ACTIVE)
        return tuple(sorted(found, key=attrgetter("id")))

    async def halt(self, halt_id: UUID) -> Halt | None:
        return self._get(Halt, f"halt/{halt_id}")

    async def newest_halts(self, limit: int) -> tuple[Halt, ...]:
        return tuple(sorted(self._all(Halt), key=attrgetter("id"), reverse=True)[:limit])

    async def cursor(self, name: str) -> int:
        return self._cursors.get(name, 0)

    async def advance(self, name: str, seq: int) -> None:
        self._cursors[name] = max(seq, self._cursors.get(name, 0))

    async def newest(self) -> int:
        return len(self._events)

    async def record_ticks(self, ticks: Sequence[Tick]) -> None:
        for tick in ticks:
            pair = self._ticks[tick.chain_id, tick.base, tick.quote]
            pair.setdefault(tick.block_number, tick)

    async def recent_ticks(
        self, chain_id: ChainId, base: Asset, quote: Asset, limit: int
    ) -> tuple[Tick, ...]:
        pair: Mapping[int, Tick] = self._ticks.get((chain_id, base, quote), {})
        return tuple(pair[number] for number in sorted(pair)[-limit:])

    def _require_one_transfer(self, commit: Commit) -> None:
        """Refuse a second open transfer of a step."""
        moved = [state for state in commit.states if isinstance(state, Transfer)]
        if not moved:
            return
        after = {each.id: each for each in (*self._all(Transfer), *moved)}
        still = [each.step_id for each in after.values() if each.status not in SETTLED]
        if len(set(still)) != len(still):
            raise InvariantBroken("a step has two open transfers", step_id=str(moved[0].step_id))

    def _get(self, cls: type[S], stream_id: str) -> S | None:
        found = self._states[cls].get(stream_id)
        return found if isinstance(found, cls) else None

    def _all(self, cls: type[S]) -> list[S]:
        return [state for state in self._states[cls].values() if isinstance(state, cls)]

    def _alarms(self) -> Iterator[tuple[Millis, Step]]:
        """Give the steps that time alone will move, each with when."""
        for step in self._all(Step):
            if step.status is StepStatus.PENDING:
                yield step.due, step
            elif step.status is StepStatus.READY:
                yield step.deadline, step

    def _lane(self, chain_id: ChainId, account: str) -> list[Attempt]:
        return [a for a in self._all(Attempt) if (a.chain_id, a.account) == (chain_id, account)]

    def _accept(self, submission: Submission, at: Millis) -> Verdict:
        intent, key = submission.intent, submission.key
        if key is not None and (submission.principal, key) in self._keys:
            digest, first = self._keys[submission.principal, key]
            return Repeated(first) if digest == submission.digest else KeyReused(first)
        known = self._get(IntentRecord, f"intent/{intent.id}")
        if known is not None:
            return Repeated(intent.id) if known.intent == intent else KeyReused(intent.id)
        accepted = IntentAccepted(intent=intent, principal=submission.principal)
        record = evolve(None, accepted, at)
        self._states[IntentRecord][record.stream_id] = record
        self._standing.heads[record.stream_id] = 1
        self._append(
            Append(
                stream_id=record.stream_id,
                expected_version=0,
                events=(accepted,),
                correlation_id=intent.id,
            ),
            at,
        )
        if key is not None:
            self._keys[submission.principal, key] = (submission.digest, intent.id)
        return Accepted(intent.id)

    def _append(self, append: Append, at: Millis) -> list[Recorded]:
        rows = self._streams[append.stream_id]
        start = len(rows)
        for event in append.events:
            kind, body = encode_event(event)
            previous = rows[-1].hash if rows else GENESIS
            row = Recorded(
                seq=len(self._events) + 1,
                stream_id=append.stream_id,
                version=len(rows) + 1,
                event=decode_event(kind, body),
                at=at,
                correlation_id=append.correlation_id,
                causation_id=append.causation_id,
                previous_hash=previous,
                hash=b"",
            )
            row = replace(row, hash=_linked(row, previous, kind, body))
            rows.append(row)
            self._events.append(row)
        self._written.set()
        self._written = asyncio.Event()
        return rows[start:]


def _link(row: Recorded, previous: bytes) -> bytes:
    return _linked(row, previous, *encode_event(row.event))


def _linked(row: Recorded, previous: bytes, kind: str, body: bytes) -> bytes:
    return link(
        previous,
        stream_id=row.stream_id,
        version=row.version,
        kind=kind,
        at=row.at,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        body=body,
    )


def _matches(record: IntentRecord, wanted: IntentFilter) -> bool:
    pairs = (
        (wanted.strategy_id, record.intent.strategy_id),
        (wanted.status, record.status),
        (wanted.type, record.intent.type),
        (wanted.chain_id, record.intent.chain_id),
    )
    return all(want is None or want == has for want, has in pairs)


def _ends(transfer: Transfer) -> tuple[ChainId, ChainId]:
    return transfer.source.chain_id, transfer.target.chain_id
