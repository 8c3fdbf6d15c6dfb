"""What the platform asks of its database; the Postgres and in-memory stores answer alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

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
)
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.book import LimitBook
from sep_ray.policy.halts import Halt
from sep_ray.policy.marks import ChainMark
from sep_ray.policy.usage import Marks, Slot
from sep_ray.portfolio.ledger import Holding, Posting
from sep_ray.settlement.transfer import Transfer
from sep_ray.strategy.record import StrategyRecord


class Journal(Protocol):
    """The append-only truth."""

    async def commit(self, commit: Commit) -> tuple[Recorded, ...]:
        """Make a commit durable and return its events in order.

        Raises VersionConflict, LeaseLost, InsufficientBalance (a holding below zero) or
        InvariantBroken (postings that do not balance); then nothing was written. Raises
        Indeterminate when the connection broke while committing. Commits that wait together
        share one database transaction, yet fail one by one.
        """

    async def accept(self, batch: Sequence[Submission], at: Millis) -> tuple[Verdict, ...]:
        """Make submissions durable in one database transaction, a verdict for each, in order.

        The same submission handed in again (same key and digest, or same intent) is Repeated, so
        a caller who got Indeterminate may simply ask again.
        """

    async def stream(self, stream_id: str, after: int = 0) -> tuple[Recorded, ...]:
        """Return a stream's events with a version above `after`, oldest first."""

    async def related(self, correlation_id: UUID) -> tuple[Recorded, ...]:
        """Return all events of one correlation, in commit order."""

    async def tail(self, after: int, limit: int, wait_s: float) -> tuple[Recorded, ...]:
        """Return events with `seq` above `after` in commit order, at most `limit`.

        Waits up to `wait_s` seconds for the first one; an empty tuple means none came.
        """


class Intents(Protocol):
    """Intents as they stand."""

    async def intent(self, intent_id: UUID) -> IntentRecord | None:
        """Return one, or None."""

    async def intents(self, intent_ids: Sequence[UUID]) -> tuple[IntentRecord, ...]:
        """Return those of these ids that exist, by id."""

    async def open_intents(self, after: UUID | None, limit: int) -> tuple[IntentRecord, ...]:
        """Return those without an end, by id (that is: oldest first), with ids above `after`."""

    async def page_of_intents(
        self, wanted: IntentFilter, before: UUID | None, limit: int
    ) -> tuple[IntentRecord, ...]:
        """Return intents newest first (by id), with ids below `before`."""


class Steps(Protocol):
    """Steps as they stand."""

    async def step(self, step_id: UUID) -> Step | None:
        """Return one, or None."""

    async def steps_of(self, intent_ids: Sequence[UUID]) -> tuple[Step, ...]:
        """Return the steps of these intents, by intent and ordinal."""

    async def ready_steps(self, chain_id: ChainId, limit: int) -> tuple[Step, ...]:
        """Return a chain's READY steps: highest priority, then earliest deadline, then id."""

    async def next_due(self) -> Millis | None:
        """Return the earliest `due` or `deadline` among PENDING and READY steps' schedules.

        That is the least of every PENDING step's `due` and every READY step's `deadline`.
        """

    async def due_intents(self, now: Millis, limit: int) -> tuple[UUID, ...]:
        """Return the intents of PENDING steps with `due` and READY steps with `deadline` <= now."""


class Attempts(Protocol):
    """Attempts as they stand."""

    async def attempt(self, attempt_id: UUID) -> Attempt | None:
        """Return one, or None."""

    async def live_attempts(self, chain_id: ChainId, account: str) -> tuple[Attempt, ...]:
        """Return a lane's attempts that are not terminal, by nonce."""

    async def attempts_of(self, step_ids: Sequence[UUID]) -> tuple[Attempt, ...]:
        """Return the attempts made for these steps, by step and nonce."""

    async def attempt_by_hash(self, tx_hash: str) -> Attempt | None:
        """Return the attempt one of whose signed versions has this hash."""

    async def next_nonce(self, chain_id: ChainId, account: str) -> int | None:
        """Return one above the highest nonce of the lane's attempts that used or hold theirs.

        EXPIRED attempts gave theirs back and do not count; None when there is none.
        """


class Transfers(Protocol):
    """Transfers between chains as they stand."""

    async def transfer(self, transfer_id: UUID) -> Transfer | None:
        """Return one, or None."""

    async def transfers_of(self, step_ids: Sequence[UUID]) -> tuple[Transfer, ...]:
        """Return the transfers made for these steps, by step and id (the newest last)."""

    async def open_transfers(self, chain_id: ChainId | None) -> tuple[Transfer, ...]:
        """Return all that have not ended, by id; of one chain those that leave or reach it."""

    async def page_of_transfers(
        self, wanted: TransferFilter, before: UUID | None, limit: int
    ) -> tuple[Transfer, ...]:
        """Return transfers newest first (by id), with ids below `before`."""


