"""Uniswap V2 and its family: constant product, fee on the input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import PPM
from sep_ray.routing.pools.curve import Curve, constant_product
from sep_ray.routing.pools.pool import Quote, Venue
from sep_ray.routing.reasons import NoRoute, Reason

MAX_RESERVE: Final = 2**112 - 1
_TOO_SMALL: Final = NoRoute(reason=Reason.AMOUNT_TOO_SMALL)
_TOO_LARGE: Final = NoRoute(reason=Reason.AMOUNT_TOO_LARGE)
_INSUFFICIENT: Final = NoRoute(reason=Reason.INSUFFICIENT_LIQUIDITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class V2Pool:
    """A pair at one block. Reserves in smallest units, 0..2^112-1.

    The fee is 3,000 ppm for Uniswap V2 itself. Contracts write it as 997/1000 or 9975/10000; as
    every term is scaled alike, ppm gives the same integers.
    """

    address: str
    token0: str
    token1: str
    reserve0: int
    reserve1: int
    fee_ppm: int = 3_000

    def __post_init__(self) -> None:
        if not (0 <= self.reserve0 <= MAX_RESERVE and 0 <= self.reserve1 <= MAX_RESERVE):
            raise Rejected("reserves are outside 0..2^112-1", pool=self.address)
        if not 0 <= self.fee_ppm < PPM:
            raise Rejected("fee is outside 0..999,999 ppm", pool=self.address, fee=self.fee_ppm)
        if not self.token0 < self.token1:
            raise Rejected("tokens are not in order", pool=self.address)

    @property
    def venue(self) -> Venue:
        return Venue.UNISWAP_V2

    def exact_in(self, token_in: str, amount: int) -> Quote | NoRoute:
        """out = in*(1-fee)*Rout / (Rin + in*(1-fee)), rounded down (UniswapV2Library)."""
        reserve_in, reserve_out = self._reserves(token_in)
        if amount <= 0:
            return _TOO_SMALL
        if reserve_in == 0 or reserve_out == 0:
            return _INSUFFICIENT
        if reserve_in + amount > MAX_RESERVE:
            return _TOO_LARGE
        taken = amount * (PPM - self.fee_ppm)
        out = taken * reserve_out // (reserve_in * PPM + taken)
        return self._quote(token_in, amount, out) if out else _TOO_SMALL

    def exact_out(self, token_in: str, amount: int) -> Quote | NoRoute:
        """in = Rin*out / ((Rout - out)*(1-fee)), rounded down, plus one (UniswapV2Library)."""
        reserve_in, reserve_out = self._reserves(token_in)
        if amount <= 0:
            return _TOO_SMALL
        if reserve_in == 0 or amount >= reserve_out:
            return _INSUFFICIENT
        needed = reserve_in * amount * PPM // ((reserve_out - amount) * (PPM - self.fee_ppm)) + 1
        if reserve_in + needed > MAX_RESERVE:
            return _TOO_LARGE
        return self._quote(token_in, needed, amount)

    def price(self) -> tuple[int, int]:
        """Return reserve1 / reserve0."""
        return self.reserve1, self.reserve0

    def depth(self, token: str) -> int:
        """Return the reserve of `token`."""
        return self.reserve0 if token == self.token0 else self.reserve1

    def curve(self, token_in: str) -> Curve | None:
        """Return the pair in floats; None when it is empty."""
        return constant_product(*self._reserves(token_in), self.fee_ppm)

    def moved(self, quote: Quote) -> V2Pool:
        """Return the pair with the reserves the quoted swap leaves."""
        return replace(self, reserve0=quote.state[0], reserve1=quote.state[1])

    def _reserves(self, token_in: str) -> tuple[int, int]:
        if token_in == self.token0:
            return self.reserve0, self.reserve1
        return self.reserve1, self.reserve0

    def _quote(self, token_in: str, amount_in: int, amount_out: int) -> Quote:
        if token_in == self.token0:
            state = self.reserve0 + amount_in, self.reserve1 - amount_out
        else:
            state = self.reserve0 - amount_out, self.reserve1 + amount_in
        return Quote(amount_in, amount_out, 0, state)
