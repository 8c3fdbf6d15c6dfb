"""Transfers as they stand, in memory and in Postgres alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sep_ray.journal.ports import Store
from sep_ray.journal.records import Commit, ExposureCap, LimitExceeded, TransferFilter
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import ChainId
from sep_ray.settlement.transfer import (
    DepartureSigned,
    DepartureVoid,
    Transfer,
    TransferReserved,
    TransferStatus,
)
from tests.fixtures.records import NOW, WETH, a_transfer, begin, commit, fold, new_id, then
from tests.fixtures.stores import World

ARBITRUM = ChainId(42161)
VOID = (
    TransferReserved(units=500),
    DepartureSigned(departure_id=new_id()),
    DepartureVoid(detail=""),
)


async def test_transfers_are_found_by_step_by_chain_and_by_what_is_asked(store: Store) -> None:
    first, second = a_transfer(), a_transfer(bridge="other", strategy_id="desk")
    await store.commit(begin(first, second))
    stands = fold(None, begin(first).appends[0].events, NOW)
    assert await store.transfer(first.id) == stands
    assert await store.transfer(new_id()) is None
    assert [t.id for t in await store.transfers_of([second.step_id])] == [second.id]
    for chain_id in (None, first.source.chain_id, ARBITRUM):
        assert [t.id for t in await store.open_transfers(chain_id)] == [first.id, second.id]
    assert await store.open_transfers(ChainId(5)) == ()
    page = await store.page_of_transfers(TransferFilter(), None, 10)
    assert [t.id for t in page] == [second.id, first.id]
    for wanted in (
        TransferFilter(bridge="other"),
        TransferFilter(strategy_id="desk", status="PLANNED", chain_id=ARBITRUM),
    ):
        assert [t.id for t in await store.page_of_transfers(wanted, None, 10)] == [second.id]
    older = await store.page_of_transfers(TransferFilter(), second.id, 10)
    assert [t.id for t in older] == [first.id]


async def test_an_ended_transfer_makes_room_for_another_of_its_step(store: Store) -> None:
    first = a_transfer()
    await store.commit(begin(first))
    stands = await store.transfer(first.id)
    assert stands is not None
    again = a_transfer(step_id=first.step_id)
    await store.commit(commit(then(stands, *VOID), (None, begin(again).appends[0].events)))
    assert [t.id for t in await store.open_transfers(None)] == [again.id]
    found = await store.transfers_of([first.step_id])
    assert [t.status for t in found] == [TransferStatus.ABANDONED, TransferStatus.PLANNED]


async def test_p3_a_step_has_one_open_transfer(store: Store) -> None:
    first = a_transfer()
    await store.commit(begin(first))
    with pytest.raises(InvariantBroken):
        await store.commit(begin(a_transfer(step_id=first.step_id)))


async def test_p9_departures_that_race_never_cross_a_bridges_cap(world: World) -> None:
    """Forty ask at once from four processes, each sure that there is room: five fit."""
    stores = [world.store, *[await world.another() for _ in range(3)]]
    asked = [a_transfer(units=100) for _ in range(40)]
    found = await asyncio.gather(
        *(stores[n % 4].commit(capped(each, 500)) for n, each in enumerate(asked)),
        return_exceptions=True,
    )
    refused = [each for each in found if isinstance(each, LimitExceeded)]
    assert len(found) - len(refused) == 5
    assert {error.facts["limit_id"] for error in refused} == {"bridge/twin"}
    opened = await world.store.open_transfers(None)
    assert sum(each.exposed for each in opened) == 500


async def test_p9_a_cap_counts_one_bridge_and_asset_and_what_is_still_there(store: Store) -> None:
    others = a_transfer(bridge="other", units=400), a_transfer(source=WETH, units=400)
    first = a_transfer(units=400)
    await store.commit(begin(*others))
    await store.commit(capped(first, 500))
    with pytest.raises(LimitExceeded):
        await store.commit(capped(a_transfer(units=101), 500))
    stands = await store.transfer(first.id)
    assert stands is not None
    await store.commit(commit(then(stands, *VOID)))
    await store.commit(capped(a_transfer(units=500), 500))


async def test_a_cap_names_a_transfer_of_its_commit(store: Store) -> None:
    cap = ExposureCap(transfer_id=new_id(), most=1)
    with pytest.raises(InvariantBroken):
        await store.commit(replace(begin(a_transfer()), caps=(cap,)))


def capped(transfer: Transfer, most: int) -> Commit:
    """A planned transfer that stands only if its bridge then has no more than so much."""
    cap = ExposureCap(transfer_id=transfer.id, most=most)
    return replace(begin(transfer), caps=(cap,))
