"""Uniswap V3's integer mathematics: TickMath, SqrtPriceMath (v3-core 1.0.1), to the last bit.

Prices are square roots in Q64.96, token1 over token0. Which way each division rounds is part of
the contract's behaviour: always in the pool's favour.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

MIN_TICK: Final = -887_272
MAX_TICK: Final = 887_272
MIN_SQRT_RATIO: Final = 4_295_128_739
MAX_SQRT_RATIO: Final = 1461446703485210103287273052203988822378723970342
Q96: Final = 1 << 96
_MAX_UINT256: Final = (1 << 256) - 1
_LOG_TICK: Final = math.log(1.0001) / 2

_POWERS: Final = (
    0xFFFCB933BD6FAD37AA2D162D1A594001,
    0xFFF97272373D413259A46990580E213A,
    0xFFF2E50F5F656932EF12357CF3C7FDCC,
    0xFFE5CACA7E10E4E61C3624EAA0941CD0,
    0xFFCB9843D60F6159C9DB58835C926644,
    0xFF973B41FA98C081472E6896DFB254C0,
    0xFF2EA16466C96A3843EC78B326B52861,
    0xFE5DEE046A99A2A811C461F1969C3053,
    0xFCBE86C7900A88AEDCFFC83B479AA3A4,
    0xF987A7253AC413176F2B074CF7815E54,
    0xF3392B0822B70005940C7A398E4B70F3,
    0xE7159475A2C29B7443B29C7FA6E889D9,
    0xD097F3BDFD2022B8845AD8F792AA5825,
    0xA9F746462D870FDF8A65DC1F90E061E5,
    0x70D869A156D2A1B890BB3DF62BAF32F7,
    0x31BE135F97D08FD981231505542FCFA6,
    0x9AA508B5B7A84E1C677DE54F3E99BC9,
    0x5D6AF8DEDB81196699C329225EE604,
    0x2216E584F5FA1EA926041BEDFE98,
    0x48A170391F7DC42444E8FA2,
)
"""1.0001^(-2^i / 2) in Q128, for i = 0..19."""


@lru_cache(maxsize=1 << 16)
def sqrt_ratio_at_tick(tick: int) -> int:
    """Return sqrt(1.0001^tick) in Q64.96, rounded up as TickMath.getSqrtRatioAtTick does.

    `tick` must lie in MIN_TICK..MAX_TICK.
    """
    ratio, rest = 1 << 128, abs(tick)
    for power in _POWERS:
        if rest & 1:
            ratio = ratio * power >> 128
        rest >>= 1
    if tick > 0:
        ratio = _MAX_UINT256 // ratio
    return -(-ratio >> 32)


def tick_at_sqrt_ratio(sqrt_price: int) -> int:
    """Return the greatest tick whose ratio is at most `sqrt_price` (getTickAtSqrtRatio).

    A logarithm finds the neighbourhood; exact ratios decide. `sqrt_price` must lie in
    MIN_SQRT_RATIO..MAX_SQRT_RATIO-1.
    """
    guess = math.floor((math.log(sqrt_price) - math.log(Q96)) / _LOG_TICK)
    tick = min(max(guess, MIN_TICK), MAX_TICK)
    while sqrt_ratio_at_tick(tick) > sqrt_price:
        tick -= 1
    while tick < MAX_TICK and sqrt_ratio_at_tick(tick + 1) <= sqrt_price:
        tick += 1
    return tick


def amount0_up(lower: int, upper: int, liquidity: int) -> int:
    """Return L*(upper-lower)/(upper*lower) of token0, rounded up (getAmount0Delta)."""
    return -(-(liquidity << 96) * (upper - lower) // upper // lower)


def amount0_down(lower: int, upper: int, liquidity: int) -> int:
    """Return L*(upper-lower)/(upper*lower) of token0, rounded down (getAmount0Delta)."""
    return (liquidity << 96) * (upper - lower) // upper // lower


def amount1_up(lower: int, upper: int, liquidity: int) -> int:
    """Return L*(upper-lower) of token1, rounded up (getAmount1Delta)."""
    return -(-liquidity * (upper - lower) >> 96)


def amount1_down(lower: int, upper: int, liquidity: int) -> int:
    """Return L*(upper-lower) of token1, rounded down (getAmount1Delta)."""
    return liquidity * (upper - lower) >> 96


def price_after_adding0(sqrt_price: int, liquidity: int, amount: int) -> int:
    """Return L*P/(L + amount*P), rounded up (getNextSqrtPriceFromAmount0RoundingUp, add = true).

    Where that passes 2^256 the contract computes L/(L/P + amount) instead, with other roundings.
    """
    scaled = liquidity << 96
    product = amount * sqrt_price
    if product + scaled <= _MAX_UINT256:
        return -(-scaled * sqrt_price // (scaled + product))
    return -(-scaled // (scaled // sqrt_price + amount))


def price_after_removing0(sqrt_price: int, liquidity: int, amount: int) -> int:
    """Return L*P/(L - amount*P), rounded up (getNextSqrtPriceFromAmount0RoundingUp, add = false).

    The caller makes sure that the pool holds more than `amount`.
    """
    scaled = liquidity << 96
    return -(-scaled * sqrt_price // (scaled - amount * sqrt_price))


def price_after_adding1(sqrt_price: int, liquidity: int, amount: int) -> int:
    """Return P + amount/L, rounded down (getNextSqrtPriceFromAmount1RoundingDown, add = true)."""
    return sqrt_price + (amount << 96) // liquidity


def price_after_removing1(sqrt_price: int, liquidity: int, amount: int) -> int:
    """Return P - ceil(amount/L) (getNextSqrtPriceFromAmount1RoundingDown, add = false)."""
    return sqrt_price + (-(amount << 96) // liquidity)
