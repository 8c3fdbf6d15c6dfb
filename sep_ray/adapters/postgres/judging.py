"""Judging commits on gathered facts: what their rows will be, or why they are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sep_ray.adapters.codec import encode_event
from sep_ray.adapters.postgres.rows import Columns, columns, state_row, write_order
from sep_ray.journal.chain import GENESIS, link
from sep_ray.journal.records import Append, Commit, Recorded, State
from sep_ray.journal.standing import Standing
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import SepError

Answer = tuple[Recorded, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """A commit with its JSON: events by append, and each state's parameters."""

    commit: Commit
    events: tuple[tuple[tuple[str, bytes], ...], ...]
    states: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, commit: Commit) -> Ready:
        """Encode a commit."""
        return cls(
            commit,
            tuple(tuple(map(encode_event, append.events)) for append in commit.appends),
            tuple(map(state_row, commit.states)),
        )

    @property
    def weight(self) -> int:
        return max(1, sum(map(len, self.events)))


@dataclass(slots=True)
class Ground:
    """What the judging stands on: the facts, the last hash of each stream, the newest seq."""

    standing: Standing
    hashes: dict[str, bytes]
    seq: int


def judge(ground: Ground, ready: Ready) -> Answer | SepError:
    """Return the commit's rows as they will stand, or the error that refuses it."""
    try:
        ground.standing.take(ready.commit)
    except SepError as error:
        return error
    pairs = zip(ready.commit.appends, ready.events, strict=True)
    return tuple(r for append, json in pairs for r in _rows(ground, append, json, ready.commit.at))


def good_of(
    group: Sequence[Ready], answers: Sequence[Answer | SepError]
) -> list[tuple[Ready, Answer]]:
    """Return the commits that are to be written, with their rows: a lane's may have none."""
    return [
        (ready, answer)
        for ready, answer in zip(group, answers, strict=True)
        if not isinstance(answer, SepError) and (answer or ready.commit.fence)
    ]


def _rows(
    ground: Ground, append: Append, encoded: Sequence[tuple[str, bytes]], at: Millis
) -> list[Recorded]:
    rows = []
    versions = range(append.expected_version + 1, append.expected_version + len(encoded) + 1)
    for version, event, (kind, body) in zip(versions, append.events, encoded, strict=True):
        previous = ground.hashes.get(append.stream_id, GENESIS)
        ground.seq += 1
        ground.hashes[append.stream_id] = link(
            previous,
            stream_id=append.stream_id,
            version=version,
            kind=kind,
            at=at,
            correlation_id=append.correlation_id,
            causation_id=append.causation_id,
            body=body,
        )
        rows.append(
            Recorded(
                seq=ground.seq,
                stream_id=append.stream_id,
                version=version,
                event=event,
                at=at,
                correlation_id=append.correlation_id,
                causation_id=append.causation_id,
                previous_hash=previous,
                hash=ground.hashes[append.stream_id],
            )
        )
    return rows


def states_of(good: Sequence[tuple[Ready, Answer]]) -> list[tuple[State, tuple[Any, ...]]]:
    """Return each stream's last state with its parameters, in the order that all writers keep."""
    last = {
        state.stream_id: (state, row)
        for ready, _ in good
        for state, row in zip(ready.commit.states, ready.states, strict=True)
    }
    return sorted(last.values(), key=lambda pair: write_order(pair[0]))


def event_columns(good: Sequence[tuple[Ready, Answer]]) -> Columns:
    rows = (row for _, answer in good for row in answer)
    encoded = (event for ready, _ in good for append in ready.events for event in append)
    return columns(
        (
            (
                row.seq, row.stream_id, row.version, kind, body.decode(), row.at,
                row.correlation_id, row.causation_id, row.previous_hash, row.hash,
            )
            for row, (kind, body) in zip(rows, encoded, strict=True)
        ),
        10,
    )  # fmt: skip
