"""Published V3 swaps, reproduced to the last unit."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

import pytest

from sep_ray.routing.pools.pool import Quote
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.pools.v3_math import MAX_SQRT_RATIO, MIN_SQRT_RATIO
from sep_ray.routing.reasons import NoRoute, Reason
from tests.fixtures.market import A, B, v3_pool
from tests.fixtures.vectors import vectors

POOL_SWAPS = "univ3_core_pool_swaps.json"
POOL_SWAP_CASES = 96
UNBOUNDED = 2**255 - 1
"""What the suite swaps with when a case gives only a price."""


def _pool(spec: dict[str, Any]) -> V3Pool:
    return v3_pool(
        price=int(spec["sqrtPriceX96"]),
        fee=spec["fee"],
        spacing=spec["tickSpacing"],
        positions=[
            (p["tickLower"], p["tickUpper"], int(p["liquidity"])) for p in spec["positions"]
        ],
    )


def _swap(pool: V3Pool, case: dict[str, Any]) -> Quote | NoRoute:
    limit = case["sqrtPriceLimitX96"]
    if limit is None:
        limit = MIN_SQRT_RATIO + 1 if case["zeroForOne"] else MAX_SQRT_RATIO - 1
    amount = UNBOUNDED if case["amountSpecified"] is None else int(case["amountSpecified"])
    token_in = A if case["zeroForOne"] else B
    return pool.swap_to(token_in, abs(amount), int(limit), exact_out=amount < 0)


def _price(pool: V3Pool) -> Decimal:
    """Five significant digits, as the snapshots print prices."""
    return Context(prec=5).divide(Decimal(pool.price()[0]), Decimal(pool.price()[1]))


def test_every_case_is_here() -> None:
    assert len(vectors(POOL_SWAPS)["cases"]) == POOL_SWAP_CASES


@pytest.mark.parametrize("number", range(POOL_SWAP_CASES))
def test_core_pool_swap(number: int) -> None:
    """The official suite's pool swaps: deltas, tick and price after; SPL reverts as a reason."""
    document = vectors(POOL_SWAPS)
    case = document["cases"][number]
    expected = case["expected"]
    pool = _pool(document["pools"][case["pool"]])
    quote = _swap(pool, case)
    if "swapError" in expected:
        assert expected["swapError"].endswith("SPL")
        assert quote == NoRoute(reason=Reason.PRICE_LIMIT)
        return
    assert isinstance(quote, Quote)
    deltas = (quote.amount_in, -quote.amount_out)
    if not case["zeroForOne"]:
        deltas = deltas[::-1]
    assert deltas == (int(expected["amount0Delta"]), int(expected["amount1Delta"]))
    after = pool.moved(quote)
    assert (pool.tick, after.tick) == (int(expected["tickBefore"]), int(expected["tickAfter"]))
    assert _price(after) == Decimal(expected["poolPriceAfter"])


def test_core_pool_swaps_without_limit_are_all_or_nothing() -> None:
    """Where a case has no price limit, the plain quotes give the same amounts."""
    document = vectors(POOL_SWAPS)
    cases = [case for case in document["cases"] if case["sqrtPriceLimitX96"] is None]
    assert len(cases) == POOL_SWAP_CASES // 2
    for case in cases:
        pool = _pool(document["pools"][case["pool"]])
        amount, token_in = int(case["amountSpecified"]), A if case["zeroForOne"] else B
        plain = pool.exact_out(token_in, -amount) if amount < 0 else pool.exact_in(token_in, amount)
        limited = _swap(pool, case)
        assert isinstance(limited, Quote)
        filled = limited.amount_out == -amount if amount < 0 else limited.amount_in == amount
        assert plain == (limited if filled else NoRoute(reason=Reason.INSUFFICIENT_LIQUIDITY))


def test_book_milestone() -> None:
    """The Uniswap V3 book's first swap; the book rounds the output as the contract does."""
    book = vectors("uniswapv3book_milestone1.json")
    spec, swap = book["pool"], book["swap"]
    position = (spec["lowerTick"], spec["upperTick"], int(spec["liquidity"]))
    pool = v3_pool(
        price=int(spec["sqrtPriceX96"]), fee=spec["fee"], spacing=1, positions=[position]
    )
    assert pool.tick == spec["tick"]
    quote = pool.exact_in(B, int(swap["in1"]))
    assert isinstance(quote, Quote)
    assert quote.amount_out == int(swap["out0"])
    after = pool.moved(quote)
    assert (after.sqrt_price, after.tick) == (int(swap["sqrtPriceAfter"]), swap["tickAfter"])
