"""A seeded market: real Uniswap pools around given prices, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import isqrt
from typing import Any, Final, Literal

from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM, ChainBook
from sep_ray.adapters.evm.v4 import TICK_SPACINGS
from sep_ray.devnet.funding import act_as_bank, mint_to
from sep_ray.devnet.market_v4 import allow_v4, create_v4_pool, provide_v4
from sep_ray.devnet.placement import BANK
from sep_ray.devnet.rpc import Rpc, call_data
from sep_ray.kernel.units import ChainId
from sep_ray.routing.pools.v3_math import tick_at_sqrt_ratio

TICK_SPACING: Final = TICK_SPACINGS
MAX_TICK: Final = 887_272
V2_FEE_PPM: Final = 3_000
FOREVER: Final = 2**48
OBSERVATIONS: Final = 160
"""What a seeded V3 pool remembers of its prices: enough for minutes of trades."""
PRICES: Final[Mapping[str, int]] = {
    "WETH": 3_000_000_000,
    "WBTC": 60_000_000_000,
    "USDC": 1_000_000,
    "USDT": 1_000_000,
    "DAI": 1_000_000,
}
"""Dollars in millionths for one whole token."""

_MINT: Final = (
    "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
)
_ADD: Final = "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)"
_CREATE: Final = "createAndInitializePoolIfNecessary(address,address,uint24,uint160)"
_SUPPLY: Final = 10**12
"""Whole tokens of each kind the bank mints for itself before it provides liquidity."""

_RANGES: Final = ((100, 30), (500, 30), (2_200, 25), (MAX_TICK, 15))
"""Positions of a V3 pool: ticks to each side of the price, and percent of the pool's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool on a chain. Addresses lower case (V4: the pool's id); fee in ppm; token0 < token1."""

    chain_id: ChainId
    address: str
    kind: Literal["v2", "v3", "v4"]
    token0: str
    token1: str
    fee: int

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSpec:
    """What market to build.

    prices are millionths of a dollar per whole token; v2, v3 and v4 give each pool's value in whole
    dollars, both sides together, before the chain's percentage and the seed's plus or minus 20 %.
    """

    seed: int = 7
    prices: Mapping[str, int] = field(default_factory=lambda: dict(PRICES))
    v2: Mapping[tuple[str, str], int] = field(
        default_factory=lambda: {
            ("WETH", "USDC"): 30_000_000,
            ("WETH", "USDT"): 24_000_000,
            ("WBTC", "WETH"): 20_000_000,
            ("DAI", "WETH"): 10_000_000,
        }
    )
    v3: Mapping[tuple[str, str, int], int] = field(
        default_factory=lambda: (
            {
                (base, quote, fee): value * share // 100
                for base, quote, share in (
                    ("WETH", "USDC", 100),
                    ("WETH", "USDT", 70),
                    ("WBTC", "WETH", 80),
                )
                for fee, value in (
                    (100, 4_000_000),
                    (500, 40_000_000),
                    (3_000, 24_000_000),
                    (10_000, 3_000_000),
                )
            }
            | {("USDC", "USDT", 100): 20_000_000, ("DAI", "USDC", 100): 12_000_000}
        )
    )
    v4: Mapping[tuple[str, str, int], int] = field(
        default_factory=lambda: {
            ("WETH", "USDC", 500): 30_000_000,
            ("WETH", "USDC", 3_000): 12_000_000,
            ("WBTC", "WETH", 3_000): 16_000_000,
            ("USDC", "USDT", 100): 15_000_000,
        }
    )
    percent: Mapping[ChainId, int] = field(default_factory=lambda: {ETHEREUM: 100, ARBITRUM: 50})


def build_market(rpc: Rpc, book: ChainBook, spec: MarketSpec) -> tuple[Pool, ...]:
    """Create and fill every pool of `spec` on a chain that holds the core contracts."""
    act_as_bank(rpc)
    _supply_bank(rpc, book)
    chance = random.Random(f"{spec.seed}/{book.chain_id}")
    percent = spec.percent.get(book.chain_id, 100)

    def depth(value: int) -> int:
        return value * percent * chance.randint(80, 120) // 10_000

    v2 = [_v2_pool(rpc, book, spec, pair, depth(value)) for pair, value in spec.v2.items()]
    v3 = [
        _v3_pool(rpc, book, spec, (base, quote), fee, depth(value))
        for (base, quote, fee), value in spec.v3.items()
    ]
    v4 = [
        _v4_pool(rpc, book, spec, (base, quote), fee, depth(value))
        for (base, quote, fee), value in spec.v4.items()
    ]
    return (*v2, *v3, *v4)


def _supply_bank(rpc: Rpc, book: ChainBook) -> None:
    approve = "approve(address,uint256)"
    wrap = {"from": BANK, "to": book.weth, "value": hex(10**25), "data": call_data("deposit()")}
    mints = [
        mint_to(token.asset.address, BANK, _SUPPLY * 10**token.decimals)
        for token in book.tokens()
        if token.symbol not in ("ETH", "WETH")
    ]
    allow = [
        {"from": BANK, "to": token, "data": call_data(approve, spender, 2**256 - 1)}
        for token in (book.weth, book.usdc, book.usdt, book.wbtc, book.dai)
        for spender in (book.v2_router, book.v3_positions, book.swap_router02)
    ]
    rpc.transact([wrap, *mints, *allow, *allow_v4(book, BANK, book.v4_positions)])


def _units(book: ChainBook, spec: MarketSpec, symbol: str, dollars: int) -> int:
    """Smallest units of a token worth so many dollars, rounded down."""
    units: int = dollars * 1_000_000 * 10 ** book.token(symbol).decimals // spec.prices[symbol]
    return units


def sqrt_price_x96(spec: MarketSpec, book: ChainBook, symbol0: str, symbol1: str) -> int:
    """sqrt(units of token1 per unit of token0) * 2^96, rounded down."""
    per0: int = spec.prices[symbol0] * 10 ** book.token(symbol1).decimals
    per1: int = spec.prices[symbol1] * 10 ** book.token(symbol0).decimals
    return isqrt((per0 << 192) // per1)


def _in_order(book: ChainBook, pair: tuple[str, str]) -> tuple[str, str]:
    first, second = sorted(pair, key=lambda symbol: book.token(symbol).asset.address)
    return first, second


def _v2_pool(
    rpc: Rpc, book: ChainBook, spec: MarketSpec, pair: tuple[str, str], value: int
) -> Pool:
    symbols = _in_order(book, pair)
    token0, token1 = (book.token(each).asset.address for each in symbols)
    amounts = [_units(book, spec, each, value // 2) for each in symbols]
    data = call_data(_ADD, token0, token1, *amounts, 0, 0, BANK, FOREVER)
    rpc.transact([{"from": BANK, "to": book.v2_router, "data": data}])
    address = rpc.read(
        book.v2_factory, "getPair(address,address)", token0, token1, returns="(address)"
    )
    return Pool(
        chain_id=book.chain_id,
        address=address.lower(),
        kind="v2",
        token0=token0,
        token1=token1,
        fee=V2_FEE_PPM,
    )


def _v3_pool(
    rpc: Rpc, book: ChainBook, spec: MarketSpec, pair: tuple[str, str], fee: int, value: int
) -> Pool:
    symbols = _in_order(book, pair)
    pool = create_v3_pool(rpc, book, symbols, fee, sqrt_price_x96(spec, book, *symbols))
    tick = rpc.read(pool.address, "slot0()", returns="(uint160,int24)")[1]
    mints = (
        _position(book, spec, pool, symbols, ticks, value * percent // 100)
        for (half, percent) in _RANGES
        for ticks in (position_ticks(tick, half, TICK_SPACING[fee]),)
    )
    remember = call_data("increaseObservationCardinalityNext(uint16)", OBSERVATIONS)
    rpc.transact([*mints, {"from": BANK, "to": pool.address, "data": remember}])
    return pool


def create_v3_pool(
    rpc: Rpc, book: ChainBook, symbols: tuple[str, str], fee: int, sqrt_price: int
) -> Pool:
    """Create and initialise a V3 pool of two tokens (in address order) through the real code."""
    token0, token1 = (book.token(each).asset.address for each in symbols)
    data = call_data(_CREATE, token0, token1, fee, sqrt_price)
    rpc.transact([{"from": BANK, "to": book.v3_positions, "data": data}])
    look_up = "getPool(address,address,uint24)"
    address = rpc.read(book.v3_factory, look_up, token0, token1, fee, returns="(address)")
    return Pool(
        chain_id=book.chain_id,
        address=address.lower(),
        kind="v3",
        token0=token0,
        token1=token1,
        fee=fee,
    )


def _v4_pool(
    rpc: Rpc, book: ChainBook, spec: MarketSpec, pair: tuple[str, str], fee: int, value: int
) -> Pool:
    symbols = _in_order(book, pair)
    token0, token1 = (book.token(each).asset.address for each in symbols)
    price = sqrt_price_x96(spec, book, *symbols)
    address = create_v4_pool(rpc, book, (token0, token1), fee, price)
    tick = tick_at_sqrt_ratio(price)
    ranges = []
    for half, percent in _RANGES:
        base, quote = (_units(book, spec, each, value * percent // 200) for each in symbols)
        ranges.append((position_ticks(tick, half, TICK_SPACING[fee]), (base, quote)))
    rpc.transact([provide_v4(book, (token0, token1), fee, price, ranges)])
    return Pool(
        chain_id=book.chain_id, address=address, kind="v4", token0=token0, token1=token1, fee=fee
    )


def position_ticks(tick: int, half: int, spacing: int) -> tuple[int, int]:
    """A range of `half` ticks to each side, widened to whole spacings, at least one each way."""
    limit = MAX_TICK // spacing * spacing
    lower = (tick - max(half, spacing)) // spacing * spacing
    upper = -((-tick - max(half, spacing)) // spacing) * spacing
    return max(lower, -limit), min(upper, limit)


def _position(
    book: ChainBook,
    spec: MarketSpec,
    pool: Pool,
    symbols: tuple[str, str],
    ticks: tuple[int, int],
    value: int,
) -> dict[str, Any]:
    amounts = [_units(book, spec, each, value // 2) for each in symbols]
    key = (pool.token0, pool.token1, pool.fee)
    data = call_data(_MINT, (*key, *ticks, *amounts, 0, 0, BANK, FOREVER))
    return {"from": BANK, "to": book.v3_positions, "data": data}


def pools_by_chain(pools: Iterable[Pool]) -> dict[ChainId, tuple[Pool, ...]]:
    """Group pools by their chain."""
    found = list(pools)
    return {
        chain_id: tuple(pool for pool in found if pool.chain_id == chain_id)
        for chain_id in dict.fromkeys(pool.chain_id for pool in found)
    }
