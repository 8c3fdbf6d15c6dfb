"""The journal: versions, order, the hash chain, all or nothing, following it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import asyncpg
import pytest

from sep_ray.adapters.codec import encode_event
from sep_ray.decomposition.step import StepCancelled, StepCreated, StepFilled, StepRequeued
from sep_ray.decomposition.step import StepStarted as Started
from sep_ray.execution.attempt import AttemptBroadcast
from sep_ray.intent.states import IntentCancelled, IntentCancelRequested, IntentDecomposed, Reason
from sep_ray.journal.chain import GENESIS, link
from sep_ray.journal.ports import Store
from sep_ray.journal.records import Append, Commit, Recorded, VersionConflict
from sep_ray.kernel.errors import InvariantBroken, SepError
from sep_ray.portfolio.ledger import allocate, reserve
from tests.fixtures.records import (
    NOW,
    USDC,
    a_step,
    a_submission,
    accepted,
    an_attempt,
    an_intent,
    begin,
    booked,
    commit,
    fold,
    funding,
    new_id,
    then,
)
from tests.fixtures.stores import PostgresWorld, World

STARTED = Started(attempt_id=new_id(), reserved=500, quoted=1, plan="{}")
REQUEUED = StepRequeued(reason=Reason.REVERTED, detail='say "no"\n\x01 é')


async def test_events_come_back_as_they_went_in(store: Store) -> None:
    step = a_step()
    written = await store.commit(begin(step))
    assert await store.stream(step.stream_id) == written
    (row,) = written
    assert (row.seq, row.version, row.at) == (1, 1, NOW)
    assert row.event == StepCreated(step=step)
    assert row.causation_id is None


async def test_the_expected_version_must_stand(store: Store) -> None:
    step = fold(None, [StepCreated(step=a_step())])
    await store.commit(begin(replace(step, version=0)))
    await store.commit(commit(then(step, STARTED)))
    with pytest.raises(VersionConflict) as conflict:
        await store.commit(commit(then(step, STARTED)))
    assert conflict.value.facts["stands"] == 2
    with pytest.raises(VersionConflict):
        await store.commit(begin(replace(step, version=0)))
    ahead = replace(fold(step, [STARTED, REQUEUED]), version=7)
    with pytest.raises(VersionConflict):
        await store.commit(commit(then(ahead, STARTED)))
    assert len(await store.stream(step.stream_id)) == 2
    assert await store.newest() == 2


async def test_all_streams_of_a_commit_or_none(store: Store) -> None:
    step, other, attempt = a_step(), a_step(), an_attempt()
    await store.commit(begin(step))
    with pytest.raises(VersionConflict):
        await store.commit(begin(other, step, attempt))
    assert await store.stream(other.stream_id) == ()
    assert await store.step(other.id) is None
    assert await store.attempt(attempt.id) is None
    written = await store.commit(begin(other, attempt))
    assert [row.stream_id for row in written] == [other.stream_id, attempt.stream_id]
    assert [row.seq for row in written] == [2, 3]


async def test_several_events_in_one_commit(store: Store) -> None:
    step = a_step()
    events = (StepCreated(step=step), STARTED, REQUEUED)
    written = await store.commit(commit((None, events)))
    assert [row.version for row in written] == [1, 2, 3]
    assert tuple(row.event for row in await store.stream(step.stream_id)) == events
    assert [row.version for row in await store.stream(step.stream_id, after=1)] == [2, 3]
    assert await store.step(step.id) == fold(None, events)


async def test_p11_p13_the_fold_of_each_stream_is_its_row(store: Store) -> None:
    """P11, P13: what a restart would compute from the journal is what the rows say."""
    intent, step, attempt = an_intent(), a_step(), an_attempt()
    await store.accept([replace(a_submission(), intent=intent)], NOW)
    record = accepted(intent)
    await store.commit(begin(step, attempt))
    asked = IntentDecomposed(score=0.1, score_source="formula", why="é", steps=1)
    filled = StepFilled(sold=500, bought=2**200, tx_hash="0x1", block_number=2, block_hash="0x2")
    sent = AttemptBroadcast(tx_hash="0x1", block_number=1, answer="ok")
    await store.commit(
        commit(
            then(record, asked, IntentCancelRequested(principal="bob")),
            then(fold(None, [StepCreated(step=step)]), STARTED, REQUEUED, STARTED, filled),
            then(replace(attempt, version=1), sent),
        )
    )
    ended = IntentCancelled(reason=Reason.CANCELLED_BY_CLIENT)
    now = await store.intent(intent.id)
    assert now is not None
    await store.commit(commit(then(now, ended)))

    for state in (
        await store.intent(intent.id),
        await store.step(step.id),
        await store.attempt(attempt.id),
    ):
        assert state is not None
        events = [row.event for row in await store.stream(state.stream_id)]
        assert fold(None, events) == state


async def test_each_event_names_the_one_before_it(world: World) -> None:
    step = a_step()
    await world.store.commit(commit((None, (StepCreated(step=step), STARTED, REQUEUED))))
    await world.store.accept([a_submission()], NOW)
    await world.store.commit(funding(USDC, 5))
    rows = await world.store.stream(step.stream_id)
    assert [row.previous_hash for row in rows] == [GENESIS, rows[0].hash, rows[1].hash]
    assert all(row.hash == _recomputed(row) for row in await world.store.tail(0, 100, 0))
    assert await world.store.broken_links(10) == ()
    await world.tamper(step.stream_id, 2)
    assert await world.store.broken_links(10) == (f"{step.stream_id}@2",)


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE events SET body = '{"reason":"reverted","detail":"x"}' WHERE version = 3""",
        "UPDATE events SET kind = 'StepSkipped' WHERE version = 3",
        "UPDATE events SET correlation_id = gen_random_uuid() WHERE version = 3",
        "UPDATE events SET causation_id = gen_random_uuid() WHERE version = 3",
        "DELETE FROM events WHERE version = 2",
        "UPDATE events SET version = version + 5 WHERE version = 3",
        "UPDATE events SET hash = sha256(hash) WHERE version = 3",
        "UPDATE events SET previous_hash = sha256(hash) WHERE version = 3",
    ],
)
async def test_a_tampered_row_is_noticed(postgres_world: PostgresWorld, change: str) -> None:
    step = a_step()
    events = (StepCreated(step=step), STARTED, REQUEUED)
    await postgres_world.store.commit(commit((None, events)))
    with pytest.raises(Exception, match="append-only"):
        await postgres_world.sql(change)
    assert await postgres_world.store.broken_links(10) == ()
    await postgres_world.sql("ALTER TABLE events DISABLE TRIGGER events_append_only")
    await postgres_world.sql(change)
    assert len(await postgres_world.store.broken_links(10)) == 1


