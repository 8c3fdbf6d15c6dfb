"""Reads the initialised ticks around the prices of pools: V3 by TickLens, V4 by StateView."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sep_ray.adapters.evm.abi import words
from sep_ray.adapters.evm.followed import Followed, Lenses
from sep_ray.adapters.evm.multicall import Read
from sep_ray.adapters.evm.pool_reads import (
    Slot,
    Tick,
    parse_lens,
    parse_tick,
    tick_read,
    ticks_in,
    word_read,
)
from sep_ray.adapters.evm.tick_book import TickBook, window
from sep_ray.execution.ports import Head
from sep_ray.kernel.errors import InvariantBroken, Transient
from sep_ray.routing.pools.pool import Venue

Ask = Callable[[Sequence[Read], Head], Awaitable[list[bytes | None]]]


async def read_books(
    ask: Ask, pools: Sequence[Followed], lenses: Lenses, reach_ticks: int, head: Head
) -> list[TickBook]:
    """Return each pool's ticks within `reach_ticks` of where it stands, as of `head`.

    Raises Transient when one cannot be read.
    """
    wanted = [window(_slot(each).tick, each.key.tick_spacing, reach_ticks) for each in pools]
    numbered = [
        (place, number)
        for place, (low, high) in enumerate(wanted)
        for number in range(low, high + 1)
    ]
    reads = [word_read(pools[p].key, n, lenses.tick_lens, lenses.v4_state) for p, n in numbered]
    found: list[list[Tick]] = [[] for _ in pools]
    bare: list[tuple[int, int]] = []
    for (place, number), data in zip(numbered, await ask(reads, head), strict=True):
        key = pools[place].key
        if data is None:
            raise Transient("ticks cannot be read", pool=key.address, block=head.number)
        if key.venue is Venue.UNISWAP_V4:
            bits = words(data)[0]
            bare += [(place, tick) for tick in ticks_in(bits, number, key.tick_spacing)]
        else:
            found[place] += parse_lens(data)
    alone = [tick_read(pools[place].key, tick, lenses.v4_state) for place, tick in bare]
    for (place, tick), data in zip(bare, await ask(alone, head), strict=True):
        if data is None:
            raise Transient("ticks cannot be read", pool=pools[place].key.address)
        found[place].append(parse_tick(tick, data))
    return [
        TickBook(each.key.tick_spacing, known, ticks, _slot(each).tick, _slot(each).liquidity)
        for each, known, ticks in zip(pools, wanted, found, strict=True)
    ]


def _slot(followed: Followed) -> Slot:
    if not isinstance(followed.state, Slot):
        raise InvariantBroken("a pool without ticks", pool=followed.key.address)
    return followed.state
