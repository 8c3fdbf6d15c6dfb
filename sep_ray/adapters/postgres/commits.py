"""Writing commits, many in one transaction: gather the facts, judge each commit, write the good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import asyncpg

from sep_ray.adapters.codec import decode_state, encode_state
from sep_ray.adapters.postgres import plain
from sep_ray.adapters.postgres.batching import Batcher
from sep_ray.adapters.postgres.errors import Phase, translated
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
from sep_ray.adapters.postgres.rows import (
    ATTEMPT_COLUMNS,
    BALANCE_COLUMNS,
    LINE_COLUMNS,
    STEP_COLUMNS,
    columns,
    write_name,
)
from sep_ray.adapters.postgres.wire import Wire
from sep_ray.decomposition.step import Step
from sep_ray.execution.attempt import Attempt
from sep_ray.journal.records import Commit, Fence
from sep_ray.journal.standing import Exposure, Standing, balance_key, exposure, nonce_key
from sep_ray.kernel.errors import InvariantBroken, Rejected, SepError
from sep_ray.policy import book as policy
from sep_ray.policy.usage import Reservation, ended, held
from sep_ray.settlement.transfer import Transfer

GROUP: Final = 80
"""Events that share one transaction, about: enough for a lane's round of swaps, of two events each,
and few enough that who accepts meanwhile does not wait long for the journal's lock."""

K = TypeVar("K")
V = TypeVar("V")

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]


class CommitWriter:
    """The one task of a store that commits; its callers share transactions."""

    def __init__(self, url: str, written: Callable[[], None]) -> None:
        self._wire = Wire(url)
        self._written = written
        self._batcher: Batcher[Ready, Answer] = Batcher(
            self._flush, limit=GROUP, weigh=lambda ready: ready.weight
        )

    async def commit(self, commit: Commit) -> Answer:
        """See Journal.commit."""
        return await self._batcher.submit(Ready.of(commit))

    async def close(self) -> None:
        """Write what waits and disconnect."""
        await self._batcher.close()
        await self._wire.close()

    async def _flush(self, group: Sequence[Ready]) -> Sequence[Answer | SepError]:
        try:
            return await self._write(group)
        except (Rejected, InvariantBroken) as error:
            # The database refused what the judging let through: rolled back, and one at fault.
            if len(group) == 1:
                return [error]
        return [answer for ready in group for answer in await self._flush([ready])]

    async def _write(self, group: Sequence[Ready]) -> Sequence[Answer | SepError]:
        connection = await self._wire.get()
        phase = Phase()
        try:
            with translated(phase):
                answers = await plain.write(connection, phase, group)
                if answers is None:
                    answers = await _write_locked(connection, phase, group)
        except BaseException:
            self._wire.drop()
            raise
        if good_of(group, answers):
            self._written()
        return answers


async def _write_locked(
    connection: Connection, phase: Phase, group: Sequence[Ready]
) -> Sequence[Answer | SepError]:
    """Read, judge and write as the only writer there is."""
    await connection.execute(SQL["begin_writing"])
    ground = await _gather(connection, [ready.commit for ready in group])
    answers = [judge(ground, ready) for ready in group]
    if good := good_of(group, answers):
        await _store(connection, good, ground)
    phase.committing = True
    await connection.execute("COMMIT")
    return answers


async def _gather(connection: Connection, commits: Sequence[Commit]) -> Ground:
    """Read, as the only writer there is, all that the commits depend on."""
    streams = sorted({append.stream_id for commit in commits for append in commit.appends})
    if any(commit.policy_version is not None for commit in commits):
        streams.append(policy.STREAM)
    leases = sorted({commit.fence.name for commit in commits if commit.fence})
    balances = sorted({balance_key(line) for commit in commits for line in commit.postings})
    nonces = sorted({nonce_key(s) for c in commits for s in c.states if isinstance(s, Attempt)})
    ahead = await _ahead(connection, commits)
    reserved = ahead | await _reserved(connection, commits)
    (row,) = await connection.fetch(
        SQL["standing"],
        *(streams, leases),
        *columns(((who, str(asset), bucket) for who, asset, bucket in balances), 3),
        *columns(nonces, 3),
    )
    units = _found(balances, row["unit_places"], row["units"])
    standing = Standing(
        heads=_found(streams, row["head_places"], row["head_versions"]),
        fences=frozenset(
            Fence(name=name, epoch=epoch)
            for name, epoch in zip(row["lease_names"] or (), row["lease_epochs"] or (), strict=True)
        ),
        units={key: int(held) for key, held in units.items()},
        live=_found(nonces, row["live_places"], row["live_ids"]),
        usage=await _usage(connection, commits, reserved),
        reserved=reserved,
        exposed=await _exposed(connection, commits),
        ahead={name: shares[0].lane for name, shares in ahead.items()},
    )
    hashes = _found(streams, row["head_places"], row["head_hashes"])
    return Ground(standing, hashes, row["newest"])


def _found(
    asked: Sequence[K], places: Sequence[int] | None, values: Sequence[V] | None
) -> dict[K, V]:
    """Return the answers by what was asked; places count from 1, and None stands for no answer."""
    pairs = zip(places or (), values or (), strict=True)
    return {asked[place - 1]: value for place, value in pairs}


