"""What a plan says, and how near-ties are broken."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from sep_ray.intent.intent import Limit
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import NATIVE
from sep_ray.routing.cost import Conditions, CostEstimate, estimate
from sep_ray.routing.plan import Lost, Plan
from sep_ray.routing.planner import Candidates, candidates, choose, plan, rows
from sep_ray.routing.pools.pool import Quote, Venue
from sep_ray.routing.pools.v3_math import Q96
from sep_ray.routing.prices import mid_price
from sep_ray.routing.reasons import NoRoute, Reason
from tests.fixtures.market import A, B, C, D, asset, purchase, sale, snapshot, v2_pool, v3_pool

E18, E21 = 10**18, 10**21
GWEI = 10**9
DIRECT = v2_pool(E21, E21, address="0x" + "1" * 40)
DEEP = v3_pool(price=Q96, positions=[(-6_000, 6_000, 100 * E21)], fee=500, address="0x" + "3" * 40)
FIRST = v2_pool(E21, E21, token0=A, token1=C, address="0x" + "4" * 40)
SECOND = v2_pool(E21, E21, token0=B, token1=C, address="0x" + "5" * 40)
MARKET = snapshot(DIRECT, FIRST, SECOND, DEEP, native=B)


def planned(answer: Plan | NoRoute) -> Plan:
    assert isinstance(answer, Plan)
    return answer


def found(answer: Candidates | NoRoute) -> Candidates:
    assert isinstance(answer, Candidates)
    return answer


def test_the_path_that_gives_most_is_taken_and_the_others_say_why_not():
    made = planned(plan(MARKET, sale(E18)))
    quote = DEEP.exact_in(A, E18)
    assert isinstance(quote, Quote)
    assert (made.amount_in, made.amount_out) == (E18, quote.amount_out)
    assert [leg.share_ppm for leg in made.route.legs] == [1_000_000]
    assert made.route.legs[0].path.pools == (DEEP.address,)
    assert (made.block_number, made.block_hash) == (MARKET.block_number, MARKET.block_hash)
    assert made.considered == 3
    assert [other.pools for other in made.alternatives] == [
        (DIRECT.address,),
        (FIRST.address, SECOND.address),
    ]
    assert {other.lost for other in made.alternatives} == {Lost.LESS_NET}
    assert (made.estimated_by, made.mid) == ("formula", DEEP.price())


def test_two_hops_are_taken_where_they_give_more():
    thin = v2_pool(10 * E18, 10 * E18, address="0x" + "1" * 40)
    market = snapshot(thin, FIRST, SECOND)
    sold = planned(plan(market, sale(10 * E18)))
    assert sold.route.legs[0].path.pools == (FIRST.address, SECOND.address)
    first, second = sold.route.legs[0].path.hops
    assert (first.token_in, first.token_out, second.token_in, second.token_out) == (A, C, C, B)
    assert first.amount_out == second.amount_in
    bought = planned(plan(market, purchase(sold.amount_out)))
    assert bought.route.legs[0].path.pools == (FIRST.address, SECOND.address)
    assert sold.amount_in - 2 <= bought.amount_in <= sold.amount_in


def test_gas_decides_between_paths():
    """Two hops give a little more; at a high gas price they leave less."""
    weaker = v2_pool(30 * E18, 30 * E18, address="0x" + "1" * 40)
    market = snapshot(weaker, FIRST, SECOND, native=A)
    free = planned(plan(market, sale(E18)))
    dear = planned(plan(market, sale(E18, gas_price_wei=1_000 * GWEI)))
    assert (len(free.route.legs[0].path.hops), len(dear.route.legs[0].path.hops)) == (2, 1)
    assert dear.gas_cost is not None
    assert dear.gas_cost > 0
    drift = -(-dear.amount_out * dear.slippage_ppm // 10**6)
    assert dear.net == dear.amount_out - dear.gas_cost - drift


def test_gas_without_a_price_is_not_counted():
    made = planned(plan(snapshot(DIRECT), sale(E18, gas_price_wei=1_000 * GWEI)))
    assert made.gas_cost is None
    assert made.gas_estimate == 107_000


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (None, lambda made: -(-made.amount_out * 995_000 // 10**6)),
        (
            Limit(numerator=1, denominator=10**9),
            lambda made: -(-made.amount_out * 995_000 // 10**6),
        ),
        (Limit(numerator=999_300, denominator=10**6), lambda made: 999_300 * 10**12),
        (Limit(numerator=1, denominator=3), lambda made: -(-made.amount_out * 995_000 // 10**6)),
    ],
)
def test_the_least_output_is_the_tighter_of_slippage_and_limit_price(price, expected):
    made = planned(plan(MARKET, sale(E18, limit_price=price)))
    assert made.limit == expected(made)
    assert made.limit <= made.amount_out


def test_the_most_input_is_the_tighter_of_slippage_and_limit_price():
    free = planned(plan(MARKET, purchase(E18)))
    assert free.limit == free.amount_in * 1_005_000 // 10**6
    price = Limit(numerator=999, denominator=1_000)
    bound = planned(plan(MARKET, purchase(E18, limit_price=price)))
    assert bound.limit == E18 * 1_000 // 999 < free.limit


def twins() -> Candidates:
    """Two equal V2 pools and one that is 10 bp worse."""
    pools = [v2_pool(E21, E21, address="0x" + digit * 40) for digit in "12"]
    worse = v2_pool(E21, E21, address="0x" + "6" * 40, fee=4_000)
    return found(candidates(snapshot(worse, *pools, native=A), sale(E18)))


def test_a_near_tie_is_broken_by_the_cost_model():
    market = twins()
    dear = CostEstimate(gas=900_000, slippage_ppm=5_000, inclusion_blocks=3)
    cheap = CostEstimate(gas=80_000, slippage_ppm=300, inclusion_blocks=1)
    made = planned(choose(market, [dear, cheap, cheap], sale(E18), estimated_by="model"))
    assert made.route.legs[0].path.pools == ("0x" + "2" * 40,)
    assert [other.lost for other in made.alternatives] == [Lost.TIE_BROKEN, Lost.LESS_NET]
    assert (made.estimated_by, made.slippage_ppm, made.gas_estimate) == ("model", 300, 80_000)
    assert made.net_predicted > made.net


def test_a_cost_model_cannot_choose_what_is_worse_than_a_tie():
    market = twins()
    dear = CostEstimate(gas=900_000, slippage_ppm=50_000, inclusion_blocks=3)
    free = CostEstimate(gas=0, slippage_ppm=0, inclusion_blocks=0)
    made = planned(choose(market, [dear, dear, free], sale(E18)))
    assert made.route.legs[0].path.pools == ("0x" + "1" * 40,)


def test_a_model_is_floored_by_the_formula():
    market = twins()
    free = CostEstimate(gas=-5, slippage_ppm=-5, inclusion_blocks=-5)
    made = planned(choose(market, [free] * 3, sale(E18)))
    formula = estimate(rows(market)[0])
    assert made.gas_estimate == formula.gas // 2
    assert made.slippage_ppm == formula.slippage_ppm // 2
    assert made.inclusion_blocks == 1


def test_as_many_estimates_as_candidates_or_it_is_our_mistake():
    with pytest.raises(InvariantBroken):
        choose(twins(), [], sale(E18))


def test_gas_bounds_hold_for_the_model_too():
    dear = CostEstimate(gas=900_000, slippage_ppm=0, inclusion_blocks=1)
    cheap = CostEstimate(gas=100_000, slippage_ppm=0, inclusion_blocks=1)
    made = planned(choose(twins(), [dear, dear, cheap], sale(E18, max_gas=500_000)))
    assert made.route.legs[0].path.pools == ("0x" + "6" * 40,)
    assert [other.lost for other in made.alternatives] == [Lost.GAS_ABOVE_MAXIMUM] * 2
    none = choose(twins(), [dear] * 3, sale(E18, max_gas=500_000))
    assert none == NoRoute(reason=Reason.GAS_ABOVE_MAXIMUM, detail="3 candidates")


def test_the_scorer_of_plan_gets_the_rows():
    seen = []

    def score(given):
        seen.extend(given)
        return [estimate(row) for row in given]

    made = planned(plan(MARKET, sale(E18), score))
    assert made.estimated_by == "model"
    assert made == replace(planned(plan(MARKET, sale(E18))), estimated_by="model")
    assert seen == list(rows(found(candidates(MARKET, sale(E18)))))


def test_a_row_describes_its_path():
    request = sale(E18, gas_price_wei=20 * GWEI)
    conditions = Conditions(gas_price_ewma_wei=10 * GWEI, delay_blocks=3, block_time_ms=250)
    market = found(candidates(MARKET, request, conditions))
    by_pools = {item.route.pools: item.row for item in market.items}
    direct, deep = by_pools[DIRECT.address,], by_pools[DEEP.address,]
    longer = by_pools[FIRST.address, SECOND.address]
    assert (direct.hops, direct.v2_hops, direct.v3_hops) == (1, 1, 0)
    assert (deep.hops, deep.v2_hops, deep.v3_hops, deep.fee_ppm) == (1, 0, 1, 500)
    assert (longer.hops, longer.v2_hops, longer.fee_ppm) == (2, 2, 6_000)
    assert direct.size_over_depth_ppm == 1_000
    assert 990 < direct.impact_ppm < 1_000
    assert deep.impact_ppm < 10
    assert direct.gas_price_over_ewma_ppm == 2_000_000
    assert direct.gas_price_over_base_ppm == 2_000_000
    assert (direct.delay_blocks, direct.block_time_ms, direct.exact_out) == (3, 250, 0)
    assert direct.volatility_ppm == 57


def test_venues_bound_the_search():
    only = planned(plan(MARKET, sale(E18, venues=frozenset({"uniswap-v2"}))))
    assert {hop.venue for hop in only.route.legs[0].path.hops} == {Venue.UNISWAP_V2}


def test_several_legs_keep_to_the_venues_that_allow_several():
    other = v3_pool(price=Q96, positions=[(-6_000, 6_000, 60 * E21)], address="0x" + "6" * 40)
    market = snapshot(v2_pool(110 * E21, 110 * E21, address="0x" + "1" * 40), DEEP, other)
    wanted = purchase(5 * E21, max_splits=4)
    free = planned(plan(market, wanted))
    assert Venue.UNISWAP_V2 in {hop.venue for hop in free.route.hops}
    assert len(free.route.legs) == 3
    only = planned(plan(market, replace(wanted, split_venues=frozenset({"uniswap-v3"}))))
    assert [hop.venue for hop in only.route.hops] == [Venue.UNISWAP_V3] * 2
    single = planned(plan(market, replace(wanted, max_splits=1)))
    assert free.amount_in < only.amount_in < single.amount_in
    assert only.amount_out == wanted.amount


def test_p13_the_order_of_pools_does_not_decide():
    one = snapshot(DIRECT, FIRST, SECOND, DEEP, native=B)
    other = snapshot(DEEP, SECOND, FIRST, DIRECT, native=B)
    for request in (sale(E18), purchase(E18)):
        assert plan(one, request) == plan(other, request)


def test_a_snapshot_travels():
    arrived = pickle.loads(pickle.dumps(MARKET))
    assert arrived == MARKET
    assert arrived.between(B, A) == MARKET.between(A, B) == (DIRECT, DEEP)
    assert plan(arrived, sale(E18)) == plan(MARKET, sale(E18))


def test_the_deepest_way_gives_the_price():
    shallow = v2_pool(10**6, 3 * 10**6, address="0x" + "7" * 40)
    market = snapshot(shallow, FIRST, SECOND, native=C)
    over_c = mid_price(market, asset(A), asset(B))
    assert over_c == (E21 * E21, E21 * E21)
    assert mid_price(market, asset(C), asset(A)) == (E21, E21)
    assert mid_price(market, asset(A), asset(A)) == (1, 1)
    assert mid_price(market, replace(asset(A), address=NATIVE), asset(A)) == (E21, E21)


def test_a_price_that_cannot_be_told_says_why():
    assert mid_price(MARKET, asset(A), asset("0x" + "e" * 40)) == NoRoute(
        reason=Reason.UNKNOWN_TOKEN, detail=str(asset("0x" + "e" * 40))
    )
    none = mid_price(MARKET, asset(A), asset(D))
    assert isinstance(none, NoRoute)
    assert none.reason is Reason.NO_PATH
    empty = mid_price(snapshot(v2_pool(0, 0)), asset(A), asset(B))
    assert isinstance(empty, NoRoute)
