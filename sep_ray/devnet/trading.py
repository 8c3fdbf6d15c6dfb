"""Reading pools and building swaps of accounts that the node acts for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode

from sep_ray.adapters.evm.addresses import ChainBook
from sep_ray.adapters.evm.v4 import NO_HOOKS, TICK_SPACINGS
from sep_ray.devnet.arbitrage import Ratio, pull, sqrt_price_x96, v2_amount_in
from sep_ray.devnet.market import FOREVER, Pool
from sep_ray.devnet.placement import V4_SWAPS
from sep_ray.devnet.rpc import Rpc, call_data
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Token
from sep_ray.routing.pools.v3_math import MAX_SQRT_RATIO, MIN_SQRT_RATIO

_SWAP_GAS: Final = hex(1_500_000)
_WITHOUT_END: Final = 2**120
_V3_SWAP: Final = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
_V2_SWAP: Final = "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)"
_V4_SWAP: Final = (
    "swap((address,address,uint24,int24,address),(bool,int256,uint160),(bool,bool),bytes)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrivenChain:
    """A chain to trade on: a connection of its own, its addresses, its pools."""

    rpc: Rpc
    book: ChainBook
    pools: Sequence[Pool]

    def token(self, address: str) -> Token:
        """Return the token at an address of the book."""
        return next(each for each in self.book.tokens() if each.asset.address == address)


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool as it is: its price, and its reserves where it is a V2 pair."""

    pool: Pool
    price: Ratio
    reserves: tuple[int, int] = (0, 0)


def read_pools(chain: DrivenChain) -> list[PoolState]:
    """Read every pool of a chain in one request."""
    answers = chain.rpc.batch([_read(chain, pool) for pool in chain.pools])
    return [_state(pool, answer) for pool, answer in zip(chain.pools, answers, strict=True)]


def _read(chain: DrivenChain, pool: Pool) -> tuple[str, list[Any]]:
    if pool.kind == "v4":
        to, data = chain.book.v4_state, call_data("getSlot0(bytes32)", _bytes(pool.address))
    else:
        to, data = pool.address, call_data("getReserves()" if pool.kind == "v2" else "slot0()")
    return "eth_call", [{"to": to, "data": data}, "latest"]


def _state(pool: Pool, answer: str) -> PoolState:
    first, second = decode(["uint256", "int256"], _bytes(answer[:130]))
    if pool.kind == "v2":
        return PoolState(pool, Ratio(second, first), (first, second))
    return PoolState(pool, Ratio(first**2, 1 << 192))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def fair_price(chain: DrivenChain, pool: Pool, prices: Mapping[str, int]) -> Ratio:
    """Units of token1 that a unit of token0 is worth at these dollar prices (in millionths)."""
    token0, token1 = chain.token(pool.token0), chain.token(pool.token1)
    return Ratio(
        prices[token0.symbol] * 10**token1.decimals, prices[token1.symbol] * 10**token0.decimals
    )


def correction(
    chain: DrivenChain, state: PoolState, fair: Ratio, band_ppm: int, trader: str
) -> dict[str, Any] | None:
    """Build the swap that brings a pool within `band_ppm` of the fair price; None if it is."""
    wanted = pull(state.price, fair, band_ppm)
    if wanted is None:
        return None
    pool = state.pool
    token_in = pool.token0 if wanted.sells_token0 else pool.token1
    if pool.kind != "v2":
        limit = sqrt_price_x96(wanted.stop)
        return swap(chain, pool, trader, token_in, _WITHOUT_END, limit)
    reserve0, reserve1 = state.reserves
    if wanted.sells_token0:
        amount = v2_amount_in(reserve0, reserve1, wanted.stop, pool.fee)
    else:
        amount = v2_amount_in(reserve1, reserve0, wanted.stop.inverse(), pool.fee)
    return swap(chain, pool, trader, token_in, amount) if amount else None


def swap(
    chain: DrivenChain, pool: Pool, trader: str, token_in: str, amount: int, limit: int = 0
) -> dict[str, Any]:
    """Build a swap of `amount` units of `token_in`; limit is the price at which V3, V4 stop."""
    book = chain.book
    token_out = pool.token1 if token_in == pool.token0 else pool.token0
    if pool.kind == "v3":
        order = (token_in, token_out, pool.fee, trader, amount, 0, limit)
        router, data = book.swap_router02, call_data(_V3_SWAP, order)
    elif pool.kind == "v4":
        router, data = V4_SWAPS, _v4_swap(pool, token_in == pool.token0, amount, limit)
    else:
        router = book.v2_router
        data = call_data(_V2_SWAP, amount, 0, [token_in, token_out], trader, FOREVER)
    return {"from": trader, "to": router, "data": data, "gas": _SWAP_GAS}


def _v4_swap(pool: Pool, sells_token0: bool, amount: int, limit: int) -> str:
    """PoolSwapTest: exact input is negative; no limit is the end of the range."""
    key = (pool.token0, pool.token1, pool.fee, TICK_SPACINGS[pool.fee], NO_HOOKS)
    end = MIN_SQRT_RATIO + 1 if sells_token0 else MAX_SQRT_RATIO - 1
    order = (sells_token0, -amount, limit or end)
    return call_data(_V4_SWAP, key, order, (False, False), b"")


def approvals(chain: DrivenChain, trader: str, symbols: Sequence[str]) -> list[dict[str, Any]]:
    """Let all routers take a trader's tokens."""
    return [
        {
            "from": trader,
            "to": chain.book.token(symbol).asset.address,
            "data": call_data("approve(address,uint256)", router, 2**256 - 1),
        }
        for symbol in symbols
        for router in (chain.book.swap_router02, chain.book.v2_router, V4_SWAPS)
    ]


def pool_prices(chain: DrivenChain) -> dict[str, int]:
    """Read dollar prices (millionths) off a chain's pools, with dollar tokens at one dollar.

    The cheapest V3 pools of WETH/USDC and WBTC/WETH speak. Raises Rejected without them.
    """
    states = read_pools(chain)
    prices = {"USDC": 1_000_000, "USDT": 1_000_000, "DAI": 1_000_000}
    for symbol, quote in (("WETH", "USDC"), ("WBTC", "WETH")):
        ratio = _spot(chain, states, symbol, quote)
        base, other = chain.book.token(symbol), chain.book.token(quote)
        numerator = ratio.numerator * prices[quote] * 10**base.decimals
        prices[symbol] = int(numerator // (ratio.denominator * 10**other.decimals))
    return prices


def _spot(chain: DrivenChain, states: Sequence[PoolState], base: str, quote: str) -> Ratio:
    """Units of quote per unit of base in their cheapest V3 pool."""
    token = chain.book.token(base).asset.address
    wanted = {token, chain.book.token(quote).asset.address}
    found = [
        state
        for state in states
        if state.pool.kind == "v3" and {state.pool.token0, state.pool.token1} == wanted
    ]
    if not found:
        raise Rejected("no pool to read a price from", pair=f"{base}/{quote}")
    state = min(found, key=lambda each: each.pool.fee)
    return state.price if state.pool.token0 == token else state.price.inverse()
