"""Which pools exist between the tokens we know: asked of the factories and of V4's StateView."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final

import structlog

from sep_ray.adapters.evm.abi import address_word, selector, word
from sep_ray.adapters.evm.multicall import MULTICALL3, Read, aggregate, results
from sep_ray.adapters.evm.pool_reads import PoolKey
from sep_ray.adapters.evm.stop_diagnosis import Rpc
from sep_ray.adapters.evm.v4 import TICK_SPACINGS, pool_id
from sep_ray.kernel.units import NATIVE, Token
from sep_ray.routing.pools.pool import Venue

log = structlog.get_logger()

V2_FEE_PPM: Final = 3_000
READS: Final = 500
"""Look-ups in one eth_call."""
_DECIMALS: Final = selector("decimals()")
_PAIR: Final = selector("getPair(address,address)")
_POOL: Final = selector("getPool(address,address,uint24)")
_V4_SLOT0: Final = selector("getSlot0(bytes32)")


async def usable_tokens(
    rpc: Rpc, tokens: Sequence[Token], multicall: str = MULTICALL3
) -> tuple[Token, ...]:
    """Return the tokens whose contracts have the decimals we know, as of the newest block.

    Amounts of any other would be read wrongly: it is left out, with every pool of it, and logged.
    """
    asked = [(token.asset.address, _DECIMALS) for token in tokens]
    (answer,) = await rpc.batch([("eth_call", [aggregate(asked, multicall), "latest"])])
    kept = []
    for token, data in zip(tokens, results(answer, len(asked)), strict=True):
        found = int.from_bytes(data, "big") if data is not None and len(data) == 32 else None
        if found == token.decimals:
            kept.append(token)
        else:
            log.warning("token_left_out", token=str(token.asset), decimals=found)
    return tuple(kept)


async def find_pools(
    rpc: Rpc,
    *,
    tokens: Sequence[Token],
    v2_factory: str,
    v3_factory: str,
    v4_state: str,
    multicall: str = MULTICALL3,
) -> tuple[PoolKey, ...]:
    """Return the pools of every two tokens, as of the newest block.

    The V2 pair, the V3 pools, and the V4 pools without hooks of the usual fees and spacings.
    """
    addresses = sorted(t.asset.address for t in tokens if t.asset.address != NATIVE)
    asked = [
        each
        for one, other in combinations(addresses, 2)
        for each in _questions(one, other, v2_factory, v3_factory, v4_state)
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
        key if key.address else replace(key, address="0x" + data[12:].hex())
        for (key, _), data in found
        if data is not None and len(data) >= 32 and any(data[:32])
    )


def _questions(
    one: str, other: str, v2_factory: str, v3_factory: str, v4_state: str
) -> Iterator[tuple[PoolKey, Read]]:
    """Yield what a pool of two tokens would be, and how to ask for it.

    Factories answer with the address; a V4 pool has a name, and exists if it has a price.
    """
    pair = address_word(one) + address_word(other)
    key = PoolKey(address="", venue=Venue.UNISWAP_V2, token0=one, token1=other, fee_ppm=V2_FEE_PPM)
    yield key, (v2_factory, _PAIR + pair)
    for fee, spacing in TICK_SPACINGS.items():
        v3 = replace(key, venue=Venue.UNISWAP_V3, fee_ppm=fee, tick_spacing=spacing)
        yield v3, (v3_factory, _POOL + pair + word(fee))
        name = pool_id(one, other, fee, spacing)
        v4 = replace(v3, venue=Venue.UNISWAP_V4, address=name)
        yield v4, (v4_state, _V4_SLOT0 + bytes.fromhex(name[2:]))
