"""Laws of plans: nothing listed is better, and every number follows from the pools."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sep_ray.intent.intent import Side
from sep_ray.routing.cost import CostEstimate
from sep_ray.routing.plan import Plan
from sep_ray.routing.planner import candidates, choose, plan, rows
from sep_ray.routing.pools.pool import Pool, Quote
from sep_ray.routing.pools.v3_math import sqrt_ratio_at_tick
from sep_ray.routing.ranking import TIE_PPM
from sep_ray.routing.reasons import NoRoute
from tests.fixtures.market import A, B, C, D, purchase, sale, snapshot, v2_pool, v3_pool

PAIRS = [(A, B), (A, C), (B, C), (A, D), (B, D), (C, D)]
RESERVES = st.integers(10**15, 10**24)


@st.composite
def markets(draw):
    """One to eight pools of both kinds between four tokens; some request for A and B."""
    pools: list[Pool] = []
    for number in range(draw(st.integers(1, 8))):
        token0, token1 = draw(st.sampled_from(PAIRS))
        place = {"token0": token0, "token1": token1, "address": f"0x{number:040x}"}
        if draw(st.booleans()):
            pools.append(v2_pool(draw(RESERVES), draw(RESERVES), **place))
        else:
            tick = draw(st.integers(-300, 300)) * 60
            width = draw(st.integers(1, 200)) * 60
            position = (tick - width, tick + width, draw(RESERVES))
            price = sqrt_ratio_at_tick(tick + draw(st.integers(-30, 30)))
            pools.append(v3_pool(price=price, positions=[position], **place))
    return snapshot(*pools, native=draw(st.sampled_from([None, A, C])))


REQUESTS = st.builds(
    lambda side, amount, gas, mix: side(amount, gas_price_wei=gas, mix_venues=mix),
    st.sampled_from([sale, purchase]),
    st.integers(1, 10**21),
    st.sampled_from([0, 10**9, 10**11]),
    st.booleans(),
)
ESTIMATES = st.builds(
    CostEstimate,
    gas=st.integers(0, 10**6),
    slippage_ppm=st.integers(0, 50_000),
    inclusion_blocks=st.integers(0, 9),
)


@given(markets(), REQUESTS)
def test_no_listed_candidate_is_better(market, request):
    made, found = plan(market, request), candidates(market, request)
    if isinstance(made, NoRoute) or isinstance(found, NoRoute):
        assert made == found
        return
    sign = 1 if request.side is Side.SELL else -1
    assert sign * made.net == max(sign * item.net for item in found.items)
    assert all(sign * other.net <= sign * made.net for other in made.alternatives)


@given(markets(), REQUESTS, st.data())
def test_whatever_a_model_says_costs_no_more_than_a_tie(market, request, data):
    found = candidates(market, request)
    if isinstance(found, NoRoute):
        return
    count = len(rows(found))
    estimates = data.draw(st.lists(ESTIMATES, min_size=count, max_size=count))
    made, best = choose(found, estimates, request), found.items[0]
    assert isinstance(made, Plan)
    amount = best.route.amount_out if request.side is Side.SELL else best.route.amount_in
    assert abs(best.net - made.net) * 10**6 <= amount * TIE_PPM


@given(markets(), REQUESTS)
def test_a_plan_follows_from_its_pools(market, request):
    made = plan(market, request)
    if isinstance(made, NoRoute):
        return
    hops = made.route.legs[0].path.hops
    pools = {pool.address: pool for pool in market.pools}
    assert (hops[0].token_in, hops[-1].token_out) == (A, B)
    assert (hops[0].amount_in, hops[-1].amount_out) == (made.amount_in, made.amount_out)
    for hop, following in pairwise(hops):
        assert (hop.token_out, hop.amount_out) == (following.token_in, following.amount_in)
    for hop in hops:
        pool = pools[hop.pool]
        if request.side is Side.SELL:
            quote = pool.exact_in(hop.token_in, hop.amount_in)
        else:
            quote = pool.exact_out(hop.token_in, hop.amount_out)
        assert isinstance(quote, Quote)
        assert (quote.amount_in, quote.amount_out) == (hop.amount_in, hop.amount_out)
    if request.side is Side.SELL:
        assert made.amount_in == request.amount
        assert 0 < made.limit <= made.amount_out
    else:
        assert made.amount_out == request.amount
        assert made.limit >= made.amount_in


@given(markets(), st.integers(1, 10**20), st.integers(1, 10**20))
def test_selling_more_gives_no_less_where_the_path_can_carry_it(market, one, more):
    small, large = plan(market, sale(one)), plan(market, sale(one + more))
    if isinstance(small, NoRoute):
        return
    pools = {pool.address: pool for pool in market.pools}
    amount = one + more
    for hop in small.route.legs[0].path.hops:
        quote = pools[hop.pool].exact_in(hop.token_in, amount)
        if isinstance(quote, NoRoute):
            return
        amount = quote.amount_out
    assert isinstance(large, Plan)
    assert large.amount_out >= amount >= small.amount_out
