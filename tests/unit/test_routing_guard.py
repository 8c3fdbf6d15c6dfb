"""The price guard: a plan is held against prices it does not rest on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sep_ray.engine.drafting import REASONS
from sep_ray.engine.planning import Planner, WorkingMarket
from sep_ray.execution.plan_text import plan_text
from sep_ray.intent.intent import Side
from sep_ray.intent.states import Reason as End
from sep_ray.routing.guard import OTHER_POOLS, TIME_WEIGHTED, guarded
from sep_ray.routing.plan import Plan
from sep_ray.routing.planner import plan
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.reasons import NoRoute, Reason
from tests.fixtures.market import A, B, C, sale, snapshot, v2_pool, v3_pool

Q96 = 1 << 96
DEEP = 10**24


def even(address: str) -> V3Pool:
    """A V3 pool at a price of one."""
    return v3_pool(
        price=Q96, fee=500, spacing=10, positions=[(-6_000, 6_000, DEEP)], address=address
    )


V3, V2 = "0x" + "3" * 40, "0x" + "2" * 40


def made(market, side=Side.SELL, amount=10**18):
    found = plan(market, sale(amount, side=side))
    assert isinstance(found, Plan)
    return found


@pytest.mark.parametrize("side", list(Side))
def test_a_plan_near_the_time_weighted_mean_passes_and_says_so(side):
    market = replace(snapshot(even(V3)), means=((V3, 40),))
    checked = guarded(made(market, side), market, 10_000)
    assert isinstance(checked, Plan)
    source, (numerator, denominator), off_ppm = checked.reference
    assert source == TIME_WEIGHTED
    assert numerator / denominator == pytest.approx(1.0001**40)
    assert off_ppm == pytest.approx(-4_500, abs=20)
    assert f'"source":"{TIME_WEIGHTED}"' in plan_text(checked)


@pytest.mark.parametrize("mean", [400, -400])
def test_a_price_that_has_just_been_moved_is_refused_both_ways(mean):
    market = replace(snapshot(even(V3)), means=((V3, mean),))
    refused = guarded(made(market), market, 20_000)
    assert isinstance(refused, NoRoute)
    assert refused.reason is Reason.PRICE_GUARD
    assert TIME_WEIGHTED in refused.detail
    assert "allowed 20000" in refused.detail
    assert REASONS[refused.reason] is End.PRICE_GUARD


def test_without_a_mean_other_pools_speak():
    market = snapshot(even(V3), v2_pool(10**21, 11 * 10**20, address=V2))
    chosen = made(market)
    assert chosen.route.pools == (V2,)
    checked = guarded(chosen, market, 120_000)
    assert isinstance(checked, Plan)
    assert checked.reference is not None
    assert checked.reference[0] == OTHER_POOLS
    assert isinstance(guarded(chosen, market, 50_000), NoRoute)


def test_a_reference_may_lead_over_another_token():
    far = v2_pool(10**22, 10**22, token0=A, token1=C, address="0x" + "4" * 40)
    near = v2_pool(10**22, 10**22, token0=B, token1=C, address="0x" + "5" * 40)
    market = snapshot(even(V3), far, near)
    checked = guarded(made(market), market, 10_000)
    assert isinstance(checked, Plan)
    assert checked.reference is not None


def test_no_reference_and_no_tolerance_let_a_plan_pass():
    market = snapshot(even(V3))
    only = made(market)
    assert guarded(only, market, 1) == only
    assert guarded(only, replace(market, means=((V3, 5_000),)), None) == only


async def test_the_planner_guards_what_it_chose():
    market = replace(snapshot(even(V3)), means=((V3, 400),))
    asked = sale(10**18)
    for tolerance, passes in ((20_000, False), (60_000, True), (None, True)):
        planner = Planner(None, 12_000, tolerance)
        (options,) = await planner.options(market, [asked])
        assert isinstance(planner.decide(options, WorkingMarket(market)), Plan) is passes
