"""Crossing opposite sales: nothing is made or lost, and nobody would be better off alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from sep_ray.decomposition.step import Step
from sep_ray.engine.netting import LEAST_UNITS, crossings, prorated
from sep_ray.intent.intent import Limit
from sep_ray.routing.pools.pool import Quote
from sep_ray.routing.pools.v2 import V2Pool
from tests.fixtures.market import A, B, asset
from tests.fixtures.records import a_step

X, Y = asset(A), asset(B)
UNITS = st.integers(LEAST_UNITS, 10**24)
SALES = st.lists(st.tuples(st.integers(0, 5), st.booleans(), UNITS), min_size=1, max_size=10)
PRICES = st.tuples(st.integers(1, 10**12), st.integers(1, 10**12))


def sale(number: int, strategy: int, selling_x: bool, units: int) -> Step:
    sell, buy = (X, Y) if selling_x else (Y, X)
    return replace(
        a_step(),
        id=UUID(int=number + 1),
        strategy_id=f"s{strategy}",
        sell=sell,
        buy=buy,
        amount=units,
    )


def steps_of(drawn) -> list[Step]:
    return [sale(number, *each) for number, each in enumerate(drawn)]


def rich(steps):
    return {(s.strategy_id, each): 10**30 for s in steps for each in (X, Y)}


def everybody(steps):
    return {step.strategy_id for step in steps}


@given(SALES, PRICES)
def test_a_crossing_conserves_and_takes_no_more_than_offered(drawn, mid):
    steps = steps_of(drawn)
    for parts in crossings(steps, {(X, Y): mid}, rich(steps), everybody(steps)):
        moved: Counter = Counter()
        for part in parts:
            assert LEAST_UNITS <= part.sold <= part.step.amount
            assert part.bought >= LEAST_UNITS
            moved[part.step.sell] -= part.sold
            moved[part.step.buy] += part.bought
        assert set(moved.values()) == {0}
        for each in (X, Y):
            sold = {p.step.strategy_id for p in parts if p.step.sell == each}
            assert sold
            assert not sold & {p.step.strategy_id for p in parts if p.step.buy == each}


@given(SALES, PRICES)
def test_everybody_gets_the_mid_but_for_two_units(drawn, mid):
    """Pro rata of the crossed sums: no sale's price differs from the mid by more than rounding."""
    steps = steps_of(drawn)
    for parts in crossings(steps, {(X, Y): mid}, rich(steps), everybody(steps)):
        for part in parts:
            n, d = mid if part.step.sell == X else (mid[1], mid[0])
            fair = part.sold * n / d
            slack = 2 + 2 * n / d + 2 * fair / LEAST_UNITS
            assert abs(part.bought - fair) <= slack


@given(SALES, st.integers(10**26, 10**30), st.integers(10**26, 10**30))
def test_neither_side_is_worse_than_alone(drawn, reserve0, reserve1):
    """Against the very pool whose mid is used: its fee alone is more than rounding takes."""
    pool = V2Pool(address="0x" + "2" * 40, token0=A, token1=B, reserve0=reserve0, reserve1=reserve1)
    steps, mid = steps_of(drawn), (reserve1, reserve0)
    for parts in crossings(steps, {(X, Y): mid}, rich(steps), everybody(steps)):
        for part in parts:
            alone = pool.exact_in(part.step.sell.address, part.sold)
            if isinstance(alone, Quote):
                assert part.bought >= alone.amount_out


@given(SALES, PRICES, st.integers(0, 5))
def test_only_the_willing_and_only_what_they_have(drawn, mid, unwilling):
    steps = steps_of(drawn)
    willing = everybody(steps) - {f"s{unwilling}"}
    poor = {(s.strategy_id, each): 3 * LEAST_UNITS for s in steps for each in (X, Y)}
    spent: Counter = Counter()
    for parts in crossings(steps, {(X, Y): mid}, poor, willing):
        for part in parts:
            assert part.step.strategy_id in willing
            spent[part.step.strategy_id, part.step.sell] += part.sold
    assert all(units <= 3 * LEAST_UNITS for units in spent.values())
    assert crossings(steps, {(X, Y): mid}, rich(steps), ()) == []
    assert crossings(steps, {}, rich(steps), willing) == []


def test_a_limit_that_the_mid_does_not_meet_keeps_out():
    one, other = sale(0, 0, True, 10**9), sale(1, 1, False, 10**9)
    (parts,) = crossings([one, other], {(X, Y): (1, 1)}, rich([one, other]), {"s0", "s1"})
    assert {(p.sold, p.bought) for p in parts} == {(10**9, 10**9)}
    bounds = replace(one.constraints, limit=Limit(numerator=11, denominator=10))
    picky = replace(one, constraints=bounds)
    assert crossings([picky, other], {(X, Y): (1, 1)}, rich([one, other]), {"s0", "s1"}) == []


@given(st.integers(0, 10**30), st.lists(st.integers(1, 10**20), min_size=1, max_size=12))
def test_parts_add_up_and_none_passes_its_weight(total, weights):
    parts = prorated(total, weights)
    assert sum(parts) == total
    if total <= sum(weights):
        assert all(part <= weight for part, weight in zip(parts, weights, strict=True))
