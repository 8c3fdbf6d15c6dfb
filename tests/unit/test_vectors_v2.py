"""Published V2 amounts and base fees, reproduced exactly."""

from __future__ import annotations

from sep_ray.routing.gas import next_base_fee
from sep_ray.routing.pools.pool import Quote
from sep_ray.routing.pools.v2 import V2Pool
from tests.fixtures.market import A, B
from tests.fixtures.vectors import vectors


def _pair(reserve0: str, reserve1: str) -> V2Pool:
    return V2Pool(
        address="0x" + "2" * 40,
        token0=A,
        token1=B,
        reserve0=int(reserve0),
        reserve1=int(reserve1),
    )


def test_pair_amounts() -> None:
    """The official suite's amounts, in both directions of the pair."""
    for case in vectors("univ2_pair.json")["cases"]:
        amount, out = int(case["amountIn"]), int(case["amountOut"])
        forward = _pair(case["reserveIn"], case["reserveOut"]).exact_in(A, amount)
        backward = _pair(case["reserveOut"], case["reserveIn"]).exact_in(B, amount)
        assert isinstance(forward, Quote)
        assert isinstance(backward, Quote)
        assert forward.amount_out == backward.amount_out == out


def test_next_base_fee() -> None:
    cases = vectors("eip1559_basefee.json")["ethereum"]
    assert cases
    for case in cases:
        fee = next_base_fee(case["parentBaseFee"], case["gasUsed"], case["gasLimit"])
        assert fee == case["expected"]
