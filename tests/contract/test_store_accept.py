"""Accepting intents: durable at once, counted once, together."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from sep_ray.intent.states import (
    IntentAccepted,
    IntentCancelRequested,
    IntentDecomposed,
    IntentRejected,
    Reason,
    Status,
)
from sep_ray.journal.ports import Store
from sep_ray.journal.records import Accepted, IntentFilter, KeyReused, Repeated, Verdict
from sep_ray.kernel.errors import Rejected, SepError
from sep_ray.kernel.units import MAX_UINT256, ChainId
from tests.fixtures.records import NOW, a_submission, accepted, an_intent, commit, new_id, then
from tests.fixtures.stores import PostgresWorld, World


async def test_p1_accepted_is_durable(world: World) -> None:
    """P1: once `accept` returns, another process finds the intent and its event."""
    submission = a_submission(amount=MAX_UINT256)
    (verdict,) = await world.store.accept([submission], NOW)
    assert verdict == Accepted(submission.intent.id)
    other = await world.another()
    assert await other.intent(submission.intent.id) == accepted(submission.intent)
    (row,) = await other.stream(f"intent/{submission.intent.id}")
    assert row.event == IntentAccepted(intent=submission.intent, principal="alice")
    assert (row.version, row.at, row.correlation_id) == (1, NOW, submission.intent.id)


async def test_a_verdict_for_each_in_order(store: Store) -> None:
    first = a_submission(key="k", digest=b"1")
    await store.accept([first], NOW)
    again = a_submission(key="k", digest=b"1")
    other_body = a_submission(key="k", digest=b"2")
    other_person = a_submission(key="k", digest=b"2", principal="bob")
    plain = a_submission()
    in_batch = [a_submission(key="new", digest=b"3"), a_submission(key="new", digest=b"3")]
    odd = a_submission(key="new", digest=b"4")
    verdicts = await store.accept([again, other_body, other_person, plain, *in_batch, odd], NOW)
    assert verdicts == (
        Repeated(first.intent.id),
        KeyReused(first.intent.id),
        Accepted(other_person.intent.id),
        Accepted(plain.intent.id),
        Accepted(in_batch[0].intent.id),
        Repeated(in_batch[0].intent.id),
        KeyReused(in_batch[0].intent.id),
    )
    assert await store.newest() == 4
    assert [row.seq for row in await store.tail(0, 10, 0)] == [1, 2, 3, 4]
    assert await store.broken_links(10) == ()
    assert await store.intent(again.intent.id) is None
    assert await store.accept([], NOW) == ()


async def test_the_same_intent_again_is_repeated(store: Store) -> None:
    """Who did not hear the answer may ask again, with or without a key."""
    plain, keyed = a_submission(), a_submission(key="k", digest=b"1")
    await store.accept([plain, keyed], NOW)
    changed = replace(plain, intent=replace(plain.intent, amount=7))
    assert await store.accept([plain, keyed, changed], NOW) == (
        Repeated(plain.intent.id),
        Repeated(keyed.intent.id),
        KeyReused(plain.intent.id),
    )
    assert await store.newest() == 2


async def test_p3_of_many_at_once_with_one_key_one_is_accepted(world: World) -> None:
    """P3: racing retries of one request, over several processes, lead to one intent."""
    stores = [await world.another() for _ in range(3)]

    async def ask(place: int) -> Verdict:
        submissions = [a_submission(key=f"k{n}", digest=b"x") for n in range(4)]
        batch = submissions if place % 2 else submissions[::-1]
        verdicts = await stores[place % 3].accept(batch, NOW)
        return verdicts[batch.index(submissions[0])]

    verdicts = await asyncio.gather(*map(ask, range(30)))
    assert Counter(type(verdict) for verdict in verdicts) == {Accepted: 1, Repeated: 29}
    assert len({verdict.intent_id for verdict in verdicts}) == 1
    assert await world.store.newest() == 4


async def test_many_requests_share_few_transactions(postgres_world: PostgresWorld) -> None:
    submissions = [a_submission(key=str(n)) for n in range(300)]
    await asyncio.gather(*(postgres_world.store.accept([one], NOW) for one in submissions))
    (row,) = await postgres_world.sql(
        "SELECT count(*) AS events, count(DISTINCT xmin::text) AS transactions FROM events"
    )
    assert row["events"] == 300
    assert row["transactions"] <= 5


async def test_a_big_batch_is_one_transaction(postgres_world: PostgresWorld) -> None:
    batch = [a_submission(key=str(n)) for n in range(1_000)]
    verdicts = await postgres_world.store.accept(batch, NOW)
    assert set(map(type, verdicts)) == {Accepted}
    (row,) = await postgres_world.sql("SELECT count(DISTINCT xmin::text) AS n FROM events")
    assert row["n"] == 1
    assert await postgres_world.store.broken_links(1) == ()


async def test_what_the_database_refuses_fails_alone(postgres_world: PostgresWorld) -> None:
    bad = a_submission(strategy_id="a\x00b")
    results = await asyncio.gather(
        postgres_world.store.accept([bad], NOW),
        *(postgres_world.store.accept([a_submission()], NOW) for _ in range(5)),
        return_exceptions=True,
    )
    assert isinstance(results[0], Rejected)
    assert not [r for r in results[1:] if isinstance(r, SepError)]
    assert await postgres_world.store.newest() == 5


async def test_what_is_no_text_is_refused(store: Store) -> None:
    with pytest.raises(Rejected, match="JSON"):
        await store.accept([a_submission(strategy_id="\ud800")], NOW)
    assert await store.newest() == 0


async def test_pages_newest_first(store: Store) -> None:
    intents = [an_intent(strategy_id="ab"[n % 2], chain_id=ChainId(1 + n % 3)) for n in range(12)]
    batch = [replace(a_submission(), intent=intent) for intent in intents]
    await store.accept(batch[::-1], NOW)
    seen, before = [], None
    while page := await store.page_of_intents(IntentFilter(), before, 5):
        seen += [record.intent for record in page]
        before = page[-1].intent.id
    assert seen == intents[::-1]
    wanted = IntentFilter(strategy_id="a", chain_id=1, status=Status.ACCEPTED, type="ACQUIRE")
    page = await store.page_of_intents(wanted, None, 100)
    assert [record.intent for record in page] == [intents[6], intents[0]]
    assert await store.page_of_intents(IntentFilter(status="FAILED"), None, 5) == ()
    assert await store.page_of_intents(IntentFilter(type="BRIDGE"), None, 5) == ()


async def test_open_intents_oldest_first(store: Store) -> None:
    intents = [an_intent() for _ in range(6)]
    await store.accept([replace(a_submission(), intent=intent) for intent in intents], NOW)
    ended = IntentRejected(reason=Reason.NO_ROUTE, detail="")
    begun = IntentDecomposed(score=1.0, score_source="formula", why="", steps=1)
    asked = IntentCancelRequested(principal="bob")
    await store.commit(commit(then(accepted(intents[1]), ended)))
    await store.commit(commit(then(accepted(intents[2]), begun)))
    await store.commit(commit(then(accepted(intents[3]), asked)))
    left = [intents[n] for n in (0, 2, 3, 4, 5)]
    found = await store.open_intents(None, 10)
    assert [record.intent for record in found] == left
    found = await store.open_intents(intents[2].id, 2)
    assert [record.intent for record in found] == [intents[3], intents[4]]
    ids = [intents[4].id, new_id(), intents[0].id, intents[4].id]
    assert [r.intent for r in await store.intents(ids)] == [intents[0], intents[4]]
    assert await store.intent(new_id()) is None
