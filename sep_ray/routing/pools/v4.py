"""Uniswap V4 without hooks: V3's mathematics, kept by one contract for all pools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.pools.v3 import V3Pool

COIN: Final = "0x" + "0" * 40
"""The address that stands for the chain's own coin; it may be token0."""
NO_HOOKS: Final = COIN


class PoolKey(NamedTuple):
    """What names a pool to the PoolManager, in the order of its struct."""

    currency0: str
    currency1: str
    fee: int
    tick_spacing: int
    hooks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class V4Pool(V3Pool):
    """A pool of the PoolManager at one block. `address` is its id: 32 bytes in hex.

    Only pools without hooks, with a static fee and without a protocol fee: there `Pool.swap`
    takes the same steps with the same roundings as UniswapV3Pool. `fee_ppm` is the key's fee.
    """

    @property
    def venue(self) -> Venue:
        return Venue.UNISWAP_V4

    @property
    def key(self) -> PoolKey:
        """Return the pool's key."""
        return PoolKey(self.token0, self.token1, self.fee_ppm, self.tick_map.spacing, NO_HOOKS)
