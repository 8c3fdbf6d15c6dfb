"""Routing against the real contracts: what is quoted is what the chain gives, to the unit."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from bench.oracle import Tally, ask, chain_read, quote_of, random_swaps
from bench.oracle_plans import random_request
from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, Ppm
from sep_ray.routing.plan import Plan, RouteRequest
from sep_ray.routing.planner import plan
from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.prices import mid_price
from sep_ray.routing.reasons import NoRoute, Reason
from tests.fixtures.chains import Pair
from tests.fixtures.reading import reading

BOTH = pytest.mark.parametrize("chain_id", [ETHEREUM, ARBITRUM])
QUOTES = 1_500
PLANS = 80
REFUSALS = (Reason.NO_PATH, Reason.INSUFFICIENT_LIQUIDITY, Reason.OUTSIDE_KNOWN_TICKS)
WHO = "0x" + "a2" * 20


@BOTH
async def test_quotes_equal_the_chains_to_the_unit(chains: Pair, chain_id: int) -> None:
    """Every seeded pool, by QuoterV2 and Router02: amounts and, for V3, the price after."""
    async with reading(chains, chain_id) as market:
        snapshot = await market.newest()
        assert len(snapshot.pools) == len(chains.pools(chain_id)) > 0
        swaps = list(random_swaps(snapshot, random.Random(chain_id), QUOTES))
        reads = [chain_read(chains.book(chain_id), swap) for swap in swaps]
        answers = await ask(market.rpc, snapshot, reads)
    tally = Tally()
    for swap, said in zip(swaps, answers, strict=True):
        tally.note(swap, quote_of(swap), said)
    assert tally.differing == []
    assert tally.total > 0.7 * len(swaps)
    assert {venue for venue, _ in tally.compared} == set(Venue)
    assert tally.crossings > 50


def held(pair: Pair, chain_id: int, plan_: Plan) -> tuple[int, int]:
    rpc = pair.rpc(chain_id)
    sell, buy = (
        rpc.read(each.address, "balanceOf(address)", WHO) for each in (plan_.sell, plan_.buy)
    )
    return sell, buy


def execute(pair: Pair, chain_id: int, encoder: SwapEncoder, made: Plan) -> tuple[int, int]:
    """Swap for real; return what was taken and what was given."""
    return executed(pair, chain_id, encoder, made)[0]


def executed(
    pair: Pair, chain_id: int, encoder: SwapEncoder, made: Plan
) -> tuple[tuple[int, int], int]:
    """Swap for real; return what was taken and what was given, and the gas that took."""
    rpc = pair.rpc(chain_id)
    most = made.limit if made.side is Side.BUY else made.amount_in
    before = held(pair, chain_id, made)
    swap = encoder.swap(made, WHO)
    takers = encoder.takers(swap.to)
    calls = [*(encoder.approval(made.sell.address, each, most) for each in takers), swap]
    receipts = rpc.transact([{"from": WHO, "to": call.to, "data": call.data} for call in calls])
    after = held(pair, chain_id, made)
    return (before[0] - after[0], after[1] - before[1]), int(receipts[-1]["gasUsed"], 16)


@BOTH
async def test_plans_swap_what_they_said(chains: Pair, chain_id: int) -> None:
    """Random plans executed one after the other: both sides, all venues, one leg and several.

    The gas they need is what the formula says: mostly within a third, never beyond 2.6 times.
    """
    chance, encoder = random.Random(chain_id), SwapEncoder(chains.book(chain_id))
    wealth = {
        "ETH": 10**22,
        "WETH": 10**24,
        "USDC": 10**16,
        "USDT": 10**16,
        "WBTC": 10**15,
        "DAI": 10**28,
    }
    chains.fund(chain_id, WHO, **wealth)
    chains.rpc(chain_id)("anvil_impersonateAccount", WHO)
    shapes: set[tuple[str, ...]] = set()
    legs: Counter[tuple[Side, int]] = Counter()
    ratios: list[float] = []
    async with reading(chains, chain_id) as market:
        for _ in range(PLANS):
            snapshot = await market.newest()
            made = plan(snapshot, random_request(snapshot, chance))
            if isinstance(made, NoRoute):
                assert made.reason in REFUSALS
                continue
            moved, gas = executed(chains, chain_id, encoder, made)
            assert moved == (made.amount_in, made.amount_out)
            ratios.append(gas / made.gas_estimate)
            shapes |= {tuple(hop.venue for hop in leg.path.hops) for leg in made.route.legs}
            legs[made.side, len(made.route.legs)] += 1
    assert len(ratios) >= PLANS // 2
    assert 0.5 < min(ratios) <= max(ratios) < 2.6
    assert sum(3 / 4 < ratio < 4 / 3 for ratio in ratios) > 0.8 * len(ratios)
    assert {len(shape) for shape in shapes} == {1, 2, 3}
    assert {venue for shape in shapes for venue in shape} == set(Venue)
    for side in Side:
        assert {number for taker, number in legs if taker is side} >= {1, 2}


@BOTH
async def test_a_limit_one_unit_beyond_the_quote_reverts(chains: Pair, chain_id: int) -> None:
    """The limit is on the chain: the quote passes, a unit more does not."""
    book = chains.book(chain_id)
    encoder = SwapEncoder(book)
    chains.fund(chain_id, WHO, ETH=10**20, WETH=10**20)
    chains.rpc(chain_id)("anvil_impersonateAccount", WHO)
    async with reading(chains, chain_id) as market:
        snapshot = await market.newest()
    request = RouteRequest(
        sell=Asset(book.chain_id, book.weth),
        buy=Asset(book.chain_id, book.usdc),
        amount=10**18,
        side=Side.SELL,
        max_slippage_ppm=Ppm(1_000),
        deadline_s=snapshot.block_time_s + 3_600,
        gas_price_wei=0,
    )
    made = plan(snapshot, request)
    assert isinstance(made, Plan)
    with pytest.raises(Rejected):
        execute(chains, chain_id, encoder, replace(made, limit=made.amount_out + 1))
    exact = replace(made, limit=made.amount_out)
    assert execute(chains, chain_id, encoder, exact) == (made.amount_in, made.amount_out)


@BOTH
async def test_mid_prices_are_near_the_seeded_ones(chains: Pair, chain_id: int) -> None:
    book = chains.book(chain_id)
    async with reading(chains, chain_id) as market:
        snapshot = await market.newest()
    for symbol, dollars in (
        ("WETH", 3_000),
        ("WBTC", 60_000),
        ("DAI", 1),
        ("USDT", 1),
        ("ETH", 3_000),
    ):
        token, usdc = book.token(symbol), book.token("USDC")
        price = mid_price(snapshot, token.asset, usdc.asset)
        assert not isinstance(price, NoRoute)
        whole = price[0] * 10**token.decimals // price[1]
        assert abs(whole - dollars * 10**usdc.decimals) <= dollars * 10**usdc.decimals // 50
