"""Laws of split routes: exact, never worse than one path, never above the bound."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.markets import market as seeded
from sep_ray.intent.intent import Side
from sep_ray.routing import paths
from sep_ray.routing.plan import Plan, RouteRequest
from sep_ray.routing.planner import candidates, plan
from sep_ray.routing.pools.pool import Pool, Quote
from sep_ray.routing.pools.v3_math import sqrt_ratio_at_tick
from sep_ray.routing.pools.v4 import V4Pool
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot
from tests.fixtures.market import A, B, C, D, purchase, sale, snapshot, v2_pool, v3_pool

PAIRS = [(A, B), (A, C), (B, C), (A, D), (B, D), (C, D)]
RESERVES = st.integers(10**15, 10**24)


@st.composite
def markets(draw):
    """Two to ten pools of all kinds between four tokens, at prices that may disagree wildly."""
    pools: list[Pool] = []
    wild = draw(st.sampled_from([0, 40, 6_000]))
    for number in range(draw(st.integers(2, 10))):
        token0, token1 = draw(st.sampled_from(PAIRS))
        place = {"token0": token0, "token1": token1, "address": f"0x{number:040x}"}
        if draw(st.booleans()):
            reserve = draw(RESERVES)
            skew = 10_000 + draw(st.integers(-wild, wild))
            pools.append(v2_pool(reserve, reserve * skew // 10_000, **place))
            continue
        tick = draw(st.integers(-wild, wild)) // 60 * 60
        width = draw(st.integers(1, 200)) * 60
        positions = [(tick - width, tick + width, draw(RESERVES)), (-6_000, 6_000, draw(RESERVES))]
        price = sqrt_ratio_at_tick(tick + draw(st.integers(-30, 30)))
        pool = v3_pool(price=price, positions=positions, **place)
        pools.append(as_v4(pool) if draw(st.booleans()) else pool)
    return snapshot(*pools)


def as_v4(pool):
    given = ("address", "token0", "token1", "fee_ppm", "sqrt_price", "tick", "liquidity")
    return V4Pool(**{name: getattr(pool, name) for name in given}, tick_map=pool.tick_map)


REQUESTS = st.builds(
    lambda side, amount, splits, hops: side(
        amount, max_splits=splits, max_hops=hops, mix_venues=True
    ),
    st.sampled_from([sale, purchase]),
    st.integers(0, 22).flatmap(lambda digits: st.integers(1, 10**digits)),
    st.sampled_from([1, 2, 3, 8]),
    st.integers(1, 4),
)


def every_path(market: Snapshot, hops: int, token: str = A, met: tuple[str, ...] = ()):
    """Yield all ways from `token` to B that meet no token twice, as pools."""
    for pool in market.pools:
        if token not in (pool.token0, pool.token1):
            continue
        other = pool.token1 if token == pool.token0 else pool.token0
        if other == B:
            yield (pool,)
        elif other not in (*met, A) and hops > 1:
            for rest in every_path(market, hops - 1, other, (*met, other)):
                yield (pool, *rest)


def run(pools, token: str, amount: int) -> int:
    """Sell through pools one after the other; 0 where that cannot be quoted."""
    for pool in pools:
        quote = pool.exact_in(token, amount)
        if isinstance(quote, NoRoute):
            return 0
        token = pool.token1 if token == pool.token0 else pool.token0
        amount = quote.amount_out
    return amount


@given(markets(), st.integers(1, 21).flatmap(lambda digits: st.integers(1, 10**digits)))
def test_no_route_exceeds_the_bound(market, amount):
    """Whatever path, alone or two at a time on what the first leaves, in either order."""
    found = candidates(market, sale(amount, max_hops=4, mix_venues=True))
    if isinstance(found, NoRoute):
        return
    bound = found.bound(amount)
    assert bound is not None
    ways = list(every_path(market, 4))[:40]
    assert all(run(way, A, amount) <= bound for way in ways)
    half = amount // 2
    for first, second in [*pairwise(ways), *pairwise(reversed(ways))]:
        pools = {pool.address: pool for pool in market.pools}
        got = [executed(pools, first, half), executed(pools, second, amount - half)]
        assert sum(got) <= bound


def executed(pools: dict[str, Pool], way, amount: int) -> int:
    """Sell along a way and leave the pools as it leaves them; 0 where that cannot be quoted."""
    token, changed = A, dict(pools)
    for step in way:
        pool = changed[step.address]
        quote = pool.exact_in(token, amount)
        if isinstance(quote, NoRoute):
            return 0
        changed[step.address] = pool.moved(quote)
        token = pool.token1 if token == pool.token0 else pool.token0
        amount = quote.amount_out
    pools.update(changed)
    return amount


@given(markets(), REQUESTS)
def test_legs_add_up_and_run_in_order_to_the_unit(market, request):
    made = plan(market, request)
    if isinstance(made, NoRoute):
        return
    legs = made.route.legs
    assert 1 <= len(legs) <= max(request.max_splits, 1)
    assert sum(leg.share_ppm for leg in legs) == 10**6
    assert sum(leg.path.amount_in for leg in legs) == made.amount_in > 0
    assert sum(leg.path.amount_out for leg in legs) == made.amount_out > 0
    assert request.amount == (made.amount_in if request.side is Side.SELL else made.amount_out)
    assert made.bound is not None
    assert made.amount_out <= made.bound
    assert sum(made.leg_limits) == made.limit
    replay(market, made)


def replay(market: Snapshot, made: Plan) -> None:
    pools = {pool.address: pool for pool in market.pools}
    selling = made.side is Side.SELL
    for leg in made.route.legs:
        hops = leg.path.hops
        assert (hops[0].token_in, hops[-1].token_out) == (A, B)
        assert len({hop.token_in for hop in hops}) == len(hops)
        for hop in hops if selling else reversed(hops):
            pool = pools[hop.pool]
            ask = pool.exact_in if selling else pool.exact_out
            quote = ask(hop.token_in, hop.amount_in if selling else hop.amount_out)
            assert isinstance(quote, Quote)
            assert (quote.amount_in, quote.amount_out) == (hop.amount_in, hop.amount_out)
            pools[hop.pool] = pool.moved(quote)
        for hop, following in pairwise(hops):
            assert (hop.token_out, hop.amount_out) == (following.token_in, following.amount_in)


@given(markets(), REQUESTS)
def test_a_split_never_loses_against_one_path(market, request):
    split = plan(market, request)
    single = plan(market, sale(request.amount, max_hops=request.max_hops, mix_venues=True))
    if request.side is Side.BUY or isinstance(single, NoRoute):
        return
    assert isinstance(split, Plan)
    best = max(run(way, A, request.amount) for way in every_path(market, request.max_hops))
    assert split.amount_out >= single.amount_out == best


@given(markets(), REQUESTS, st.booleans())
def test_pruning_never_loses_the_best_path(market, request, everything):
    """The search that keeps only the best way to each token, against looking at every path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "FEW", 10**9 if everything else 0)
        asked = sale(request.amount, max_hops=request.max_hops, mix_venues=True)
        pruned = plan(market, asked)
    best = max((run(way, A, asked.amount) for way in every_path(market, asked.max_hops)), default=0)
    got = 0 if isinstance(pruned, NoRoute) else pruned.amount_out
    assert best - best // 10**9 - 1 <= got <= best