async def test_a_commit_that_contradicts_itself_is_our_bug(store: Store) -> None:
    step = a_step()
    good = begin(step)
    same_twice = replace(good, appends=good.appends * 2)
    without_state = replace(good, states=())
    wrong_version = replace(good, states=(replace(step, version=2),))
    strange_state = replace(good, states=(*good.states, replace(an_attempt(), version=1)))
    without_events = replace(good, appends=(replace(good.appends[0], events=()),))
    unbalanced = replace(good, postings=reserve("s", USDC, 5)[:1])
    other = Append(
        stream_id="account/1/a",
        expected_version=0,
        events=funding(USDC, 1).appends[0].events,
        correlation_id=new_id(),
    )
    two_owners = replace(good, appends=(*good.appends, other), postings=allocate(USDC, 0, "a", "b"))
    wrong = [same_twice, without_state, wrong_version, strange_state, without_events, unbalanced]
    for bad in (*wrong, two_owners, Commit(at=NOW, appends=(), postings=reserve("s", USDC, 0))):
        with pytest.raises(InvariantBroken):
            await store.commit(bad)
    assert await store.newest() == 0
    assert await store.commit(Commit(at=NOW, appends=())) == ()


async def test_related_events_in_commit_order(store: Store) -> None:
    intent = an_intent()
    await store.accept([replace(a_submission(), intent=intent)], NOW)
    step = a_step(intent.id)
    await store.commit(begin(a_step()))
    await store.commit(begin(step, correlation_id=intent.id))
    related = await store.related(intent.id)
    assert [row.stream_id for row in related] == [f"intent/{intent.id}", step.stream_id]
    assert [row.seq for row in related] == [1, 3]


async def test_commits_that_wait_together_fail_alone(world: World) -> None:
    """One transaction for many, yet each has its own verdict."""
    step = a_step()
    await world.store.commit(begin(step))
    stands = fold(None, [StepCreated(step=step)])
    several = [
        begin(a_step()),
        commit(then(stands, STARTED)),
        commit(then(stands, STARTED)),
        commit(then(stands, StepCancelled(reason=Reason.DEADLINE))),
        booked(reserve("momentum", USDC, 1)),
        begin(a_step()),
        commit(then(fold(stands, [STARTED]), REQUEUED)),
    ]
    results = await asyncio.gather(
        *(world.store.commit(one) for one in several), return_exceptions=True
    )
    failed = [type(r).__name__ if isinstance(r, SepError) else "" for r in results]
    assert failed == [
        "", "", "VersionConflict", "VersionConflict", "InsufficientBalance", "", "",
    ]  # fmt: skip
    found = await world.store.step(step.id)
    assert found is not None
    assert found.version == 3


async def test_what_the_database_refuses_fails_alone(postgres_world: PostgresWorld) -> None:
    steps = [a_step(strategy_id="a\x00b"), *(a_step() for _ in range(5))]
    bad = booked(reserve("a\x00b", USDC, 0))
    results = await asyncio.gather(
        postgres_world.store.commit(bad),
        *(postgres_world.store.commit(begin(step)) for step in steps),
        return_exceptions=True,
    )
    assert [isinstance(result, SepError) for result in results] == [True] + [False] * 6
    assert len(await postgres_world.store.tail(0, 100, 0)) == 6


