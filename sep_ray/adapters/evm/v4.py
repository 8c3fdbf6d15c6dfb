"""How Uniswap V4 names its pools: one contract holds them all, each under the hash of its key."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from eth_hash.auto import keccak

from sep_ray.adapters.evm.abi import address_word, word
from sep_ray.routing.pools.v4 import NO_HOOKS

__all__ = ["NO_HOOKS", "TICK_SPACINGS", "key_words", "pool_id"]

TICK_SPACINGS: Final[Mapping[int, int]] = MappingProxyType(
    {100: 1, 500: 10, 3_000: 60, 10_000: 200}
)
"""Fees (ppm) of V3 and the usual pools of V4, and the tick spacing that goes with each."""


def key_words(token0: str, token1: str, fee_ppm: int, tick_spacing: int) -> bytes:
    """Return a PoolKey without hooks as five words; token0 < token1, lower case."""
    tokens = address_word(token0) + address_word(token1)
    return tokens + word(fee_ppm) + word(tick_spacing) + address_word(NO_HOOKS)


def pool_id(token0: str, token1: str, fee_ppm: int, tick_spacing: int) -> str:
    """Return the name of a pool without hooks: keccak256 of its key (PoolIdLibrary.toId)."""
    return "0x" + keccak(key_words(token0, token1, fee_ppm, tick_spacing)).hex()
