"""Routing against the real contracts: what is quoted is what the chain gives, to the unit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sep_ray.adapters.evm.abi import address_word, addresses, selector, word, words
from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM, ChainBook
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.adapters.evm.multicall import Read
from sep_ray.adapters.evm.rpc import EvmRpc
from sep_ray.adapters.evm.v4 import TICK_SPACINGS, key_words
from sep_ray.execution.verdict import Answered, Lost
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, Ppm
from sep_ray.routing.plan import Plan, RouteRequest
from sep_ray.routing.planner import plan
from sep_ray.routing.pools.pool import Pool, Quote, Venue
from sep_ray.routing.prices import mid_price
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot
from tests.fixtures.chains import Pair
from tests.fixtures.reading import reading

BOTH = pytest.mark.parametrize("chain_id", [ETHEREUM, ARBITRUM])
QUOTES_PER_POOL = 60
PLANS = 80
REFUSALS = (Reason.NO_PATH, Reason.INSUFFICIENT_LIQUIDITY, Reason.OUTSIDE_KNOWN_TICKS)
WHO = "0x" + "a2" * 20
EXACT_IN = "quoteExactInputSingle((address,address,uint256,uint24,uint160))"
EXACT_OUT = "quoteExactOutputSingle((address,address,uint256,uint24,uint160))"
V4_IN, V4_OUT = (
    f"quoteExact{which}Single(((address,address,uint24,int24,address),bool,uint128,bytes))"
    for which in ("Input", "Output")
)
UNBOUNDED = (
    4295128740,
    1461446703485210103287273052203988822378723970341,
)
"""Prices at which a V3 pool has nothing more to give: the contract's own bounds."""


def chain_read(book: ChainBook, pool: Pool, token_in: str, amount: int, side: Side) -> Read:
    """Ask the official contract what this swap would do."""
    token_out = pool.token1 if token_in == pool.token0 else pool.token0
    if pool.venue is Venue.UNISWAP_V2:
        name = "getAmountsOut" if side is Side.SELL else "getAmountsIn"
        path = addresses([token_in, token_out])
        data = selector(f"{name}(uint256,address[])") + word(amount) + word(64) + path
        return book.v2_router, data
    if pool.venue is Venue.UNISWAP_V4:
        name = V4_IN if side is Side.SELL else V4_OUT
        key = key_words(pool.token0, pool.token1, pool.fee_ppm, TICK_SPACINGS[pool.fee_ppm])
        order = key + word(token_in == pool.token0) + word(amount) + word(256) + word(0)
        return book.v4_quoter, selector(name) + word(32) + order
    signature = EXACT_IN if side is Side.SELL else EXACT_OUT
    tokens = address_word(token_in) + address_word(token_out)
    data = selector(signature) + tokens + word(amount) + word(pool.fee_ppm) + word(0)
    return book.v3_quoter, data


async def on_chain(rpc: EvmRpc, snapshot: Snapshot, reads: Sequence[Read]) -> list[list[int]]:
    """Ask each at the snapshot's block; no words where the contract reverts."""
    at = {"blockHash": snapshot.block_hash}
    replies = await rpc.replies(
        [("eth_call", [{"to": to, "data": "0x" + data.hex()}, at]) for to, data in reads]
    )
    assert not any(isinstance(reply, Lost) for reply in replies)
    return [
        words(bytes.fromhex(str(reply.result)[2:])) if isinstance(reply, Answered) else []
        for reply in replies
    ]