@given(markets(), st.integers(10**6, 10**20), st.integers(10**6, 10**20))
def test_two_sales_give_no_more_than_the_bound_of_one(market, one, other):
    pools = {pool.address: pool for pool in market.pools}
    whole = plan(market, sale(one + other, max_splits=8, max_hops=4, mix_venues=True))
    first = plan(market, sale(one, max_splits=8, max_hops=4, mix_venues=True))
    if isinstance(whole, NoRoute) or isinstance(first, NoRoute):
        return
    for leg in first.route.legs:
        for hop in leg.path.hops:
            quote = pools[hop.pool].exact_in(hop.token_in, hop.amount_in)
            assert isinstance(quote, Quote)
            pools[hop.pool] = pools[hop.pool].moved(quote)
    left = snapshot(*pools.values())
    second = plan(left, sale(other, max_splits=8, max_hops=4, mix_venues=True))
    got = first.amount_out + (0 if isinstance(second, NoRoute) else second.amount_out)
    assert whole.bound is not None
    assert got <= whole.bound


def requests(market: Snapshot, seed: int, sides=(sale, purchase)) -> list[RouteRequest]:
    """Return requests of 0.001 % to 1 % of the depth between the first two tokens."""
    sold, bought = (token.asset.address for token in market.tokens[:2])
    found = []
    for number, ppm in enumerate((10, 100, 1_000, 10_000)):
        side = sides[(seed + number) % len(sides)]
        token = sold if side is sale else bought
        depth = max(pool.depth(token) for pool in market.between(sold, bought))
        found.append(
            side(depth * ppm // 10**6, sold, bought, max_splits=16, max_hops=4, mix_venues=True)
        )
    return found


def test_plans_are_near_the_bound_where_prices_agree():
    gaps = []
    for seed in range(12):
        market = seeded(40, seed)
        for request in requests(market, seed):
            made = plan(market, request)
            assert isinstance(made, Plan)
            assert made.gap_ppm is not None
            gaps.append(made.gap_ppm)
    gaps.sort()
    assert gaps[len(gaps) // 2] <= 100
    assert gaps[len(gaps) * 9 // 10] <= 500


def test_selling_more_gives_more():
    for seed in range(6):
        market = seeded(40, seed)
        made = [plan(market, request) for request in requests(market, seed, sides=(sale,))]
        amounts = [each.amount_out for each in made if isinstance(each, Plan)]
        assert len(amounts) == 4
        assert all(small < large for small, large in pairwise(amounts))


def test_p13_the_order_of_pools_does_not_decide_a_split():
    market = seeded(40, 3)
    turned = replace(market, pools=market.pools[::-1])
    for request in requests(market, 0):
        known = plan(market, request)
        assert isinstance(known, Plan)
        assert plan(turned, request) == known