async def test_many_commits_share_few_transactions(postgres_world: PostgresWorld) -> None:
    commits = [begin(a_step()) for _ in range(200)]
    await asyncio.gather(*(postgres_world.store.commit(one) for one in commits))
    (row,) = await postgres_world.sql(
        "SELECT count(*) AS events, count(DISTINCT xmin::text) AS transactions FROM events"
    )
    assert row["events"] == 200
    assert row["transactions"] <= 5


async def test_a_caller_that_leaves_does_not_disturb_others(store: Store) -> None:
    steps = [a_step() for _ in range(30)]
    tasks = [asyncio.create_task(store.commit(begin(step))) for step in steps]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    stayed = [step for step, task in zip(steps, tasks, strict=True) if not task.cancelled()]
    assert not [r for r in results if isinstance(r, Exception)]
    for step in stayed:
        assert len(await store.stream(step.stream_id)) == 1


async def test_seq_is_commit_order_and_a_reader_misses_nothing(world: World) -> None:
    """Several writers, and a reader that follows from a cursor while they write."""
    stores = [await world.another() for _ in range(4)]
    chance = random.Random(7)
    seen: list[Recorded] = []
    total = 4 * 40

    async def write(store: Store) -> None:
        for _ in range(40):
            await asyncio.sleep(chance.random() / 500)
            await store.commit(begin(a_step()))

    async def follow() -> None:
        while len(seen) < total:
            last = seen[-1].seq if seen else 0
            seen.extend(await world.store.tail(last, 7, 5))

    await asyncio.wait_for(asyncio.gather(follow(), *map(write, stores)), 60)
    assert [row.seq for row in seen] == list(range(1, total + 1))
    assert len({row.stream_id for row in seen}) == total


async def test_of_two_writers_of_a_stream_one_is_refused_and_its_company_is_not(
    world: World,
) -> None:
    """Both decide on the same version at the same time, each among commits of its own."""
    stores = [await world.another() for _ in range(2)]
    for _ in range(10):
        step = a_step()
        await world.store.commit(begin(step))
        stands = fold(None, [StepCreated(step=step)])
        rivals = [commit(then(stands, StepCancelled(reason=Reason.DEADLINE))) for _ in stores]
        company = [[begin(a_step()) for _ in range(3)] for _ in stores]
        results = await asyncio.gather(
            *(
                store.commit(one)
                for store, rival, others in zip(stores, rivals, company, strict=True)
                for one in (*others, rival)
            ),
            return_exceptions=True,
        )
        failed = [type(r) for r in results if isinstance(r, BaseException)]
        assert failed == [VersionConflict]
        assert len(await world.store.stream(step.stream_id)) == 2
    rows = await world.store.tail(0, 1_000, 0.0)
    assert [row.seq for row in rows] == list(range(1, 10 * 8 + 1))
    assert not await world.store.broken_links(10)


async def test_a_slow_committer_is_waited_for(postgres_world: PostgresWorld) -> None:
    """Nobody gets a later seq and is read before an earlier one that is still being written."""
    other = await postgres_world.another()
    connection = await asyncpg.connect(postgres_world.url)
    await connection.execute("BEGIN; SELECT lock_journal()")
    await connection.execute(
        "INSERT INTO events (seq, stream_id, version, kind, body, occurred_at, correlation_id,"
        " previous_hash, hash) VALUES (1, 'account/1/x', 1, 'FundsObserved', $1, 0,"
        " gen_random_uuid(), decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'))",
        encode_event(funding(USDC, 1).appends[0].events[0])[1].decode(),
    )
    second = asyncio.create_task(other.commit(begin(a_step())))
    third = asyncio.create_task(other.accept([a_submission()], NOW))
    assert await postgres_world.store.tail(0, 10, 0.2) == ()
    assert not second.done()
    assert not third.done()
    await connection.execute("COMMIT")
    await asyncio.gather(second, third)
    rows = await postgres_world.store.tail(0, 10, 1)
    assert [row.seq for row in rows] == [1, 2, 3]
    assert rows[0].stream_id == "account/1/x"
    await connection.close()


async def test_tail_waits_wakes_and_gives_up(world: World) -> None:
    other = await world.another()
    assert await world.store.tail(0, 10, 0.01) == ()
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(world.store.tail(0, 10, 10))
    await asyncio.sleep(0.1)
    start = loop.time()
    await other.commit(begin(a_step()))
    assert len(await waiting) == 1
    assert loop.time() - start < 0.5
    assert len(await world.store.tail(0, 10, 10)) == 1


async def test_cursors_only_move_forward(store: Store) -> None:
    assert await store.cursor("feed") == 0
    await store.advance("feed", 7)
    await store.advance("feed", 3)
    await store.advance("other", 1)
    assert (await store.cursor("feed"), await store.cursor("other")) == (7, 1)


def _recomputed(row: Recorded) -> bytes:
    kind, body = encode_event(row.event)
    return link(
        row.previous_hash,
        stream_id=row.stream_id,
        version=row.version,
        kind=kind,
        at=row.at,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        body=body,
    )
