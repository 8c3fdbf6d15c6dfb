"""P8: every group of postings balances, and undoing one leaves nothing behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.portfolio.ledger import (
    HOLDINGS,
    Bucket,
    Posting,
    allocate,
    balanced,
    fill,
    fund,
    gas,
    release,
    reserve,
    withdrawn,
)

A, B = (Asset(ChainId(1), "0x" + digit * 40) for digit in "ab")
UNITS = st.integers(1, 2**200)


@given(UNITS, UNITS, UNITS)
def test_p8_every_group_sums_to_zero_per_asset(sold: int, rest: int, bought: int) -> None:
    groups = (
        fund(A, sold, "0x1/0", account="me"),
        fund(A, -sold, "0x1/0", account="me"),
        allocate(A, sold, "treasury", "desk"),
        reserve("desk", A, sold),
        release("desk", A, sold),
        fill(
            "desk",
            sell=A,
            sold=sold,
            reserved=sold + rest,
            buy=B,
            bought=bought,
            proof="0x2/1",
            account="me",
        ),
        gas("desk", ChainId(1), rest, "0x2/1", account="me"),
    )
    for group in groups:
        balanced(group)
        balanced((*group, *withdrawn(group)))
        net: dict[tuple[str, Asset, Bucket], int] = {}
        for line in (*group, *withdrawn(group)):
            key = (line.strategy_id, line.asset, line.bucket)
            net[key] = net.get(key, 0) + line.delta
        assert not any(net.values())


@given(UNITS, UNITS, UNITS)
def test_p8_a_fill_moves_holdings_by_exactly_what_the_chain_moved(
    sold: int, rest: int, bought: int
) -> None:
    lines = fill(
        "desk",
        sell=A,
        sold=sold,
        reserved=sold + rest,
        buy=B,
        bought=bought,
        proof="p",
        account="me",
    )
    held = {A: 0, B: 0}
    for line in lines:
        held[line.asset] += line.delta if line.bucket in HOLDINGS else 0
    assert held == {A: -sold, B: bought}
    reserved = [line.delta for line in lines if line.bucket is Bucket.RESERVED]
    assert sum(reserved) == -(sold + rest)


def test_an_unbalanced_group_is_our_own_bug() -> None:
    with pytest.raises(InvariantBroken, match="do not balance"):
        balanced([Posting(strategy_id="desk", asset=A, bucket=Bucket.AVAILABLE, delta=1)])
