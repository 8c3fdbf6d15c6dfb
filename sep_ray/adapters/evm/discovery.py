"""Which pools exist between the tokens we know: asked of the factories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from types import MappingProxyType
from typing import Final

from sep_ray.adapters.evm.abi import address_word, selector, word
from sep_ray.adapters.evm.multicall import MULTICALL3, Read, aggregate, results
from sep_ray.adapters.evm.pool_reads import PoolKey
from sep_ray.adapters.evm.snapshots import Rpc
from sep_ray.kernel.units import NATIVE, Token
from sep_ray.routing.pools.pool import Venue

TICK_SPACINGS: Final[Mapping[int, int]] = MappingProxyType(
    {100: 1, 500: 10, 3_000: 60, 10_000: 200}
)
"""V3's fee tiers (ppm) and the spacing of each."""
V2_FEE_PPM: Final = 3_000
READS: Final = 500
"""Look-ups in one eth_call."""
_PAIR: Final = selector("getPair(address,address)")
_POOL: Final = selector("getPool(address,address,uint24)")


async def find_pools(
    rpc: Rpc,
    *,
    tokens: Sequence[Token],
    v2_factory: str,
    v3_factory: str,
    multicall: str = MULTICALL3,
) -> tuple[PoolKey, ...]:
    """Return the V2 pair and the V3 pools of every two tokens, as of the newest block."""
    addresses = sorted(t.asset.address for t in tokens if t.asset.address != NATIVE)
    asked = [
        each
        for one, other in combinations(addresses, 2)
        for each in _questions(one, other, v2_factory, v3_factory)
    ]
    chunks = [asked[n : n + READS] for n in range(0, len(asked), READS)]
    answers = await rpc.batch(
        [
            ("eth_call", [aggregate([read for _, read in chunk], multicall), "latest"])
            for chunk in chunks
        ]
    )
    found = [
        each
        for chunk, answer in zip(chunks, answers, strict=True)
        for each in zip(chunk, results(answer, len(chunk)), strict=True)
    ]
    return tuple(
        replace(key, address="0x" + data[12:].hex())
        for (key, _), data in found
        if data is not None and len(data) == 32 and any(data)
    )


def _questions(
    one: str, other: str, v2_factory: str, v3_factory: str
) -> Iterator[tuple[PoolKey, Read]]:
    """Yield what a pool of two tokens would be, without its address, and how to ask for that."""
    pair = address_word(one) + address_word(other)
    key = PoolKey(address="", venue=Venue.UNISWAP_V2, token0=one, token1=other, fee_ppm=V2_FEE_PPM)
    yield key, (v2_factory, _PAIR + pair)
    for fee, spacing in TICK_SPACINGS.items():
        v3 = replace(key, venue=Venue.UNISWAP_V3, fee_ppm=fee, tick_spacing=spacing)
        yield v3, (v3_factory, _POOL + pair + word(fee))
