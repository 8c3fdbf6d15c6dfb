"""Leases: one holder at a time, epochs that rise, writes that count only under the newest."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from sep_ray.journal.ports import Store
from sep_ray.journal.records import Fence, Lease, LeaseLost
from tests.fixtures.records import a_step, begin
from tests.fixtures.stores import PostgresWorld, World

LANE = "lane/1/0x11"
LONG = 60_000


async def taken(store: Store, holder: str, ttl_ms: int = LONG) -> Lease:
    lease = await store.acquire(LANE, holder, ttl_ms)
    assert lease is not None
    return lease


async def test_p5_one_holder_at_a_time(world: World) -> None:
    """P5: a second cluster gets nothing while the first holds the lease."""
    other = await world.another()
    lease = await taken(world.store, "a")
    assert (lease.name, lease.holder, lease.epoch) == (LANE, "a", 1)
    assert await other.acquire(LANE, "b", LONG) is None
    assert await other.acquire("lane/2/0x11", "b", LONG) is not None
    renewed = await world.store.renew(lease, LONG)
    assert renewed is not None
    assert renewed.epoch == 1
    assert renewed.expires_at >= lease.expires_at


async def test_p5_an_expired_lease_is_taken_over_with_a_higher_epoch(world: World) -> None:
    """P5: and the old holder neither renews nor writes any more."""
    other = await world.another()
    old = await taken(world.store, "a", 80)
    await world.pass_time(120)
    assert await world.store.renew(old, LONG) is None
    assert not await world.store.stands(old)
    with pytest.raises(LeaseLost):
        await world.store.commit(begin(a_step(), fence=old.fence))
    new = await taken(other, "b")
    assert await world.store.stands(new)
    assert not await other.stands(old)
    assert new.epoch == old.epoch + 1
    assert await world.store.renew(old, LONG) is None
    with pytest.raises(LeaseLost) as lost:
        await world.store.commit(begin(a_step(), fence=old.fence))
    assert lost.value.facts == {"name": LANE, "epoch": 1}
    await other.commit(begin(a_step(), fence=new.fence))
    assert await world.store.newest() == 1


async def test_p5_taking_it_again_ends_the_own_older_epoch(store: Store) -> None:
    """P5: a restarted holder is not confused with the process it was."""
    old = await taken(store, "a")
    new = await taken(store, "a")
    assert new.epoch == old.epoch + 1
    with pytest.raises(LeaseLost):
        await store.commit(begin(a_step(), fence=old.fence))
    await store.commit(begin(a_step(), fence=new.fence))


async def test_a_released_lease_is_free_and_over(store: Store) -> None:
    lease = await taken(store, "a")
    await store.release(lease)
    with pytest.raises(LeaseLost):
        await store.commit(begin(a_step(), fence=lease.fence))
    new = await taken(store, "b")
    assert new.epoch == 2
    await store.release(lease)
    await store.commit(begin(a_step(), fence=new.fence))


async def test_a_fence_that_never_was(store: Store) -> None:
    with pytest.raises(LeaseLost):
        await store.commit(begin(a_step(), fence=Fence(name="none", epoch=1)))
    lease = await taken(store, "a")
    ahead = Fence(name=LANE, epoch=lease.epoch + 1)
    with pytest.raises(LeaseLost):
        await store.commit(begin(a_step(), fence=ahead))


async def test_fenced_and_lost_in_one_group(store: Store) -> None:
    old = await taken(store, "a")
    new = await taken(store, "a")
    results = await asyncio.gather(
        *(store.commit(begin(a_step(), fence=one.fence)) for one in (old, new, old, new)),
        return_exceptions=True,
    )
    assert [isinstance(result, LeaseLost) for result in results] == [True, False, True, False]


async def test_p5_of_many_takers_one_wins(world: World) -> None:
    stores = [await world.another() for _ in range(4)]
    leases = await asyncio.gather(
        *(stores[n % 4].acquire(LANE, f"holder {n}", LONG) for n in range(16))
    )
    assert len([lease for lease in leases if lease is not None]) == 1


async def test_p5_a_lease_cannot_change_hands_under_a_write(postgres_world: PostgresWorld) -> None:
    """P5: a write that was let through under a lease is done before the next holder begins."""
    other = await postgres_world.another()
    lease = await taken(postgres_world.store, "a", 300)
    blocker = await asyncpg.connect(postgres_world.url)
    await blocker.execute("BEGIN; LOCK TABLE steps IN ACCESS EXCLUSIVE MODE")
    writing = asyncio.create_task(postgres_world.store.commit(begin(a_step(), fence=lease.fence)))
    await asyncio.sleep(0.4)
    taking = asyncio.create_task(other.acquire(LANE, "b", LONG))
    await asyncio.sleep(0.2)
    assert not taking.done()
    await blocker.execute("COMMIT")
    await blocker.close()
    assert len(await writing) == 1
    new = await taking
    assert new is not None
    assert new.epoch == 2
