"""Laws of the pools: equal to the contract's own steps, and never a gift."""

from __future__ import annotations

import pickle
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from sep_ray.routing.pools.pool import Quote
from sep_ray.routing.pools.ticks import TickMap, word_of
from sep_ray.routing.pools.v2 import MAX_RESERVE, V2Pool
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.pools.v3_math import (
    MAX_SQRT_RATIO,
    MAX_TICK,
    MIN_SQRT_RATIO,
    MIN_TICK,
    sqrt_ratio_at_tick,
    tick_at_sqrt_ratio,
)
from sep_ray.routing.reasons import NoRoute, Reason
from tests.fixtures.market import A, B, v3_pool
from tests.fixtures.v3_reference import swap

TOKENS = st.sampled_from([A, B])
AMOUNTS = st.integers(0, 110).flatmap(lambda bits: st.integers(1, 2 << bits))
FEES = st.sampled_from([100, 500, 3_000, 10_000])
SPACINGS = st.sampled_from([1, 10, 60, 200])


@st.composite
def v3_pools(draw: st.DrawFn, max_liquidity: int = 2**100) -> V3Pool:
    """Up to six positions around a price that may lie exactly on a tick."""
    spacing = draw(SPACINGS)
    reach = min(MAX_TICK // spacing, draw(st.sampled_from([3, 40, 600, 10**6])))
    centre = draw(st.integers(-MAX_TICK // spacing + reach, MAX_TICK // spacing - reach))
    slots = st.integers(centre - reach, centre + reach)
    positions = []
    for _ in range(draw(st.integers(1, 6))):
        lower, upper = sorted(draw(st.tuples(slots, slots).filter(lambda pair: pair[0] != pair[1])))
        positions.append(
            (
                max(lower, -(MAX_TICK // spacing)) * spacing,
                upper * spacing,
                draw(liquidities(max_liquidity)),
            )
        )
    tick = draw(slots) * spacing + draw(st.integers(0, spacing - 1))
    price = sqrt_ratio_at_tick(min(max(tick, MIN_TICK), MAX_TICK - 1))
    price += draw(st.sampled_from([0, 0, 1, price // 10**6]))
    price = min(max(price, MIN_SQRT_RATIO), MAX_SQRT_RATIO - 1)
    return v3_pool(price=price, positions=positions, fee=draw(FEES), spacing=spacing)


def liquidities(most: int) -> st.SearchStrategy[int]:
    return st.integers(1, most.bit_length() - 1).flatmap(lambda bits: st.integers(1, 1 << bits))


@st.composite
def v2_pools(draw: st.DrawFn) -> V2Pool:
    reserve = st.integers(1, 111).flatmap(lambda bits: st.integers(1, 1 << bits))
    fee = draw(st.sampled_from([0, 500, 2_500, 3_000]))
    return V2Pool(
        address="0x" + "2" * 40,
        token0=A,
        token1=B,
        reserve0=draw(reserve),
        reserve1=draw(reserve),
        fee_ppm=fee,
    )


POOLS = st.one_of(v2_pools(), v3_pools(max_liquidity=2**90))


def other(token: str) -> str:
    return B if token == A else A


@given(v3_pools(), TOKENS, AMOUNTS, st.booleans(), st.data())
def test_v3_steps_equal_the_contracts(pool, token, amount, exact_out, data):
    """Amounts, price, tick, liquidity and crossings, to any price limit."""
    downwards = token == A
    low, high = (
        (MIN_SQRT_RATIO + 1, pool.sqrt_price - 1)
        if downwards
        else (pool.sqrt_price + 1, MAX_SQRT_RATIO - 1)
    )
    assume(low <= high)
    limit = data.draw(st.one_of(st.sampled_from([low, high]), st.integers(low, high)), "limit")
    expected = swap(pool, downwards, amount, exact_out, limit)
    quote = pool.swap_to(token, amount, limit, exact_out=exact_out)
    assert isinstance(quote, Quote)
    after = pool.moved(quote)
    assert (quote.amount_in, quote.amount_out) == (expected.amount_in, expected.amount_out)
    assert (after.sqrt_price, after.tick) == (expected.price, expected.tick)
    assert (after.liquidity, quote.ticks_crossed) == (expected.liquidity, expected.crossed)


@given(v3_pools(), TOKENS, st.lists(AMOUNTS, min_size=1, max_size=5), st.booleans())
def test_v3_whole_quotes_equal_the_contracts_or_say_why(pool, token, amounts, exact_out):
    """Asked in any order: what one quote worked out must not change another."""
    limit = MIN_SQRT_RATIO + 1 if token == A else MAX_SQRT_RATIO - 1
    for amount in amounts:
        quote = pool.exact_out(token, amount) if exact_out else pool.exact_in(token, amount)
        expected = swap(pool, token == A, amount, exact_out, limit)
        filled = expected.amount_out if exact_out else expected.amount_in
        if isinstance(quote, Quote):
            assert filled == amount
            assert (quote.amount_in, quote.amount_out) == (expected.amount_in, expected.amount_out)
        elif quote.reason is Reason.AMOUNT_TOO_SMALL:
            assert (expected.amount_out, exact_out) == (0, False)
        else:
            assert quote.reason is Reason.INSUFFICIENT_LIQUIDITY
            assert filled < amount


@given(v3_pools(), TOKENS, AMOUNTS, st.booleans(), st.integers(0, 3), st.integers(0, 3))
def test_v3_with_part_of_the_ticks_answers_the_same_or_not_at_all(
    pool, token, amount, exact_out, below, above
):
    spacing = pool.tick_map.spacing
    word = word_of(pool.tick, spacing)
    words = (word - below, word + above)
    known = tuple(t for t in pool.tick_map.ticks if words[0] <= word_of(t[0], spacing) <= words[1])
    part = replace(pool, tick_map=TickMap(spacing, known, words))
    whole_answer = pool.exact_out(token, amount) if exact_out else pool.exact_in(token, amount)
    part_answer = part.exact_out(token, amount) if exact_out else part.exact_in(token, amount)
    unknown = NoRoute(reason=Reason.OUTSIDE_KNOWN_TICKS)
    assert part_answer in (whole_answer, unknown)


@given(POOLS, TOKENS, AMOUNTS, AMOUNTS)
def test_more_in_is_never_less_out(pool, token, one, more):
    small, large = pool.exact_in(token, one), pool.exact_in(token, one + more)
    if isinstance(small, Quote) and isinstance(large, Quote):
        assert 0 < small.amount_out <= large.amount_out
    assert not (isinstance(large, Quote) and small == NoRoute(reason=Reason.INSUFFICIENT_LIQUIDITY))


@given(POOLS, TOKENS, AMOUNTS, AMOUNTS)
def test_more_out_is_never_less_in(pool, token, one, more):
    small, large = pool.exact_out(token, one), pool.exact_out(token, one + more)
    if isinstance(large, Quote):
        assert isinstance(small, Quote)
        assert 0 < small.amount_in <= large.amount_in


@given(POOLS, TOKENS, AMOUNTS)
def test_there_and_back_never_profits(pool, token, amount):
    there = pool.exact_in(token, amount)
    assume(isinstance(there, Quote))
    back = pool.moved(there).exact_in(other(token), there.amount_out)
    assert isinstance(back, NoRoute) or back.amount_out <= amount


def is_fine_grained(pool, quote):
    """Whether the last bit of a V3 price moves less than one unit of either token."""
    if isinstance(pool, V2Pool):
        return True
    liquidity = sum(abs(net) for _, net in pool.tick_map.ticks)
    price = min(pool.sqrt_price, pool.moved(quote).sqrt_price)
    return liquidity < 2**96 and liquidity << 96 < price**2


@given(POOLS, TOKENS, AMOUNTS)
def test_exact_out_inverts_exact_in(pool, token, amount):
    """One unit less than an input gives costs no more than that input (and a unit's rounding).

    The last unit may cost more: an output that uses up a step's whole units is charged the step.
    What is asked for exactly comes out again, but for a unit, when its price is sold.
    """
    sold = pool.exact_in(token, amount)
    assume(isinstance(sold, Quote) and is_fine_grained(pool, sold))
    less = pool.exact_out(token, sold.amount_out - 1)
    if sold.amount_out > 1:
        assert isinstance(less, Quote)
        assert less.amount_in <= amount + 2
    bought = pool.exact_out(token, sold.amount_out)
    assert isinstance(bought, Quote)
    assert isinstance(pool, V3Pool) or bought.amount_in <= amount + 1
    again = pool.exact_in(token, bought.amount_in)
    again_out = again.amount_out if isinstance(again, Quote) else 0
    assert again_out >= sold.amount_out - 1


@given(POOLS, TOKENS, AMOUNTS)
def test_a_swap_in_two_parts_never_gives_more(pool, token, amount):
    """Rounding and fees favour the pool at every swap: more than a unit better is a mistake."""
    assume(amount > 1)
    whole = pool.exact_in(token, amount)
    first = pool.exact_in(token, amount // 2)
    assume(isinstance(whole, Quote) and isinstance(first, Quote))
    second = pool.moved(first).exact_in(token, amount - amount // 2)
    parts = first.amount_out + (second.amount_out if isinstance(second, Quote) else 0)
    assert parts <= whole.amount_out + 1


@given(POOLS, TOKENS, AMOUNTS)
def test_a_pool_travels_without_its_memory(pool, token, amount):
    answer = pool.exact_in(token, amount)
    arrived = pickle.loads(pickle.dumps(pool))
    assert arrived == pool
    assert hash(arrived) == hash(pool)
    assert arrived.exact_in(token, amount) == answer


@given(v2_pools(), TOKENS, AMOUNTS)
def test_v2_keeps_its_product(pool, token, amount):
    """The pair's own check: reserves less the fee on the input never multiply to less."""
    quote = pool.exact_in(token, amount)
    assume(isinstance(quote, Quote))
    after = pool.moved(quote)
    assert max(after.reserve0, after.reserve1) <= MAX_RESERVE
    charged = pool.fee_ppm * quote.amount_in
    r0, r1 = after.reserve0 * 10**6, after.reserve1 * 10**6
    r0, r1 = (r0 - charged, r1) if token == A else (r0, r1 - charged)
    assert r0 * r1 >= pool.reserve0 * pool.reserve1 * 10**12


@given(st.integers(MIN_TICK, MAX_TICK - 1), st.integers(0, 10**40))
def test_a_tick_and_its_price_agree(tick, above):
    low, high = sqrt_ratio_at_tick(tick), sqrt_ratio_at_tick(tick + 1)
    assert low < high
    assert tick_at_sqrt_ratio(low + above % (high - low)) == tick
