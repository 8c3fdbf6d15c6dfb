"""The ledger: balanced, never below zero, the same in every store."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sep_ray.adapters.memory import MemoryStore
from sep_ray.decomposition.step import StepCreated, StepNetted, StepReduced, StepStatus
from sep_ray.engine.netter import netting
from sep_ray.engine.netting import Crossed as Netted
from sep_ray.journal.ports import Store
from sep_ray.kernel.clock import ManualClock
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import MAX_UINT256, NATIVE, Asset, ChainId
from sep_ray.portfolio.ledger import (
    TREASURY,
    Bucket,
    Holding,
    InsufficientBalance,
    Posting,
    allocate,
    fill,
    fund,
    gas,
    moved,
    release,
    reserve,
    withdrawn,
)
from tests.fixtures.market import snapshot
from tests.fixtures.records import (
    CHAIN,
    NOW,
    USDC,
    WETH,
    a_step,
    begin,
    booked,
    funding,
    new_id,
)
from tests.fixtures.stores import PostgresWorld, World

COIN = Asset(CHAIN, NATIVE)


async def test_sales_of_several_intents_are_netted_in_one_commit(store: Store) -> None:
    """P8: the netting owns the lines, each step keeps its intent's correlation."""
    await store.commit(funding(USDC, 10**9))
    await store.commit(funding(WETH, 10**9, "carry", version=1))
    sold = a_step(amount=10**7)
    bought = a_step(strategy_id="carry", sell=WETH, buy=USDC, amount=5 * 10**6)
    await store.commit(begin(sold, bought))
    parts = [
        Netted(step=replace(sold, version=1), sold=8 * 10**6, bought=4 * 10**6),
        Netted(step=replace(bought, version=1), sold=4 * 10**6, bought=8 * 10**6),
    ]
    low, high = sorted((USDC, WETH))
    market = snapshot()
    written = netting(name := new_id(), parts, {(low, high): (1, 2)}, market)
    await store.commit(replace(written, at=NOW))
    lines = await store.postings_of(name)
    assert len(lines) == 4
    assert {line.bucket for line in lines} == {Bucket.AVAILABLE}
    held = {(h.strategy_id, h.asset): h.units for h in await store.holdings() if h.units > 0}
    assert held["momentum", WETH] == 4 * 10**6
    assert held["momentum", USDC] == 10**9 - 8 * 10**6
    assert held["carry", USDC] == 8 * 10**6
    rest = await store.step(sold.id)
    assert rest is not None
    assert (rest.status, rest.amount) == (StepStatus.READY, 2 * 10**6)
    told = await store.related(bought.intent_id)
    assert {type(row.event) for row in told} == {StepReduced, StepCreated, StepNetted}
    poor = [replace(each, sold=10**12) for each in parts]
    with pytest.raises((InsufficientBalance, InvariantBroken)):
        await store.commit(netting(new_id(), poor, {(low, high): (1, 2)}, market))


async def test_balances_and_lines(store: Store) -> None:
    first = funding(USDC, 1_000)
    swap = booked(
        (
            *reserve("momentum", USDC, 600),
            *fill(
                "momentum",
                sell=USDC,
                sold=500,
                reserved=600,
                buy=WETH,
                bought=2,
                proof="0xb/3",
                account="a",
            ),
        ),
        version=1,
    )
    await store.commit(first)
    await store.commit(swap)
    expected = {
        (USDC, Bucket.AVAILABLE): 500,
        (USDC, Bucket.FUNDING): -1_000,
        (USDC, Bucket.SPENT): 500,
        (WETH, Bucket.AVAILABLE): 2,
        (WETH, Bucket.RECEIVED): -2,
    }
    assert await store.holdings() == tuple(
        Holding(strategy_id="momentum", asset=asset, bucket=bucket, units=units)
        for (asset, bucket), units in sorted(expected.items())
    )
    assert await store.holdings("nobody") == ()
    assert await store.totals(CHAIN) == {USDC: 500, WETH: 2}
    assert await store.totals(ChainId(5)) == {}
    assert await store.account_units(CHAIN, "a") == {USDC: 500, WETH: 2}
    assert await store.account_units(CHAIN, "b") == {}
    assert await store.postings_of(swap.appends[0].correlation_id) == swap.postings
    assert await store.postings_of(new_id()) == ()


async def test_p8_accounts_add_up_to_what_strategies_hold(store: Store) -> None:
    """P8: units move between accounts without any strategy having more or less."""
    await store.commit(funding(USDC, 100))
    await store.commit(booked(moved(USDC, 30, "0x2/0", source="a", target="b"), version=1))
    await store.commit(booked(reserve("momentum", USDC, 50), version=2))
    assert await store.account_units(CHAIN, "a") == {USDC: 70}
    assert await store.account_units(CHAIN, "b") == {USDC: 30}
    assert await store.totals(CHAIN) == {USDC: 100}
    back = withdrawn(moved(USDC, 30, "0x2/0", source="a", target="b"))
    await store.commit(booked(back, version=3))
    assert await store.account_units(CHAIN, "b") == {USDC: 0}


async def test_an_asset_that_is_gone_stays_in_the_totals(store: Store) -> None:
    """P8: what was held once must be checked to be zero."""
    await store.commit(funding(USDC, 5))
    await store.commit(booked(fund(USDC, -5, "0x02/0", "momentum", account="a"), version=1))
    assert await store.totals(CHAIN) == {USDC: 0}
    assert await store.holdings() == ()
    assert await store.has_held("momentum")
    assert not await store.has_held("nosuch")