async def _reserved(
    connection: Connection, commits: Sequence[Commit]
) -> dict[UUID, tuple[Reservation, ...]]:
    """Read what attempts that these commits end hold of limits."""
    names = {s.id for c in commits for s in c.states if isinstance(s, Attempt) and ended(s)}
    return _shares(await connection.fetch(SQL["reservations"], sorted(names)) if names else [])


async def _ahead(
    connection: Connection, commits: Sequence[Commit]
) -> dict[UUID, tuple[Reservation, ...]]:
    """Read what the lanes that book ahead once booked for attempts that never came to be."""
    lanes = {c.fence.name for c in commits if c.fence is not None and not c.appends}
    return _shares(await connection.fetch(SQL["ahead"], sorted(lanes)) if lanes else [])


def _shares(rows: Sequence[Mapping[str, Any]]) -> dict[UUID, tuple[Reservation, ...]]:
    found: dict[UUID, tuple[Reservation, ...]] = {}
    for row in rows:
        share = decode_state(Reservation, row["body"])
        found[share.attempt_id] = (*found.get(share.attempt_id, ()), share)
    return found


async def _usage(
    connection: Connection,
    commits: Sequence[Commit],
    reserved: Mapping[UUID, Sequence[Reservation]],
) -> dict[str, dict[int, int]]:
    shares = [share for commit in commits for share in commit.reservations]
    shares += [share for each in reserved.values() for share in each]
    names = sorted({share.limit_id for share in shares})
    usage: dict[str, dict[int, int]] = {}
    for row in await connection.fetch(SQL["limit_usage"], names) if names else []:
        usage.setdefault(row["limit_id"], {})[row["slot"]] = int(row["amount"])
    return usage


async def _exposed(connection: Connection, commits: Sequence[Commit]) -> dict[UUID, Exposure]:
    """Read what the bridges that these commits cap have now."""
    capped = {cap.transfer_id for commit in commits for cap in commit.caps}
    states = (state for commit in commits for state in commit.states)
    names = sorted({s.bridge for s in states if isinstance(s, Transfer) and s.id in capped})
    rows = await connection.fetch(SQL["open_transfers_over"], names) if names else []
    found = (decode_state(Transfer, row["body"]) for row in rows)
    return {each.id: exposure(each) for each in found}


async def _store(
    connection: Connection, good: Sequence[tuple[Ready, Answer]], ground: Ground
) -> None:
    states = states_of(good)
    steps = [row for state, row in states if isinstance(state, Step)]
    attempts = [row for state, row in states if isinstance(state, Attempt)]
    await connection.execute(
        SQL["commit_guarded"],
        *event_columns(good),
        *columns(steps, STEP_COLUMNS),
        *columns(attempts, ATTEMPT_COLUMNS),
        *columns(_lines(good), LINE_COLUMNS),
        *columns(_balances(good, ground), BALANCE_COLUMNS),
    )
    others: dict[str, list[tuple[Any, ...]]] = {}
    for state, row in states:
        if not isinstance(state, Step | Attempt):
            others.setdefault(write_name(state), []).append(row)
    for name, rows in others.items():
        await connection.execute(SQL[name], *columns(rows, 0))
    if ground.standing.used or ground.standing.settled:
        await _limit(connection, good, ground.standing)


async def _limit(
    connection: Connection, good: Sequence[tuple[Ready, Answer]], standing: Standing
) -> None:
    """Store what is in use of limits, and by whom."""
    shares = [share for ready, _ in good for share in ready.commit.reservations]
    used = (
        (name, slot, amount)
        for name, slot in sorted(standing.used)
        if (amount := standing.usage.get(name, {}).get(slot)) is not None
    )
    await connection.execute(SQL["write_limit_usage"], *columns(used, 3))
    if shares:
        gone = {share.limit_id: share.since for share in shares}
        await connection.execute(SQL["forget_limit_usage"], *columns(sorted(gone.items()), 2))
        rows = (
            (share.attempt_id, place, share.limit_id, share.slot, encode_state(share).decode())
            for place, share in enumerate(held(shares), start=1)
        )
        await connection.execute(SQL["reserve"], *columns(rows, 5))
    if standing.settled:
        await connection.execute(SQL["settle"], sorted(standing.settled))


def _lines(good: Sequence[tuple[Ready, Answer]]) -> Iterator[tuple[Any, ...]]:
    """Yield the commits' ledger lines."""
    for ready, answer in good:
        for place, line in enumerate(ready.commit.postings):
            yield (
                answer[0].seq, place, answer[0].correlation_id, line.strategy_id,
                line.asset.chain_id, str(line.asset), line.bucket, line.delta, line.proof,
                line.account,
            )  # fmt: skip


def _balances(good: Sequence[tuple[Ready, Answer]], ground: Ground) -> Iterator[tuple[Any, ...]]:
    """Yield the balances that those lines moved, as they stand afterwards."""
    moved = {balance_key(line) for ready, _ in good for line in ready.commit.postings}
    for who, asset, bucket in sorted(moved):
        yield who, asset.chain_id, str(asset), bucket, ground.standing.units[who, asset, bucket]