def random_swaps(snapshot: Snapshot, chance: random.Random):
    """Amounts from one unit to three times the depth, both directions, both sides."""
    for pool in snapshot.pools:
        for number in range(QUOTES_PER_POOL):
            token_in = (pool.token0, pool.token1)[number % 2]
            side = (Side.SELL, Side.BUY)[number // 2 % 2]
            token_out = pool.token1 if token_in == pool.token0 else pool.token0
            depth = pool.depth(token_in if side is Side.SELL else token_out)
            yield pool, token_in, int(10 ** chance.uniform(0, len(str(depth * 3)) - 1)), side


def quote_of(pool: Pool, token_in: str, amount: int, side: Side) -> Quote | NoRoute:
    """What we say."""
    if side is Side.SELL:
        return pool.exact_in(token_in, amount)
    return pool.exact_out(token_in, amount)


def agree(pool: Pool, token_in: str, amount: int, side: Side, *, said: list[int]) -> bool:
    """Whether the chain's answer is ours; a refusal of ours must be the chain's too."""
    sell, quote = side is Side.SELL, quote_of(pool, token_in, amount, side)
    if isinstance(quote, NoRoute):
        if quote.reason is Reason.AMOUNT_TOO_SMALL:
            return said[3 if pool.venue is Venue.UNISWAP_V2 else 0] == 0
        if quote.reason is Reason.INSUFFICIENT_LIQUIDITY:
            return not said or said[1] in UNBOUNDED or pool.venue is Venue.UNISWAP_V4
        return quote.reason is Reason.OUTSIDE_KNOWN_TICKS
    if pool.venue is Venue.UNISWAP_V2:
        return said[2:] == [quote.amount_in, quote.amount_out]
    after = pool.moved(quote)
    expected = quote.amount_out if sell else quote.amount_in
    if pool.venue is Venue.UNISWAP_V4:  # its quoter tells the amount and the gas, not the price
        return said[:1] == [expected]
    return said[:2] == [expected, getattr(after, "sqrt_price", 0)]


@BOTH
async def test_quotes_equal_the_chains_to_the_unit(chains: Pair, chain_id: int) -> None:
    """Every seeded pool, by QuoterV2 and Router02: amounts and, for V3, the price after."""
    async with reading(chains, chain_id) as market:
        snapshot = await market.newest()
        assert len(snapshot.pools) == len(chains.pools(chain_id)) > 0
        swaps = list(random_swaps(snapshot, random.Random(chain_id)))
        reads = [chain_read(chains.book(chain_id), *swap) for swap in swaps]
        answers = await on_chain(market.rpc, snapshot, reads)
    pairs = zip(swaps, answers, strict=True)
    wrong = [(swap, said) for swap, said in pairs if not agree(*swap, said=said)]
    assert wrong == []
    quoted = sum(isinstance(quote_of(*swap), Quote) for swap in swaps)
    assert quoted > 0.7 * len(swaps) > 300


def random_request(snapshot: Snapshot, chance: random.Random, encoder: SwapEncoder) -> RouteRequest:
    known = sorted({token for pool in snapshot.pools for token in (pool.token0, pool.token1)})
    sell, buy = (Asset(snapshot.chain_id, each) for each in chance.sample(known, 2))
    side = chance.choice([Side.SELL, Side.BUY])
    some: list[list[Venue]] = [[], *([each] for each in Venue), list(Venue)[1:]]
    venues = chance.choice(some)
    splits = side is Side.SELL or (bool(venues) and Venue.UNISWAP_V2 not in venues)
    pool = chance.choice(
        [
            p
            for p in snapshot.pools
            if (sell if side is Side.SELL else buy).address in (p.token0, p.token1)
        ]
    )
    depth = pool.depth((sell if side is Side.SELL else buy).address)
    return RouteRequest(
        sell=sell,
        buy=buy,
        amount=max(int(depth * 10 ** chance.uniform(-7, -2)), 1_000),
        side=side,
        max_slippage_ppm=Ppm(1_000),
        deadline_s=snapshot.block_time_s + 3_600,
        gas_price_wei=chance.choice([0, snapshot.base_fee_wei]),
        venues=frozenset(venues),
        mix_venues=encoder.mixes_venues and side is Side.SELL,
        max_splits=chance.choice([2, 4]) if splits else 1,
        max_hops=chance.choice([2, 3]),
        certify=False,
    )


def held(pair: Pair, chain_id: int, plan_: Plan) -> tuple[int, int]:
    rpc = pair.rpc(chain_id)
    sell, buy = (
        rpc.read(each.address, "balanceOf(address)", WHO) for each in (plan_.sell, plan_.buy)
    )
    return sell, buy


def execute(pair: Pair, chain_id: int, encoder: SwapEncoder, made: Plan) -> tuple[int, int]:
    """Swap for real; return what was taken and what was given."""
    rpc = pair.rpc(chain_id)
    most = made.limit if made.side is Side.BUY else made.amount_in
    before = held(pair, chain_id, made)
    swap = encoder.swap(made, WHO)
    takers = encoder.takers(swap.to)
    calls = [*(encoder.approval(made.sell.address, each, most) for each in takers), swap]
    rpc.transact([{"from": WHO, "to": call.to, "data": call.data} for call in calls])
    after = held(pair, chain_id, made)
    return before[0] - after[0], after[1] - before[1]


@BOTH
async def test_plans_swap_what_they_said(chains: Pair, chain_id: int) -> None:
    """Random plans executed one after the other: both sides, all venues, one leg and several."""
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
    done = 0
    async with reading(chains, chain_id) as market:
        for _ in range(PLANS):
            snapshot = await market.newest()
            made = plan(snapshot, random_request(snapshot, chance, encoder))
            if isinstance(made, NoRoute):
                assert made.reason in REFUSALS
                continue
            moved = execute(chains, chain_id, encoder, made)
            assert moved == (made.amount_in, made.amount_out)
            shapes |= {tuple(hop.venue for hop in leg.path.hops) for leg in made.route.legs}
            legs[made.side, len(made.route.legs)] += 1
            done += 1
    assert done >= PLANS // 2
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