class Ledger(Protocol):
    """Balances and the lines they are made of."""

    async def holdings(self, strategy_id: str | None = None) -> tuple[Holding, ...]:
        """Return every bucket's non-zero balance, by strategy, asset and bucket."""

    async def has_held(self, strategy_id: str) -> bool:
        """Return whether a strategy ever held anything, be it gone since."""

    async def totals(self, chain_id: ChainId) -> dict[Asset, int]:
        """Return, per asset of a chain, what its accounts must hold: available and reserved.

        Assets ever held stay listed, with 0 when nothing is left.
        """

    async def account_units(self, chain_id: ChainId, account: str) -> dict[Asset, int]:
        """Return what one account must hold: the sums of the holdings' lines that name it.

        Over all accounts of a chain that is what `totals` says. Assets ever held stay listed.
        """

    async def postings_of(self, correlation_id: UUID) -> tuple[Posting, ...]:
        """Return the lines written under one correlation, in order."""


class Leases(Protocol):
    """Who may write as whom (P5)."""

    async def acquire(self, name: str, holder: str, ttl_ms: int) -> Lease | None:
        """Take a lease that is free, expired or the holder's own; each taking has a new epoch.

        Expiry is judged by the database's clock. None when another holds it.
        """

    async def renew(self, lease: Lease, ttl_ms: int) -> Lease | None:
        """Prolong a lease still held; None when it is lost."""

    async def stands(self, lease: Lease) -> Footing | None:
        """Return what it stands on, or None: its epoch is over, by the database's clock."""

    async def release(self, lease: Lease) -> None:
        """Give it up; its epoch is over."""


class Strategies(Protocol):
    """Registered strategies and their saved state."""

    async def strategy(self, strategy_id: str) -> StrategyRecord | None:
        """Return one, or None."""

    async def strategies(self) -> tuple[StrategyRecord, ...]:
        """Return all, by id."""

    async def save_state(self, strategy_id: str, state: str, version: int) -> None:
        """Keep a strategy's state (JSON text) as its `version`.

        Raises VersionConflict unless `version` follows the one kept (the first is 1): of two
        hosts of one strategy, only one decides on a block (P3).
        """

    async def load_state(self, strategy_id: str) -> tuple[str, int] | None:
        """Return the state last kept and its version, or None."""


class Policies(Protocol):
    """The limits, what of them is in use, and how strategies do (P9)."""

    async def limits(self) -> LimitBook:
        """Return all limits; an empty book of version 0 before the first."""

    async def limit_usage(self, limit_ids: Sequence[str]) -> Mapping[str, tuple[Slot, ...]]:
        """Return what is in use of these limits, slots in order; absent where nothing is."""

    async def chain_marks(self, strategy_id: str) -> tuple[ChainMark, ...]:
        """Return a strategy's newest results, by chain."""

    async def marks(self, strategy_ids: Sequence[str]) -> Mapping[str, Marks]:
        """Return the marks of those of these strategies that have some."""

    async def keep_mark(self, mark: ChainMark) -> None:
        """Keep a result, unless a newer one is kept, and move the strategy's marks on."""


class Halting(Protocol):
    """Halts as they stand (P10)."""

    async def active_halts(self) -> tuple[Halt, ...]:
        """Return those that stand, the oldest first."""

    async def halt(self, halt_id: UUID) -> Halt | None:
        """Return one, or None."""

    async def newest_halts(self, limit: int) -> tuple[Halt, ...]:
        """Return halts, released ones too, the newest first."""


class Cursors(Protocol):
    """How far each reader of the journal has come."""

    async def cursor(self, name: str) -> int:
        """Return the seq last stored, or 0."""

    async def advance(self, name: str, seq: int) -> None:
        """Store a cursor; it never moves back."""

    async def newest(self) -> int:
        """Return the seq of the newest event, or 0."""


class Ticks(Protocol):
    """Mid prices over time."""

    async def record_ticks(self, ticks: Sequence[Tick]) -> None:
        """Keep ticks; the same (chain, pair, block) twice counts once."""

    async def recent_ticks(
        self, chain_id: ChainId, base: Asset, quote: Asset, limit: int
    ) -> tuple[Tick, ...]:
        """Return a pair's newest ticks, oldest first."""


class Audit(Protocol):
    """Whether the past is as it was written."""

    async def broken_links(self, limit: int) -> tuple[str, ...]:
        """Return events ("stream@version") whose hash does not follow from their row.

        Empty when every stream is whole.
        """


class Store(
    Journal,
    Intents,
    Steps,
    Attempts,
    Transfers,
    Ledger,
    Leases,
    Strategies,
    Policies,
    Halting,
    Cursors,
    Ticks,
    Audit,
    Protocol,
):
    """The whole database, for those who put the parts together."""
