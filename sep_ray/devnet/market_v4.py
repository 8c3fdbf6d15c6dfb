"""Seeded Uniswap V4 pools without hooks, through the real PoolManager and PositionManager."""

from __future__ import annotations

from typing import Any, Final

from eth_abi.abi import encode

from sep_ray.adapters.evm.addresses import ChainBook
from sep_ray.adapters.evm.v4 import NO_HOOKS, TICK_SPACINGS, pool_id
from sep_ray.devnet.placement import BANK
from sep_ray.devnet.rpc import Rpc, call_data
from sep_ray.routing.pools.v3_math import Q96, sqrt_ratio_at_tick

_KEY: Final = "(address,address,uint24,int24,address)"
_MINT_POSITION, _SETTLE_PAIR = 0x02, 0x0D
_MINT: Final = (_KEY, "int24", "int24", "uint256", "uint128", "uint128", "address", "bytes")
_NO_BOUND: Final = 2**128 - 1
FOREVER: Final = 2**48 - 1

Range = tuple[tuple[int, int], tuple[int, int]]
"""Lower and upper tick, and the most units of each token that go between them."""


def allow_v4(book: ChainBook, owner: str, spender: str) -> list[dict[str, Any]]:
    """Let a contract that is paid through Permit2 take all of an owner's tokens."""
    tokens = (book.weth, book.usdc, book.usdt, book.wbtc, book.dai)
    approve = call_data("approve(address,uint256)", book.permit2, 2**256 - 1)
    permit = "approve(address,address,uint160,uint48)"
    return [{"from": owner, "to": token, "data": approve} for token in tokens] + [
        {
            "from": owner,
            "to": book.permit2,
            "data": call_data(permit, token, spender, 2**160 - 1, FOREVER),
        }
        for token in tokens
    ]


def create_v4_pool(
    rpc: Rpc, book: ChainBook, tokens: tuple[str, str], fee: int, sqrt_price: int
) -> str:
    """Initialise a pool of two tokens (in address order) and return its id."""
    key = (*tokens, fee, TICK_SPACINGS[fee], NO_HOOKS)
    data = call_data(f"initialize({_KEY},uint160)", key, sqrt_price)
    rpc.transact([{"from": BANK, "to": book.v4_pools, "data": data}])
    return pool_id(*tokens, fee, TICK_SPACINGS[fee])


def provide_v4(
    book: ChainBook, tokens: tuple[str, str], fee: int, sqrt_price: int, ranges: list[Range]
) -> dict[str, Any]:
    """Build one transaction of BANK that mints a position in each range and pays for all."""
    key = (*tokens, fee, TICK_SPACINGS[fee], NO_HOOKS)
    actions = bytes([_MINT_POSITION] * len(ranges) + [_SETTLE_PAIR])
    params = [
        encode(
            _MINT,
            (key, *ticks, liquidity_of(sqrt_price, ticks, most), _NO_BOUND, _NO_BOUND, BANK, b""),
        )
        for ticks, most in ranges
    ]
    params.append(encode(("address", "address"), tokens))
    work = encode(("bytes", "bytes[]"), (actions, params))
    data = call_data("modifyLiquidities(bytes,uint256)", work, FOREVER)
    return {"from": BANK, "to": book.v4_positions, "data": data}


def liquidity_of(sqrt_price: int, ticks: tuple[int, int], most: tuple[int, int]) -> int:
    """The most liquidity both amounts pay for between two ticks, rounded down.

    As LiquidityAmounts.getLiquidityForAmounts: token0 above the price, token1 below it.
    """
    low, high = (sqrt_ratio_at_tick(tick) for tick in ticks)
    middle = min(max(sqrt_price, low), high)
    found = []
    if middle < high:
        found.append(most[0] * (middle * high // Q96) // (high - middle))
    if middle > low:
        found.append(most[1] * Q96 // (middle - low))
    return min(found)
