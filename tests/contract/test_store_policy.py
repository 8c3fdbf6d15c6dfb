"""Limits, their usage, halts and marks: the same in every store, and never overdrawn (P9, P10)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sep_ray.engine.risk import RiskDesk
from sep_ray.execution.attempt import (
    Attempt,
    AttemptBroadcast,
    AttemptCancelled,
    AttemptExpired,
    AttemptFinalized,
    AttemptIncluded,
    AttemptPrepared,
    AttemptReverted,
    Inclusion,
    evolve,
)
from sep_ray.journal.ports import Store
from sep_ray.journal.records import Append, Commit, Lease, LeaseLost, LimitExceeded, VersionConflict
from sep_ray.kernel.clock import ManualClock, Millis
from sep_ray.kernel.errors import InvariantBroken, Rejected
from sep_ray.kernel.units import ChainId
from sep_ray.policy.book import LimitBook
from sep_ray.policy.halts import HaltStatus, Scope
from sep_ray.policy.limits import InvalidLimit, Kind, Measure
from sep_ray.policy.marks import DAY_MS, ChainMark
from sep_ray.policy.usage import NOBODY, Reservation, Slot
from sep_ray.portfolio.events import SalesNetted
from tests.fixtures.policy import a_halt, a_limit
from tests.fixtures.records import NOW, USDC, WETH, an_attempt, begin, commit, new_id, then
from tests.fixtures.stores import World

PAID = Inclusion(tx_hash="0x1", block_number=1, block_hash="0xb", gas_used=10, gas_price_wei=3)


def share(attempt: Attempt, amount: int, bound: int | None = 100, **fields: Any) -> Reservation:
    default = Reservation(
        attempt_id=attempt.id,
        limit_id="one",
        kind=Kind.TOTAL,
        measure=Measure.VALUE,
        slot=0,
        amount=amount,
        since=0,
        bound=bound,
    )
    return replace(default, **fields)


def prepare(attempt: Attempt, *shares: Reservation, version: int | None = None) -> Commit:
    return replace(begin(attempt), reservations=shares, policy_version=version)


async def end(store: Store, attempt: Attempt, *events: Any) -> None:
    """Let events happen to an attempt that was just prepared."""
    stands = evolve(None, AttemptPrepared(attempt=attempt))
    sent = AttemptBroadcast(tx_hash="0x1", block_number=1, answer="ok")
    await store.commit(commit(then(stands, sent, *events)))


async def used(store: Store, name: str = "one") -> int:
    found = await store.limit_usage([name])
    return sum(slot.amount for slot in found.get(name, ()))


async def test_p9_two_racing_for_one_limit_do_not_exceed_it(world: World) -> None:
    stores = [world.store, await world.another()]
    attempts = [an_attempt(nonce) for nonce in range(40)]
    outcomes = await asyncio.gather(
        *(
            stores[n % 2].commit(prepare(attempt, share(attempt, 7)))
            for n, attempt in enumerate(attempts)
        ),
        return_exceptions=True,
    )
    refused = [each for each in outcomes if isinstance(each, LimitExceeded)]
    assert len(refused) == 40 - 14
    assert all(isinstance(each, LimitExceeded | tuple) for each in outcomes)
    assert await used(world.store) == 98
    kept = [a for a, each in zip(attempts, outcomes, strict=True) if isinstance(each, tuple)]
    assert [await world.store.attempt(a.id) is not None for a in attempts].count(True) == len(kept)


@pytest.mark.parametrize(
    ("events", "value", "gas", "count"),
    [
        ((AttemptIncluded(inclusion=PAID),), 60, 50, 1),
        ((AttemptIncluded(inclusion=PAID), AttemptFinalized(block_number=9)), 60, 30, 1),
        ((AttemptReverted(inclusion=PAID, detail=""),), 60, 50, 1),
        ((AttemptReverted(inclusion=PAID, detail=""), AttemptFinalized(block_number=9)), 0, 30, 1),
        ((AttemptReverted(inclusion=PAID, detail=""), AttemptCancelled(tx_hash="0x1")), 0, 30, 1),
    ],
)
async def test_p9_what_was_not_used_is_given_back_by_evidence_alone(
    store: Store, events: tuple[Any, ...], value: int, gas: int, count: int
) -> None:
    attempt = an_attempt()
    shares = (
        share(attempt, 60),
        share(attempt, 50, limit_id="gas", measure=Measure.GAS),
        share(attempt, 1, limit_id="count", measure=Measure.COUNT),
        share(attempt, 9, limit_id="position", kind=Kind.POSITION),
    )
    await store.commit(prepare(attempt, *shares))
    await end(store, attempt, *events)
    assert (await used(store), await used(store, "gas")) == (value, gas)
    assert await used(store, "count") == count
    final = isinstance(events[-1], AttemptFinalized | AttemptCancelled)
    assert await used(store, "position") == (0 if final else 9)


async def test_p9_bytes_never_sent_give_everything_back_once(store: Store) -> None:
    first, second = an_attempt(0), an_attempt(1)
    for attempt in (first, second):
        await store.commit(prepare(attempt, share(attempt, 50)))
    stands = evolve(None, AttemptPrepared(attempt=first))
    given_back = commit(then(stands, AttemptExpired(detail="")))
    await store.commit(given_back)
    with pytest.raises(VersionConflict):
        await store.commit(given_back)
    assert await used(store) == 50


def ahead(lease: Lease, *shares: Reservation) -> Commit:
    """Book shares for attempts to come, as a lane does before it signs."""
    named = tuple(replace(share, lane=lease.name) for share in shares)
    return Commit(at=NOW, appends=(), fence=lease.fence, reservations=named, policy_version=0)


async def lease_of(store: Store, name: str) -> Lease:
    lease = await store.acquire(name, "me", 60_000)
    assert lease is not None
    return lease


async def test_p9_shares_are_booked_before_there_are_bytes_and_settled_with_them(
    store: Store,
) -> None:
    lease, attempt = await lease_of(store, "lane/1"), an_attempt()
    assert await store.commit(ahead(lease, share(attempt, 60))) == ()
    with pytest.raises(LimitExceeded):
        await store.commit(ahead(await lease_of(store, "lane/2"), share(an_attempt(1), 41)))
    await store.commit(prepare(attempt))
    await store.commit(Commit(at=NOW, appends=(), fence=lease.fence))
    assert await used(store) == 60
    await end(store, attempt, AttemptReverted(inclusion=PAID, detail=""))
    assert await used(store) == 60
    stands = await store.attempt(attempt.id)
    assert stands is not None
    await store.commit(commit(then(stands, AttemptFinalized(block_number=9))))
    assert await used(store) == 0


async def test_p9_what_was_booked_for_bytes_that_never_were_is_given_back_by_its_lane(
    world: World,
) -> None:
    store, other = world.store, await world.another()
    mine, theirs = await lease_of(store, "lane/1"), await lease_of(other, "lane/2")
    lost = [an_attempt(nonce) for nonce in range(2)]
    await store.commit(ahead(mine, *(share(each, 30) for each in lost)))
    await other.commit(ahead(theirs, share(an_attempt(7), 40)))
    assert await used(store) == 100
    with pytest.raises(LimitExceeded):
        await other.commit(ahead(theirs, share(an_attempt(8), 41)))
    assert await used(store) == 100
    await store.commit(ahead(mine, share(an_attempt(9), 50)))
    assert await used(store) == 90
    for _ in range(2):
        await store.commit(Commit(at=NOW, appends=(), fence=mine.fence))
    assert await used(store) == 40


async def test_p5_p9_nothing_is_booked_ahead_under_an_old_epoch_or_old_limits(
    store: Store,
) -> None:
    old = await lease_of(store, "lane/1")
    new = await lease_of(store, "lane/1")
    with pytest.raises(LeaseLost):
        await store.commit(ahead(old, share(an_attempt(), 1)))
    footing = await store.stands(new)
    assert footing is not None
    assert footing.policy_version == 0
    await RiskDesk(store, ManualClock(NOW)).set_limit(a_limit(), "rita")
    with pytest.raises(VersionConflict):
        await store.commit(ahead(new, share(an_attempt(), 1)))
    footing = await store.stands(new)
    assert footing is not None
    assert footing.policy_version == 1
    assert await used(store) == 0
    with pytest.raises(InvariantBroken):
        await store.commit(replace(ahead(new, share(an_attempt(), 1)), fence=None))


async def test_gas_of_replacements_is_settled_as_one(store: Store) -> None:
    attempt = an_attempt()
    gas = share(attempt, 20, limit_id="gas", measure=Measure.GAS)
    await store.commit(prepare(attempt, gas, replace(gas, amount=15)))
    assert await used(store, "gas") == 35
    await end(store, attempt, AttemptIncluded(inclusion=PAID), AttemptFinalized(block_number=9))
    assert await used(store, "gas") == 30


async def test_slots_that_left_the_window_do_not_count(store: Store) -> None:
    first, second, third = (an_attempt(n) for n in range(3))
    old: dict[str, Any] = {"kind": Kind.WINDOW, "slot": 1_000, "since": 0}
    new: dict[str, Any] = {"kind": Kind.WINDOW, "slot": 2_000, "since": 1_001}
    await store.commit(prepare(first, share(first, 90, **old)))
    with pytest.raises(LimitExceeded):
        await store.commit(prepare(second, share(second, 20, **{**new, "since": 1_000})))
    await store.commit(prepare(second, share(second, 20, **new)))
    assert await store.limit_usage(["one"]) == {"one": (Slot(start=2_000, amount=20),)}
    await end(store, first, AttemptReverted(inclusion=PAID, detail=""))
    with pytest.raises(LimitExceeded):
        await store.commit(prepare(third, share(third, 81, **new)))


async def test_p9_limits_that_changed_meanwhile_are_decided_by_anew(store: Store) -> None:
    attempt = an_attempt()
    desk = RiskDesk(store, ManualClock(NOW))
    await store.commit(prepare(an_attempt(5), version=0))
    await desk.set_limit(a_limit(), "alice")
    with pytest.raises(VersionConflict):
        await store.commit(prepare(attempt, version=0))
    await store.commit(prepare(attempt, version=1))


async def test_shares_need_their_attempt(store: Store) -> None:
    attempt = an_attempt()
    with pytest.raises(InvariantBroken):
        await store.commit(prepare(attempt, share(an_attempt(), 1)))


async def test_limits_survive_and_are_journalled(world: World) -> None:
    desk = RiskDesk(world.store, ManualClock(NOW))
    assert await world.store.limits() == LimitBook()
    wide = a_limit(amount=2**255, id="b", asset=WETH, measure=Measure.UNITS)
    await desk.set_limit(a_limit(id="c"), "alice")
    await desk.set_limit(wide, "alice")
    await desk.set_limit(wide, "bob")
    assert await desk.remove_limit("none", "bob") is None
    assert await desk.remove_limit("c", "bob") is not None
    other = await world.another()
    assert (await other.limits()).limits == (wide,)
    assert [row.event.principal for row in await other.stream("policy/limits")] == [
        "alice",
        "alice",
        "bob",
    ]
    with pytest.raises(InvalidLimit):
        await desk.set_limit(replace(wide, amount=-1), "bob")


async def test_p10_halts_survive_until_somebody_with_a_name_releases_them(world: World) -> None:
    desk = RiskDesk(world.store, ManualClock(NOW))
    first, second = a_halt(), a_halt(Scope.STRATEGY, "momentum")
    for halt in (first, second, first):
        await desk.halt(halt)
    other = await world.another()
    assert [halt.id for halt in await other.active_halts()] == [first.id, second.id]
    with pytest.raises(Rejected):
        await desk.release(first.id, " ", "")
    assert await desk.release(new_id(), "bob", "") is None
    for _ in range(2):
        released = await desk.release(first.id, "bob", "all well")
        assert released.status is HaltStatus.RELEASED
        assert released.released_by == "bob"
    assert [halt.id for halt in await other.active_halts()] == [second.id]
    assert [halt.id for halt in await other.newest_halts(5)] == [second.id, first.id]
    assert len(await other.stream(first.stream_id)) == 2


def mark(profit: int, at: int, chain: int = 1, given: int = 100) -> ChainMark:
    return ChainMark(
        strategy_id="momentum",
        chain_id=ChainId(chain),
        profit=profit,
        given=given,
        units=((USDC, 5),),
        at=Millis(at),
    )


async def test_p9_marks_survive_and_only_rise(world: World) -> None:
    today = NOW - NOW % DAY_MS
    for profit, at in ((0, 1), (30, 2), (10, 3), (99, 1)):
        await world.store.keep_mark(mark(profit, today + at))
    await world.store.keep_mark(mark(-5, today + 4, chain=2, given=50))
    other = await world.another()
    assert await other.marks(["nobody"]) == {}
    found = (await other.marks(["momentum"]))["momentum"]
    assert (found.profit, found.high_profit, found.day_profit, found.given) == (5, 30, 0, 150)
    await other.keep_mark(mark(20, today + DAY_MS))
    found = (await world.store.marks(["momentum"]))["momentum"]
    assert (found.profit, found.high_profit, found.day_profit) == (15, 30, 15)
    assert [m.profit for m in await other.chain_marks("momentum")] == [20, -5]


async def test_marks_are_kept_side_by_side(world: World) -> None:
    stores = [world.store, await world.another()]
    await asyncio.gather(
        *(stores[n % 2].keep_mark(mark(n, NOW + n, chain=n % 4)) for n in range(40))
    )
    found = (await world.store.marks(["momentum"]))["momentum"]
    assert found.profit == 36 + 37 + 38 + 39
    assert found.high_profit >= found.profit


async def test_an_append_alone_is_no_limit(store: Store) -> None:
    row = a_halt()
    bare = Append(stream_id=row.stream_id, expected_version=0, events=(), correlation_id=row.id)
    with pytest.raises(InvariantBroken):
        await store.commit(Commit(at=NOW, appends=(bare,)))


async def test_p9_what_is_crossed_counts_for_good_and_holds_no_position(world: World) -> None:
    """Shares of a netting are nobody's, and no attempt ends them; any other's are refused."""
    loose = replace(begin(an_attempt(1)), reservations=(nobodys(1),))
    with pytest.raises(InvariantBroken):
        await world.store.commit(loose)
    held = nobodys(5, kind=Kind.POSITION, limit_id="two")
    await world.store.commit(a_netting(nobodys(60), held))
    assert (await used(world.store), await used(world.store, "two")) == (60, 0)
    with pytest.raises(LimitExceeded):
        await world.store.commit(a_netting(nobodys(41)))
    beyond = replace(held, amount=101)
    with pytest.raises(LimitExceeded):
        await world.store.commit(a_netting(beyond))
    await world.store.commit(a_netting(nobodys(40)))
    assert await used(world.store) == 100


def nobodys(amount: int, **fields: Any) -> Reservation:
    return replace(share(an_attempt(0), amount, **fields), attempt_id=NOBODY)


def a_netting(*shares: Reservation) -> Commit:
    said = SalesNetted(
        low=USDC,
        high=WETH,
        price=(1, 1),
        low_units=1,
        high_units=1,
        block_number=1,
        block_hash="0x1",
    )
    name = new_id()
    first = Append(
        stream_id=f"account/1/{name}", expected_version=0, events=(said,), correlation_id=name
    )
    return Commit(at=NOW, appends=(first,), reservations=shares)
