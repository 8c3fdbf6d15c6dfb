"""Steps, attempts, strategies and ticks as they stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sep_ray.decomposition.step import StepCancelled, StepCreated, StepStarted, StepStatus
from sep_ray.execution.attempt import (
    AttemptBroadcast,
    AttemptBumped,
    AttemptExpired,
    AttemptFinalized,
    AttemptIncluded,
    AttemptPrepared,
    Inclusion,
)
from sep_ray.intent.states import Reason
from sep_ray.journal.ports import Store
from sep_ray.journal.records import Append, Commit, Tick, VersionConflict
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import ChainId
from sep_ray.strategy.record import StrategyPaused, StrategyRecord, StrategyStarted, evolve
from tests.fixtures.records import (
    ACCOUNT,
    CHAIN,
    NOW,
    USDC,
    WETH,
    a_step,
    an_attempt,
    begin,
    commit,
    fold,
    new_id,
    signed,
    then,
)
from tests.fixtures.stores import World

PENDING = StepStatus.PENDING
STARTED = StepStarted(attempt_id=new_id(), reserved=1, quoted=1, plan="")
SENT = AttemptBroadcast(tx_hash="0x1", block_number=1, answer="")
LANDED = AttemptIncluded(
    inclusion=Inclusion(
        tx_hash="0x1", block_number=2, block_hash="0x2", gas_used=1, gas_price_wei=1
    )
)


async def test_ready_steps_in_their_order(store: Store) -> None:
    low, high, early = a_step(priority=0.5), a_step(priority=2.0), a_step(deadline=Millis(NOW + 1))
    middle = [a_step() for _ in range(2)]
    waiting, elsewhere = a_step(status=PENDING), a_step(chain_id=ChainId(42161))
    await store.commit(begin(low, *middle, waiting, early, elsewhere, high))
    found = [step.id for step in await store.ready_steps(CHAIN, 10)]
    assert found == [high.id, early.id, *sorted(step.id for step in middle), low.id]
    assert [step.id for step in await store.ready_steps(CHAIN, 1)] == [high.id]
    await store.commit(commit(then(fold(None, [StepCreated(step=high)]), STARTED)))
    assert [step.id for step in await store.ready_steps(CHAIN, 1)] == [early.id]


async def test_steps_of_intents(store: Store) -> None:
    first, second = new_id(), new_id()
    steps = [a_step(intent, n) for intent in (first, second) for n in range(3)]
    await store.commit(begin(*steps[::-1]))
    assert [s.id for s in await store.steps_of([second, first])] == [step.id for step in steps]
    assert await store.steps_of([new_id()]) == ()
    assert await store.step(new_id()) is None


async def test_what_time_moves(store: Store) -> None:
    assert await store.next_due() is None
    ready = a_step(deadline=Millis(500))
    early = a_step(status=PENDING, due=Millis(100), deadline=Millis(50))
    late = a_step(status=PENDING, due=Millis(900))
    same = a_step(early.intent_id, 1, status=PENDING, due=Millis(300))
    await store.commit(begin(ready, early, late, same))
    assert await store.next_due() == 100
    assert await store.due_intents(Millis(99), 10) == ()
    assert await store.due_intents(Millis(100), 10) == (early.intent_id,)
    assert await store.due_intents(Millis(600), 10) == (early.intent_id, ready.intent_id)
    assert await store.due_intents(Millis(600), 1) == (early.intent_id,)
    cancelled = StepCancelled(reason=Reason.DEADLINE)
    for step in (early, same):
        await store.commit(commit(then(fold(None, [StepCreated(step=step)]), cancelled)))
    assert await store.next_due() == 500


async def test_p3_one_live_attempt_per_nonce(world: World) -> None:
    """P3: the database itself refuses a second live transaction on a nonce."""
    store = world.store
    first, second = an_attempt(7), an_attempt(7)
    await store.commit(begin(first))
    with pytest.raises(InvariantBroken, match="nonce"):
        await store.commit(begin(second))
    with pytest.raises(InvariantBroken, match="nonce"):
        await store.commit(begin(an_attempt(8), an_attempt(8)))
    await store.commit(begin(an_attempt(7, chain_id=ChainId(2))))
    expired = AttemptExpired(detail="never sent")
    stands = replace(first, version=1)
    give_back = commit(then(stands, expired))
    both = Commit(
        at=NOW,
        appends=(*begin(second).appends, *give_back.appends),
        states=(*begin(second).states, *give_back.states),
    )
    await store.commit(both)
    assert [a.id for a in await store.live_attempts(CHAIN, ACCOUNT)] == [second.id]


async def test_attempts_of_a_lane(store: Store) -> None:
    assert await store.next_nonce(CHAIN, ACCOUNT) is None
    step = a_step()
    attempts = [an_attempt(n, step_id=step.id) for n in (4, 2, 3)]
    await store.commit(begin(*attempts))
    assert [a.nonce for a in await store.live_attempts(CHAIN, ACCOUNT)] == [2, 3, 4]
    assert [a.nonce for a in await store.attempts_of([step.id])] == [2, 3, 4]
    assert await store.live_attempts(CHAIN, "0x" + "22" * 20) == ()
    assert await store.next_nonce(CHAIN, ACCOUNT) == 5
    last = replace(attempts[0], version=1)
    await store.commit(commit(then(last, AttemptExpired(detail=""))))
    assert await store.next_nonce(CHAIN, ACCOUNT) == 4
    other = replace(attempts[2], version=1)
    final = (SENT, LANDED, AttemptFinalized(block_number=9))
    await store.commit(commit(then(other, *final)))
    assert await store.next_nonce(CHAIN, ACCOUNT) == 4
    assert [a.nonce for a in await store.live_attempts(CHAIN, ACCOUNT)] == [2]


async def test_an_attempt_is_found_by_every_hash_it_had(store: Store) -> None:
    attempt = an_attempt()
    events = (AttemptPrepared(attempt=attempt), SENT, AttemptBumped(signed=signed("0xbumped")))
    await store.commit(commit((None, events)))
    for tx_hash in (attempt.signed[0].tx_hash, "0xbumped"):
        found = await store.attempt_by_hash(tx_hash)
        assert found is not None
        assert found.id == attempt.id
        assert found == fold(None, events)
    assert await store.attempt_by_hash("0xnone") is None


async def test_strategies(store: Store) -> None:
    started = StrategyStarted(source="a.b:C", code="é", params='{"n": 1}', principal="alice")
    records = [evolve(None, name, started, NOW) for name in ("zeta", "alpha")]
    for record in records:
        await store.commit(_strategy(record, started))
    assert await store.strategies() == tuple(records[::-1])
    paused = StrategyPaused(principal="bob", detail="broke")
    after = evolve(records[0], "zeta", paused, NOW)
    await store.commit(_strategy(after, paused))
    assert await store.strategy("zeta") == after
    assert await store.strategy("none") is None


async def test_p3_a_strategys_state_has_one_writer_per_version(world: World) -> None:
    other = await world.another()
    assert await world.store.load_state("s") is None
    with pytest.raises(VersionConflict):
        await world.store.save_state("s", "{}", 2)
    await world.store.save_state("s", '{"n": 1}', 1)
    assert await other.load_state("s") == ('{"n": 1}', 1)
    await other.save_state("s", '{"n": 2}', 2)
    for version in (1, 2, 4):
        with pytest.raises(VersionConflict):
            await world.store.save_state("s", "{}", version)
    assert await world.store.load_state("s") == ('{"n": 2}', 2)


async def test_ticks_oldest_first_once_per_block(store: Store) -> None:
    day = 86_400_000

    def tick(block: int, numerator: int, at: int = NOW) -> Tick:
        return Tick(
            chain_id=CHAIN,
            base=WETH,
            quote=USDC,
            block_number=block,
            at=Millis(at + block * 12_345_678),
            numerator=numerator,
            denominator=2**200,
        )

    ticks = [tick(n, n * 2**180) for n in range(1, 30)]
    await store.record_ticks(ticks[::-1])
    await store.record_ticks([tick(3, 1), tick(3, 1, NOW + day), tick(30, 1), tick(30, 2)])
    await store.record_ticks([])
    found = await store.recent_ticks(CHAIN, WETH, USDC, 100)
    assert found == (*ticks, tick(30, 1))
    assert await store.recent_ticks(CHAIN, WETH, USDC, 2) == found[-2:]
    assert await store.recent_ticks(CHAIN, USDC, WETH, 2) == ()


def _strategy(after: StrategyRecord, *events: Any) -> Commit:
    append = Append(
        stream_id=after.stream_id,
        expected_version=after.version - len(events),
        events=events,
        correlation_id=new_id(),
    )
    return Commit(at=NOW, appends=(append,), states=(after,))
