"""How a pool's state is asked for and read; addresses lower case, amounts smallest units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sep_ray.adapters.evm.abi import address_word, selector, word, words
from sep_ray.adapters.evm.multicall import Read
from sep_ray.adapters.evm.tick_book import signed
from sep_ray.routing.pools.pool import Pool, Venue
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v2 import V2Pool
from sep_ray.routing.pools.v3 import V3Pool

_SLOT0: Final = selector("slot0()")
_LIQUIDITY: Final = selector("liquidity()")
_RESERVES: Final = selector("getReserves()")
_LENS: Final = selector("getPopulatedTicksInWord(address,int16)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKey:
    """What never changes about a pool. Addresses lower case; `tick_spacing` is 0 for V2."""

    address: str
    venue: Venue
    token0: str
    token1: str
    fee_ppm: int
    tick_spacing: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """A V3 pool's state of one block."""

    sqrt_price: int
    tick: int
    liquidity: int


State = Slot | tuple[int, int]
"""A V3 pool's slot, or a V2 pair's reserves."""


def state_reads(key: PoolKey) -> tuple[Read, ...]:
    """Return the calls that tell a pool's state."""
    if key.venue is Venue.UNISWAP_V2:
        return ((key.address, _RESERVES),)
    return (key.address, _SLOT0), (key.address, _LIQUIDITY)


def parse_state(key: PoolKey, parts: Sequence[bytes | None]) -> State | None:
    """Read a pool's answers; None when one is missing or the pool was never initialised."""
    ints = [words(part) if part is not None else [] for part in parts]
    if key.venue is Venue.UNISWAP_V2:
        return (ints[0][0], ints[0][1]) if len(ints[0]) >= 2 else None
    if len(ints[0]) < 2 or len(ints[1]) < 1 or ints[0][0] == 0:
        return None
    return Slot(ints[0][0], signed(ints[0][1]), ints[1][0])


def parse_ticks(data: bytes) -> Iterable[tuple[int, int, int]]:
    """Read TickLens' array of (tick, net, gross)."""
    ints = words(data)
    for place in range(2, 2 + 3 * ints[1], 3):
        yield signed(ints[place]), signed(ints[place + 1]), ints[place + 2]


def built(key: PoolKey, state: State | None, tick_map: TickMap | None) -> Pool | None:
    """Return the pool, or None without its state or ticks. Rejected when they make no sense."""
    if isinstance(state, Slot) and tick_map is not None:
        return V3Pool(
            address=key.address,
            token0=key.token0,
            token1=key.token1,
            fee_ppm=key.fee_ppm,
            sqrt_price=state.sqrt_price,
            tick=state.tick,
            liquidity=state.liquidity,
            tick_map=tick_map,
        )
    if isinstance(state, tuple):
        return V2Pool(
            address=key.address,
            token0=key.token0,
            token1=key.token1,
            reserve0=state[0],
            reserve1=state[1],
            fee_ppm=key.fee_ppm,
        )
    return None


def lens_read(lens: str, pool: str, number: int) -> Read:
    """Return the call that tells the initialised ticks of one bitmap word."""
    return lens, _LENS + address_word(pool) + word(number % (1 << 256))
