"""Every way there can be no plan is an answer with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sep_ray.intent.intent import Limit
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import NATIVE, Asset, ChainId
from sep_ray.routing.planner import plan
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.pools.v3_math import Q96
from sep_ray.routing.reasons import NoRoute, Reason
from tests.fixtures.market import (
    NOW_S,
    A,
    B,
    C,
    D,
    purchase,
    sale,
    snapshot,
    v2_pool,
    v3_pool,
)

PAIR = v2_pool(10**20, 10**20)
NARROW = v3_pool(price=Q96, positions=[(-600, 600, 10**20)], words=(-1, 0))
E20 = 10**20


def reason(answer: object) -> Reason:
    assert isinstance(answer, NoRoute)
    assert not answer
    return answer.reason


@pytest.mark.parametrize(
    ("market", "request_", "expected"),
    [
        ([PAIR], sale(1, sell="0x" + "e" * 40), Reason.UNKNOWN_TOKEN),
        ([PAIR], sale(1, buy="0x" + "e" * 40), Reason.UNKNOWN_TOKEN),
        ([PAIR], sale(1, sell=NATIVE), Reason.UNKNOWN_TOKEN),
        ([PAIR], sale(1, buy=A), Reason.SAME_TOKEN),
        ([PAIR], sale(E20, buy=C), Reason.NO_PATH),
        ([], sale(E20), Reason.NO_PATH),
        ([PAIR], sale(E20, venues=frozenset({"uniswap-v3"})), Reason.NO_PATH),
        ([PAIR], sale(0), Reason.AMOUNT_TOO_SMALL),
        ([PAIR], sale(-1), Reason.AMOUNT_TOO_SMALL),
        ([PAIR], sale(1), Reason.AMOUNT_TOO_SMALL),
        ([NARROW], sale(1), Reason.AMOUNT_TOO_SMALL),
        ([PAIR], sale(2**112), Reason.AMOUNT_TOO_LARGE),
        ([NARROW], sale(2**255), Reason.AMOUNT_TOO_LARGE),
        ([NARROW], purchase(2**255), Reason.AMOUNT_TOO_LARGE),
        ([PAIR], purchase(E20), Reason.INSUFFICIENT_LIQUIDITY),
        ([v2_pool(0, 0)], sale(E20), Reason.INSUFFICIENT_LIQUIDITY),
        ([v2_pool(0, 0)], purchase(1), Reason.INSUFFICIENT_LIQUIDITY),
        ([NARROW], sale(E20), Reason.OUTSIDE_KNOWN_TICKS),
        ([NARROW, v2_pool(0, 0)], sale(E20), Reason.OUTSIDE_KNOWN_TICKS),
        ([PAIR], sale(E20, limit_price=Limit(numerator=1, denominator=1)), Reason.BELOW_LIMIT),
        (
            [PAIR],
            purchase(10**19, limit_price=Limit(numerator=1, denominator=1)),
            Reason.BELOW_LIMIT,
        ),
        ([PAIR], sale(E20, max_gas=100_000), Reason.GAS_ABOVE_MAXIMUM),
        ([PAIR], sale(E20, deadline_s=NOW_S), Reason.DEADLINE_PASSED),
    ],
)
def test_no_route_says_why(market, request_, expected):
    assert reason(plan(snapshot(*market), request_)) is expected


def test_an_asset_of_another_chain_is_unknown():
    elsewhere = replace(sale(E20), sell=Asset(ChainId(42161), A))
    assert reason(plan(snapshot(PAIR), elsewhere)) is Reason.UNKNOWN_TOKEN


def test_families_of_pools_are_mixed_only_where_that_is_allowed():
    mixed: list[Pool] = [
        v2_pool(E20, E20),
        v3_pool(price=Q96, positions=[(-600, 600, E20)], token0=B, token1=C),
    ]
    market = snapshot(*mixed)
    for side in (sale, purchase):
        assert reason(plan(market, side(10**18, buy=C))) is Reason.NO_PATH
        assert plan(market, side(10**18, buy=C, mix_venues=True))


def test_a_hub_that_is_not_allowed_is_not_used():
    market = snapshot(
        v2_pool(E20, E20), v2_pool(E20, E20, token0=B, token1=C, address="0x" + "4" * 40)
    )
    assert plan(market, sale(10**18, buy=C))
    assert plan(market, sale(10**18, buy=C, hubs=frozenset({B})))
    assert reason(plan(market, sale(10**18, buy=C, hubs=frozenset({D})))) is Reason.NO_PATH


def test_ticks_that_contradict_the_liquidity_are_never_quoted():
    torn = V3Pool(
        address="0x" + "3" * 40,
        token0=A,
        token1=B,
        fee_ppm=3_000,
        sqrt_price=Q96,
        tick=0,
        liquidity=10,
        tick_map=TickMap(60, ((-60, 10**18), (60, -(10**18)))),
    )
    for side in (sale, purchase):
        assert reason(plan(snapshot(torn), side(10**18))) is Reason.POOL_INCONSISTENT


@pytest.mark.parametrize(("token", "limit"), [(A, Q96), (A, 1), (B, Q96), (B, 2**160)])
def test_a_price_limit_behind_the_price_is_refused(token, limit):
    assert reason(NARROW.swap_to(token, 1, limit)) is Reason.PRICE_LIMIT


@pytest.mark.parametrize(
    "build",
    [
        lambda: v2_pool(-1, 1),
        lambda: v2_pool(1, 2**112),
        lambda: v2_pool(1, 1, fee=1_000_000),
        lambda: v2_pool(1, 1, token0=B, token1=A),
        lambda: v3_pool(price=Q96, positions=[], token0=B, token1=B),
        lambda: v3_pool(price=Q96, positions=[], fee=1_000_000),
        lambda: v3_pool(price=Q96, positions=[(-60, 60, 2**128)]),
        lambda: replace(NARROW, tick=1),
        lambda: replace(NARROW, sqrt_price=1),
        lambda: replace(NARROW, tick=900_000),
        lambda: TickMap(0),
        lambda: TickMap(60, ((60, 1), (-60, 1))),
        lambda: TickMap(60, ((61, 1),)),
        lambda: TickMap(1, ((900_000, 1),)),
    ],
)
def test_a_malformed_pool_is_rejected_where_it_is_built(build):
    with pytest.raises(Rejected):
        build()