async def test_amounts_of_any_size_are_exact(store: Store) -> None:
    await store.commit(funding(WETH, MAX_UINT256))
    await store.commit(booked(reserve("momentum", WETH, MAX_UINT256 - 1), version=1))
    assert await store.totals(CHAIN) == {WETH: MAX_UINT256}
    units = {h.bucket: h.units for h in await store.holdings("momentum")}
    assert units[Bucket.RESERVED] == MAX_UINT256 - 1
    assert units[Bucket.FUNDING] == -MAX_UINT256


async def test_p8_a_holding_never_falls_below_zero(store: Store) -> None:
    """P8: and a commit that would do it writes nothing at all."""
    await store.commit(funding(USDC, 100))
    with pytest.raises(InsufficientBalance) as refused:
        await store.commit(booked(reserve("momentum", USDC, 101), account="b"))
    assert refused.value.facts == {
        "strategy_id": "momentum",
        "asset": str(USDC),
        "bucket": "available",
    }
    assert await store.newest() == 1
    assert await store.stream("account/1/b") == ()
    with pytest.raises(InsufficientBalance):
        await store.commit(booked(gas("momentum", CHAIN, 1, "0x1/0", account="b"), account="b"))
    await store.commit(booked(reserve("momentum", USDC, 100), account="b"))


async def test_only_the_end_of_a_commit_counts(store: Store) -> None:
    """Within one commit, units may be given before they came."""
    lines = (*allocate(USDC, 5, "a", "b"), *fund(USDC, 5, "0x1/0", "a", account="a"))
    await store.commit(booked(lines))
    assert await store.totals(CHAIN) == {USDC: 5}


async def test_p9_two_racers_on_one_balance(world: World) -> None:
    """P8, P9: twenty at once, over four processes, want 30 of 100; three get it."""
    stores = [await world.another() for _ in range(4)]
    await world.store.commit(funding(USDC, 100))
    results = await asyncio.gather(
        *(
            stores[n % 4].commit(booked(reserve("momentum", USDC, 30), account=str(n)))
            for n in range(20)
        ),
        return_exceptions=True,
    )
    assert Counter(type(r) for r in results) == {tuple: 3, InsufficientBalance: 17}
    assert await world.store.totals(CHAIN) == {USDC: 100}


async def test_crossing_transfers_do_not_deadlock(world: World) -> None:
    stores = [await world.another() for _ in range(4)]
    await world.store.commit(funding(USDC, 1_000, "a", account="x"))
    await world.store.commit(funding(USDC, 1_000, "b", account="y"))
    pairs = [("a", "b"), ("b", "a")]
    results = await asyncio.gather(
        *(
            stores[n % 4].commit(booked(allocate(USDC, 1, *pairs[n % 2]), account=str(n)))
            for n in range(80)
        )
    )
    assert len(results) == 80
    available = {h.strategy_id: h.units for h in await world.store.holdings() if h.units > 0}
    assert available == {"a": 1_000, "b": 1_000}


OWNERS = st.sampled_from([TREASURY, "a", "b"])
ASSETS = st.sampled_from([USDC, WETH])
UNITS = st.one_of(st.integers(0, 100), st.integers(0, MAX_UINT256))
GROUPS = st.one_of(
    st.builds(
        lambda asset, units, who: fund(asset, units, "0x1/0", who, account="x"),
        ASSETS,
        UNITS,
        OWNERS,
    ),
    st.builds(reserve, OWNERS, ASSETS, UNITS),
    st.builds(release, OWNERS, ASSETS, UNITS),
    st.builds(allocate, ASSETS, UNITS, OWNERS, OWNERS),
    st.builds(
        lambda who, wei: gas(who, CHAIN, wei, "0x1/1", account="x"), OWNERS, st.integers(0, 50)
    ),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(groups=st.lists(st.lists(GROUPS, min_size=1, max_size=3), max_size=8))
def test_p8_both_stores_agree_on_any_history(
    database_url: str, groups: list[list[tuple[Posting, ...]]]
) -> None:
    """P8: whatever is asked, both accept the same, hold the same, and assets add up."""
    asyncio.run(_compare(database_url, groups))


async def _compare(url: str, groups: list[list[tuple[Posting, ...]]]) -> None:
    real = await PostgresWorld(url).open()
    try:
        memory = MemoryStore(ManualClock(NOW))
        before = await _net(real.store)
        prefix = str(new_id())
        for place, parts in enumerate(groups):
            lines = [line for part in parts for line in part]
            fresh = [_renamed(line, prefix) for line in lines]
            outcomes = [
                await _try(store, booked(fresh, account=f"{prefix}{place}"))
                for store in (real.store, memory)
            ]
            assert outcomes[0] == outcomes[1]
        mine = [h for h in await real.store.holdings() if h.strategy_id.startswith(prefix)]
        assert tuple(mine) == await memory.holdings()
        assert all(total == 0 for total in (await _net(real.store)).values())
        assert before.keys() <= (await _net(real.store)).keys()
    finally:
        for store in real.opened:
            await store.close()


async def _net(store: Store) -> dict[Asset, int]:
    sums: dict[Asset, int] = {}
    for holding in await store.holdings():
        sums[holding.asset] = sums.get(holding.asset, 0) + holding.units
    return sums


async def _try(store: Store, commit: Any) -> str:
    try:
        await store.commit(commit)
    except InsufficientBalance as refused:
        return str(refused)
    return "done"


def _renamed(line: Posting, prefix: str) -> Posting:
    """Give each example strategies of its own in the shared database."""
    return Posting(
        strategy_id=f"{prefix}-{line.strategy_id}",
        asset=line.asset,
        bucket=line.bucket,
        delta=line.delta,
        proof=line.proof,
        account=line.account and f"{prefix}-{line.account}",
    )
