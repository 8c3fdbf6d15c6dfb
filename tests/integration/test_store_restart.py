"""The store over a Postgres that crashes, restarts or goes away under it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sep_ray.adapters.postgres import PostgresStore, migrate, wire
from sep_ray.decomposition.step import StepCreated, StepStarted
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.journal.records import Accepted
from sep_ray.kernel.clock import SystemClock
from sep_ray.kernel.errors import Indeterminate, Transient
from tests.fixtures.records import (
    NOW,
    a_step,
    a_submission,
    begin,
    commit,
    fold,
    funding,
    new_id,
    then,
)
from tests.fixtures.records import USDC as ASSET


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    embedded = EmbeddedPostgres(tmp_path / "state", die_with_starter=True)
    embedded.start()
    yield embedded
    embedded.stop()


@pytest.fixture
async def store(server: EmbeddedPostgres) -> AsyncIterator[PostgresStore]:
    await migrate(server.url())
    opened = await PostgresStore.connect(server.url(), clock=SystemClock())
    yield opened
    await opened.close()


async def crash(server: EmbeddedPostgres) -> None:
    """Kill the server and start it again."""
    server.kill()
    await asyncio.sleep(0.05)
    server.start()


async def test_p1_kill_9_during_accepts_loses_no_accepted_intent(
    server: EmbeddedPostgres, store: PostgresStore
) -> None:
    """P1: every intent that was accepted is there after three crashes, and none twice."""
    accepted: list[Accepted] = []
    unsure = 0
    stop = asyncio.Event()
    progress = asyncio.Event()

    async def client() -> None:
        nonlocal unsure
        while not stop.is_set():
            batch = [a_submission(key=str(new_id()), digest=b"x") for _ in range(3)]
            try:
                verdicts = await store.accept(batch, NOW)
            except (Transient, Indeterminate):
                unsure += 1
                continue
            accepted.extend(v for v in verdicts if isinstance(v, Accepted))
            progress.set()

    clients = [asyncio.create_task(client()) for _ in range(16)]
    for _ in range(3):
        progress.clear()
        await asyncio.wait_for(progress.wait(), 20)
        await asyncio.sleep(0.3)
        await crash(server)
    progress.clear()
    await asyncio.wait_for(progress.wait(), 20)
    stop.set()
    await asyncio.gather(*clients)

    ids = [verdict.intent_id for verdict in accepted]
    assert len(ids) == len(set(ids))
    assert len(ids) > 100
    assert len(await store.intents(ids)) == len(ids)
    events = await store.tail(0, 1_000_000, 0)
    assert {event.correlation_id for event in events} >= set(ids)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert await store.broken_links(1) == ()


async def test_p6_a_commit_whose_answer_was_lost_is_unknown_not_failed(
    server: EmbeddedPostgres, store: PostgresStore
) -> None:
    """P6: Transient says nothing was written; only Indeterminate may have been."""
    outcomes: dict[str, str] = {}
    counted = asyncio.Event()

    async def writer() -> None:
        while not counted.is_set():
            step = a_step()
            try:
                await store.commit(begin(step))
                outcomes[step.stream_id] = "written"
            except Transient:
                outcomes[step.stream_id] = "not written"
            except Indeterminate:
                outcomes[step.stream_id] = "unknown"

    writers = [asyncio.create_task(writer()) for _ in range(32)]
    for _ in range(3):
        await asyncio.sleep(0.4)
        await crash(server)
    counted.set()
    await asyncio.gather(*writers)
    written = {event.stream_id for event in await store.tail(0, 1_000_000, 0)}
    said = {kind: {s for s, k in outcomes.items() if k == kind} for kind in outcomes.values()}
    assert said["written"] <= written
    assert not said.get("not written", set()) & written
    assert written <= said["written"] | said.get("unknown", set())
    assert await store.broken_links(1) == ()


async def test_p11_everything_is_there_after_a_crash(
    server: EmbeddedPostgres, store: PostgresStore
) -> None:
    """P11: rows and folds agree, and every kind of call works again without a new store."""
    step, intent = a_step(), a_submission()
    started = StepStarted(attempt_id=new_id(), reserved=1, quoted=1, plan="")
    await store.accept([intent], NOW)
    await store.commit(begin(step))
    stands = fold(None, [StepCreated(step=step)])
    await store.commit(commit(then(stands, started)))
    await store.commit(funding(ASSET, 7))
    lease = await store.acquire("lane", "me", 60_000)
    assert lease is not None
    await store.save_state("s", "{}", 1)
    await store.tail(4, 1, 0.01)
    await crash(server)

    events = [row.event for row in await store.stream(step.stream_id)]
    assert await store.step(step.id) == fold(None, events) == fold(stands, [started])
    assert await store.totals(ASSET.chain_id) == {ASSET: 7}
    assert await store.renew(lease, 60_000) is not None
    await store.save_state("s", "{}", 2)
    await store.commit(begin(a_step(), fence=lease.fence))
    assert await store.accept([a_submission()], NOW)
    assert await store.newest() == 6


async def test_a_follower_hears_again_after_a_crash(
    server: EmbeddedPostgres, store: PostgresStore
) -> None:
    following = asyncio.create_task(store.tail(0, 10, 20))
    await asyncio.sleep(0.1)
    await crash(server)
    await store.commit(begin(a_step()))
    assert len(await following) == 1
    following = asyncio.create_task(store.tail(1, 10, 20))
    await asyncio.sleep(1.2)
    other = await PostgresStore.connect(server.url(), clock=SystemClock())
    start = asyncio.get_running_loop().time()
    await other.commit(begin(a_step()))
    await other.close()
    assert len(await following) == 1
    assert asyncio.get_running_loop().time() - start < 0.5


async def test_p12_a_database_that_stays_away_is_an_error_in_time(
    server: EmbeddedPostgres, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P12: bounded waiting, and a word of which kind of error it was."""
    monkeypatch.setattr(wire, "CONNECT_SECONDS", 0.5)
    await store.commit(begin(a_step()))
    server.stop()
    start = asyncio.get_running_loop().time()
    with pytest.raises(Transient):
        await store.newest()
    with pytest.raises((Transient, Indeterminate)):
        await store.commit(begin(a_step()))
    with pytest.raises((Transient, Indeterminate)):
        await store.accept([a_submission()], NOW)
    with pytest.raises(Transient):
        await store.acquire("a", "b", 1)
    with pytest.raises(Transient):
        await PostgresStore.connect(server.url(), clock=SystemClock())
    assert asyncio.get_running_loop().time() - start < 15
    server.start()
    assert await store.newest() == 1
