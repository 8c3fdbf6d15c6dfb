"""Rows of the database as values of ours, and states as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from sep_ray.adapters.codec import decode_event, encode_state
from sep_ray.decomposition.step import Step
from sep_ray.execution.attempt import TERMINAL, Attempt
from sep_ray.intent.states import IntentRecord
from sep_ray.journal.records import Recorded, State
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset
from sep_ray.policy.book import LimitBook
from sep_ray.policy.halts import Halt
from sep_ray.portfolio.ledger import Bucket, Posting
from sep_ray.settlement.transfer import TERMINAL as SETTLED
from sep_ray.settlement.transfer import Transfer
from sep_ray.strategy.record import StrategyRecord

Columns = list[list[Any]]
"""One list per column of an UNNEST."""

INTENT_COLUMNS: Final = 7
STEP_COLUMNS: Final = 10
ATTEMPT_COLUMNS: Final = 9
LINE_COLUMNS: Final = 10
BALANCE_COLUMNS: Final = 5


def recorded(row: asyncpg.Record) -> Recorded:
    """Read an event's row."""
    return Recorded(
        seq=row["seq"],
        stream_id=row["stream_id"],
        version=row["version"],
        event=decode_event(row["kind"], row["body"]),
        at=Millis(row["occurred_at"]),
        correlation_id=_uuid(row["correlation_id"]),
        causation_id=None if row["causation_id"] is None else _uuid(row["causation_id"]),
        previous_hash=row["previous_hash"],
        hash=row["hash"],
    )


def posting(row: asyncpg.Record) -> Posting:
    """Read a ledger line's row."""
    return Posting(
        strategy_id=row["strategy_id"],
        asset=Asset.parse(row["asset"]),
        bucket=Bucket(row["bucket"]),
        delta=int(row["delta"]),
        proof=row["proof"],
        account=row["account"],
    )


def columns(rows: Iterable[Sequence[Any]], width: int) -> Columns:
    """Turn rows into `width` columns, also when there are none."""
    turned: Columns = [list(column) for column in zip(*rows, strict=True)]
    return turned or [[] for _ in range(width)]


def write_name(state: State) -> str:
    """Return the name of the query that stores such a state; steps and attempts have none."""
    return _WRITES[type(state)]


def state_row(state: State) -> tuple[Any, ...]:
    """Return the parameters of one state, in the order its query has them."""
    return (*_columns(state), state.version, encode_state(state).decode())


def _columns(state: State) -> tuple[Any, ...]:
    row: tuple[Any, ...]
    match state:
        case IntentRecord(intent=intent):
            row = intent.id, intent.strategy_id, intent.type, intent.chain_id, state.status
        case Step():
            row = (
                state.id, state.intent_id, state.ordinal, state.chain_id, state.status,
                state.priority, state.due, state.deadline,
            )  # fmt: skip
        case Attempt():
            hashes = " ".join(signed.tx_hash for signed in state.signed)
            row = (
                state.id, state.step_id, state.chain_id, state.account, state.nonce, state.status,
                hashes,
            )  # fmt: skip
        case Transfer():
            row = (
                state.id, state.step_id, state.strategy_id, state.bridge, state.source.chain_id,
                state.target.chain_id, state.status,
            )  # fmt: skip
        case StrategyRecord():
            row = state.id, state.status
        case LimitBook():
            row = (state.stream_id,)
        case Halt():
            row = state.id, state.scope, state.target, state.mode, state.status
    return row


def write_order(state: State) -> tuple[bool, str]:
    """Sort key: what has ended before what lives, the rest by stream, everywhere alike."""
    live = isinstance(state, Attempt) and state.status not in TERMINAL
    live |= isinstance(state, Transfer) and state.status not in SETTLED
    return live, state.stream_id


def _uuid(found: UUID) -> UUID:
    """Return a plain UUID: asyncpg's own class does not pickle."""
    return UUID(int=found.int)


_WRITES: Final[Mapping[type[Any], str]] = {
    IntentRecord: "write_intents",
    StrategyRecord: "write_strategies",
    Transfer: "write_transfers",
    LimitBook: "write_policies",
    Halt: "write_halts",
}
