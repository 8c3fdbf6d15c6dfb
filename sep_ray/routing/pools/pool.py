"""What the planner asks of a pool, whatever its mathematics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sep_ray.routing.pools.curve import Curve
from sep_ray.routing.reasons import NoRoute


class Venue(StrEnum):
    """The families of pools a request may allow."""

    UNISWAP_V2 = "uniswap-v2"
    UNISWAP_V3 = "uniswap-v3"
    UNISWAP_V4 = "uniswap-v4"


@dataclass(frozen=True, slots=True)
class Quote:
    """One swap in one pool, exact to the smallest unit.

    `state` is the pool's own description of where the swap leaves it; `Pool.moved` reads it.
    """

    amount_in: int
    amount_out: int
    ticks_crossed: int
    state: tuple[int, ...]


class Searchable(Protocol):
    """What the search, which works in floats, asks of a pool."""

    def curve(self, token_in: str) -> Curve | None:
        """Return the sale of `token_in` in floats; None where nothing is sold."""


class Pool(Searchable, Protocol):
    """An immutable pool at one block. Tokens are lower-case addresses; token0 < token1."""

    @property
    def venue(self) -> Venue: ...
    @property
    def address(self) -> str: ...
    @property
    def token0(self) -> str: ...
    @property
    def token1(self) -> str: ...
    @property
    def fee_ppm(self) -> int: ...

    def exact_in(self, token_in: str, amount: int) -> Quote | NoRoute:
        """Quote the sale of exactly `amount` of `token_in`; all of it is taken, or no quote."""

    def exact_out(self, token_in: str, amount: int) -> Quote | NoRoute:
        """Quote the purchase of exactly `amount` of the other token, paid in `token_in`."""

    def price(self) -> tuple[int, int]:
        """Return token1 units per token0 unit, before fees, as numerator and denominator.

        The denominator may be zero only where `depth` is zero too.
        """

    def depth(self, token: str) -> int:
        """Return the virtual reserve of `token` at the current price, in its smallest units."""

    def moved(self, quote: Quote) -> Pool:
        """Return the pool as the quoted swap leaves it."""
