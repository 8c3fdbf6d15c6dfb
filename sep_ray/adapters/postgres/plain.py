"""Plain commits: of intents and steps alone, which no money moves with and no lease guards.

All they depend on are the versions of their own streams. Those are read and judged without the
journal's lock, and the write is one statement, which the primary key of the events refuses when
somebody else has appended meanwhile. So who accepts intents never waits for a client that decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from sep_ray.adapters.postgres.errors import Phase
from sep_ray.adapters.postgres.judging import (
    Answer,
    Ground,
    Ready,
    event_columns,
    good_of,
    judge,
    states_of,
)
from sep_ray.adapters.postgres.queries import SQL
from sep_ray.adapters.postgres.rows import INTENT_COLUMNS, STEP_COLUMNS, Columns, columns
from sep_ray.decomposition.step import Step
from sep_ray.intent.states import IntentRecord
from sep_ray.journal.records import Commit
from sep_ray.journal.standing import Standing
from sep_ray.kernel.errors import SepError

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]


async def write(
    connection: Connection, phase: Phase, group: Sequence[Ready]
) -> Sequence[Answer | SepError] | None:
    """Write the group; None, and nothing written, when it is not plain or was overtaken."""
    if not all(is_plain(ready.commit) for ready in group):
        return None
    ground = await _read(connection, [ready.commit for ready in group])
    answers = [judge(ground, ready) for ready in group]
    good = good_of(group, answers)
    if not good:
        return answers
    phase.committing = True
    try:
        newest = await connection.fetchval(SQL["commit_plain"], *_parameters(good))
    except asyncpg.UniqueViolationError:
        phase.committing = False
        return None
    return [
        a if isinstance(a, SepError) else tuple(replace(r, seq=newest + r.seq) for r in a)
        for a in answers
    ]


def is_plain(commit: Commit) -> bool:
    """Return whether a commit depends on nothing but the versions of its streams."""
    guarded = commit.fence is not None or commit.policy_version is not None
    return (
        not guarded
        and not commit.postings
        and not commit.reservations
        and all(isinstance(state, IntentRecord | Step) for state in commit.states)
    )


async def _read(connection: Connection, commits: Sequence[Commit]) -> Ground:
    """Read where the streams stand; seqs count from 1 until the write says from where."""
    streams = sorted({append.stream_id for commit in commits for append in commit.appends})
    heads = await connection.fetch(SQL["heads"], streams)
    return Ground(
        Standing(heads={row["stream_id"]: row["version"] for row in heads}),
        {row["stream_id"]: row["hash"] for row in heads},
        0,
    )


def _parameters(good: Sequence[tuple[Ready, Answer]]) -> Columns:
    _, *events = event_columns(good)
    states = states_of(good)
    intents = [row for state, row in states if isinstance(state, IntentRecord)]
    steps = [row for state, row in states if isinstance(state, Step)]
    return [*events, *columns(intents, INTENT_COLUMNS), *columns(steps, STEP_COLUMNS)]
