"""How a pool's state is asked for and read; addresses lower case, amounts smallest units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sep_ray.adapters.evm.abi import address_word, selector, word, words
from sep_ray.adapters.evm.multicall import Read
from sep_ray.adapters.evm.pool_logs import signed
from sep_ray.kernel.errors import Rejected
from sep_ray.routing.pools.pool import Pool, Venue
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v2 import V2Pool
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.pools.v4 import V4Pool

_SLOT0: Final = selector("slot0()")
_LIQUIDITY: Final = selector("liquidity()")
_RESERVES: Final = selector("getReserves()")
_LENS: Final = selector("getPopulatedTicksInWord(address,int16)")
_OBSERVE: Final = selector("observe(uint32[])")
MEAN_SECONDS: Final = 120
"""What mean prices are taken over."""
_V4_SLOT0: Final = selector("getSlot0(bytes32)")
_V4_LIQUIDITY: Final = selector("getLiquidity(bytes32)")
_V4_BITMAP: Final = selector("getTickBitmap(bytes32,int16)")
_V4_TICK: Final = selector("getTickLiquidity(bytes32,int24)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKey:
    """What never changes about a pool. Addresses lower case; `tick_spacing` is 0 for V2.

    A V4 pool's `address` is its id.
    """

    address: str
    venue: Venue
    token0: str
    token1: str
    fee_ppm: int
    tick_spacing: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """The state of a pool with ticks at one block."""

    sqrt_price: int
    tick: int
    liquidity: int


State = Slot | tuple[int, int]
"""Where a pool with ticks stands, or a V2 pair's reserves."""

Tick = tuple[int, int, int]
"""An initialised tick: its place, net and gross liquidity."""


def state_reads(key: PoolKey, v4_state: str) -> tuple[Read, ...]:
    """Return the calls that tell a pool's state; V4's are answered by StateView."""
    if key.venue is Venue.UNISWAP_V2:
        return ((key.address, _RESERVES),)
    if key.venue is Venue.UNISWAP_V4:
        name = bytes.fromhex(key.address[2:])
        return (v4_state, _V4_SLOT0 + name), (v4_state, _V4_LIQUIDITY + name)
    return (key.address, _SLOT0), (key.address, _LIQUIDITY)


def parse_state(key: PoolKey, parts: Sequence[bytes | None]) -> State | None:
    """Read a pool's answers; None when one is missing or the pool was never initialised.

    Rejected for a V4 pool whose swaps cost another fee than its key says.
    """
    ints = [words(part) if part is not None else [] for part in parts]
    if key.venue is Venue.UNISWAP_V2:
        return (ints[0][0], ints[0][1]) if len(ints[0]) >= 2 else None
    if len(ints[0]) < 2 or len(ints[1]) < 1 or ints[0][0] == 0:
        return None
    if key.venue is Venue.UNISWAP_V4 and ints[0][2:4] != [0, key.fee_ppm]:
        raise Rejected("a protocol fee, or a fee that moves", pool=key.address)
    return Slot(ints[0][0], signed(ints[0][1]), ints[1][0])


def word_read(key: PoolKey, number: int, tick_lens: str, v4_state: str) -> Read:
    """Return the call that tells what is initialised in one bitmap word.

    TickLens answers with the ticks themselves, StateView with the bits alone.
    """
    place = word(number % (1 << 256))
    if key.venue is Venue.UNISWAP_V4:
        return v4_state, _V4_BITMAP + bytes.fromhex(key.address[2:]) + place
    return tick_lens, _LENS + address_word(key.address) + place


def mean_read(key: PoolKey) -> Read:
    """Return the call that tells a V3 pool's cumulated ticks, then and now."""
    data = word(32) + word(2) + word(MEAN_SECONDS) + word(0)
    return key.address, _OBSERVE + data


def parse_mean(data: bytes | None) -> int | None:
    """Return the mean tick, rounded down (OracleLibrary.consult); None where it is not known.

    A pool that keeps few observations reverts when it has traded since.
    """
    ints = words(data or b"")
    if len(ints) < 5 or ints[2] != 2:
        return None
    return (signed(ints[4]) - signed(ints[3])) // MEAN_SECONDS


def parse_lens(data: bytes) -> list[Tick]:
    """Read TickLens' array of (tick, net, gross); it answers in falling order, this is rising."""
    ints = words(data)
    return sorted(
        (signed(ints[place]), signed(ints[place + 1]), ints[place + 2])
        for place in range(2, 2 + 3 * ints[1], 3)
    )


def ticks_in(bits: int, number: int, spacing: int) -> Iterable[int]:
    """Yield the ticks whose bits are set in word `number` of a bitmap."""
    return (((number << 8) + bit) * spacing for bit in range(256) if bits >> bit & 1)


def tick_read(key: PoolKey, tick: int, v4_state: str) -> Read:
    """Return the call that tells one tick's gross and net liquidity in a V4 pool."""
    return v4_state, _V4_TICK + bytes.fromhex(key.address[2:]) + word(tick % (1 << 256))


def parse_tick(tick: int, data: bytes) -> Tick:
    """Read StateView's (gross, net)."""
    gross, net = words(data)[:2]
    return tick, signed(net), gross


def built(key: PoolKey, state: State | None, tick_map: TickMap | None) -> Pool | None:
    """Return the pool, or None without its state or ticks. Rejected when they make no sense."""
    if isinstance(state, Slot) and tick_map is not None:
        kind = V4Pool if key.venue is Venue.UNISWAP_V4 else V3Pool
        return kind(
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
