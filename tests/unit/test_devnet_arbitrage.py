"""Sizing a swap so that a pool ends at a price."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sep_ray.devnet.arbitrage import Ratio, pull, sqrt_price_x96, v2_amount_in
from sep_ray.routing.pools.pool import Quote
from sep_ray.routing.pools.v2 import V2Pool

RESERVES = st.integers(10**9, 10**26)


@given(reserve0=RESERVES, reserve1=RESERVES, percent=st.integers(50, 99))
def test_a_v2_swap_of_the_size_ends_at_the_price(
    reserve0: int, reserve1: int, percent: int
) -> None:
    stop = Ratio(reserve1 * percent, reserve0 * 100)
    amount = v2_amount_in(reserve0, reserve1, stop, 3_000)
    kept = amount * 997
    after0, after1 = reserve0 + amount, reserve1 - kept * reserve1 // (reserve0 * 1_000 + kept)
    # within a millionth, and within what one unit of either reserve moves the price
    slack = 10**6 * (1 + 10**6 // min(after0, after1)) + 10**12 // 10**6
    distance = abs(after1 * stop.denominator - stop.numerator * after0)
    assert distance * 10**12 <= stop.numerator * after0 * slack


@given(reserve0=RESERVES, reserve1=RESERVES, percent=st.integers(101, 200))
def test_a_price_that_needs_no_sale_needs_none(reserve0: int, reserve1: int, percent: int) -> None:
    stop = Ratio(reserve1 * percent, reserve0 * 100)
    assert v2_amount_in(reserve0, reserve1, stop, 3_000) == 0


@given(
    pool=st.integers(1, 10**30),
    fair=st.integers(1, 10**30),
    band=st.sampled_from([0, 100, 500, 3_000, 10_000]),
)
def test_a_pull_goes_towards_the_fair_price_and_stops_short_of_it(
    pool: int, fair: int, band: int
) -> None:
    here, there = Ratio(pool, 10**15), Ratio(fair, 10**15)
    wanted = pull(here, there, band)
    if wanted is None:
        return
    assert wanted.sells_token0 == here.above(there)
    if wanted.sells_token0:
        assert here.above(wanted.stop)
        assert not there.above(wanted.stop)
    else:
        assert wanted.stop.above(here)
        assert not wanted.stop.above(there)
    assert pull(wanted.stop, there, band) is None


def test_an_arbitrageur_gains_at_the_edge_and_not_beyond_it() -> None:
    pool = V2Pool(
        address="0x" + "1" * 40,
        token0="0x" + "a" * 40,
        token1="0x" + "b" * 40,
        reserve0=10**24,
        reserve1=3_100 * 10**24,
    )
    fair = Ratio(3_000, 1)
    wanted = pull(Ratio(pool.reserve1, pool.reserve0), fair, 3_000)
    assert wanted is not None
    amount = v2_amount_in(pool.reserve0, pool.reserve1, wanted.stop, 3_000)

    def gain(units: int) -> int:
        quote = pool.exact_in(pool.token0, units)
        assert isinstance(quote, Quote)
        return quote.amount_out - 3_000 * units

    assert gain(amount) > 0
    assert gain(amount) >= gain(amount * 101 // 100)
    assert gain(amount) >= gain(amount * 99 // 100)


def test_square_roots_are_as_the_pool_writes_them() -> None:
    assert sqrt_price_x96(Ratio(1, 1)) == 2**96
    assert sqrt_price_x96(Ratio(4, 1)) == 2**97
