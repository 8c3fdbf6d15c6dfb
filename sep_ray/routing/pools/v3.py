"""Uniswap V3: concentrated liquidity, exact as the pool contract computes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import PPM
from sep_ray.routing.pools.curve import Curve, concentrated
from sep_ray.routing.pools.pool import Pool, Quote, Venue
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v3_ladder import Fill, Ladder, Rung
from sep_ray.routing.pools.v3_math import (
    MAX_SQRT_RATIO,
    MAX_TICK,
    MIN_SQRT_RATIO,
    MIN_TICK,
    Q96,
    sqrt_ratio_at_tick,
    tick_at_sqrt_ratio,
)
from sep_ray.routing.reasons import NoRoute, Reason

_TOO_LARGE: Final = 2**255
_WHY: Final = {reason: NoRoute(reason=reason) for reason in Reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class V3Pool:
    """A pool at one block: slot0's price and tick, the liquidity in range, and the ticks.

    Prices are square roots in Q64.96. A swap that would leave the ticks that are known is
    answered with OUTSIDE_KNOWN_TICKS. Each direction's steps are worked out once and kept; that
    memory is not part of the value and does not travel with it.
    """

    address: str
    token0: str
    token1: str
    fee_ppm: int
    sqrt_price: int
    tick: int
    liquidity: int
    tick_map: TickMap
    _down: Ladder = field(init=False, repr=False, compare=False)
    _up: Ladder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.token0 < self.token1:
            raise Rejected("tokens are not in order", pool=self.address)
        if not 0 <= self.fee_ppm < PPM:
            raise Rejected("fee is outside 0..999,999 ppm", pool=self.address, fee=self.fee_ppm)
        if not 0 <= self.liquidity < 2**128:
            raise Rejected("liquidity is outside 0..2^128-1", pool=self.address)
        if not MIN_SQRT_RATIO <= self.sqrt_price < MAX_SQRT_RATIO:
            raise Rejected("price is out of range", pool=self.address, price=self.sqrt_price)
        if not self._tick_fits():
            raise Rejected("tick and price disagree", pool=self.address, tick=self.tick)
        start = Rung(self.sqrt_price, self.tick, self.liquidity, 0)
        object.__setattr__(self, "_down", Ladder(self.tick_map, self.fee_ppm, start, True))
        object.__setattr__(self, "_up", Ladder(self.tick_map, self.fee_ppm, start, False))

    def __reduce__(self) -> tuple[Any, ...]:
        given = (
            *(type(self), self.address, self.token0, self.token1, self.fee_ppm),
            *(self.sqrt_price, self.tick, self.liquidity, self.tick_map),
        )
        return _rebuilt, given

    @property
    def venue(self) -> Venue:
        return Venue.UNISWAP_V3

    def exact_in(self, token_in: str, amount: int) -> Quote | NoRoute:
        """Quote a whole sale of `amount` (UniswapV3Pool.swap without a price limit)."""
        quote = self._quote(self._ladder(token_in), amount, False)
        if isinstance(quote, Quote) and quote.amount_out == 0:
            return _WHY[Reason.AMOUNT_TOO_SMALL]
        return quote

    def exact_out(self, token_in: str, amount: int) -> Quote | NoRoute:
        """Quote a whole purchase of `amount` (swap with a negative amountSpecified)."""
        return self._quote(self._ladder(token_in), amount, True)

    def swap_to(
        self, token_in: str, amount: int, sqrt_price_limit: int, *, exact_out: bool = False
    ) -> Quote | NoRoute:
        """Quote as much of `amount` as fits before the price limit, as the pool's swap does.

        A limit behind the price or outside the contract's range is PRICE_LIMIT (revert SPL).
        """
        downwards = token_in == self.token0
        if downwards and not MIN_SQRT_RATIO < sqrt_price_limit < self.sqrt_price:
            return _WHY[Reason.PRICE_LIMIT]
        if not downwards and not self.sqrt_price < sqrt_price_limit < MAX_SQRT_RATIO:
            return _WHY[Reason.PRICE_LIMIT]
        return self._quote(self._ladder(token_in), amount, exact_out, sqrt_price_limit)

    def price(self) -> tuple[int, int]:
        """Return the square of the square-root price over 2^192."""
        return self.sqrt_price**2, 1 << 192

    def depth(self, token: str) -> int:
        """Return the virtual reserve: L/P of token0, L*P of token1, rounded down."""
        if token == self.token0:
            return (self.liquidity << 96) // self.sqrt_price
        return self.liquidity * self.sqrt_price // Q96

    def curve(self, token_in: str) -> Curve | None:
        """Return the direction in floats as far as ticks are known; None without liquidity."""
        return concentrated(
            *(self.sqrt_price, self.tick, self.liquidity, self.tick_map, self.fee_ppm),
            downwards=token_in == self.token0,
        )

    def moved(self, quote: Quote) -> V3Pool:
        """Return the pool at the price, tick and liquidity the quoted swap leaves."""
        price, liquidity, *tick = quote.state
        return replace(
            self,
            sqrt_price=price,
            liquidity=liquidity,
            tick=tick[0] if tick else tick_at_sqrt_ratio(price),
        )

    def _ladder(self, token_in: str) -> Ladder:
        return self._down if token_in == self.token0 else self._up

    def _quote(
        self, ladder: Ladder, amount: int, exact_out: bool, limit: int | None = None
    ) -> Quote | NoRoute:
        if not 0 < amount < _TOO_LARGE:
            too_small = amount <= 0
            return _WHY[Reason.AMOUNT_TOO_SMALL if too_small else Reason.AMOUNT_TOO_LARGE]
        if limit is None:
            fill = ladder.fill(amount, exact_out)
        else:
            fill = ladder.fill_to(amount, exact_out, limit)
        if isinstance(fill, Fill):
            taken, given, price, tick, liquidity, crossed = fill
            state = (price, liquidity) if tick is None else (price, liquidity, tick)
            return Quote(taken, given, crossed, state)
        return _WHY[fill]

    def _tick_fits(self) -> bool:
        """Tick and price agree; on a boundary the tick below is right too (crossed downwards)."""
        if not MIN_TICK <= self.tick < MAX_TICK:
            return False
        lower, upper = sqrt_ratio_at_tick(self.tick), sqrt_ratio_at_tick(self.tick + 1)
        return lower <= self.sqrt_price <= upper


def _rebuilt(
    kind: type[V3Pool],
    address: str,
    token0: str,
    token1: str,
    fee_ppm: int,
    sqrt_price: int,
    tick: int,
    liquidity: int,
    tick_map: TickMap,
) -> V3Pool:
    return kind(
        address=address,
        token0=token0,
        token1=token1,
        fee_ppm=fee_ppm,
        sqrt_price=sqrt_price,
        tick=tick,
        liquidity=liquidity,
        tick_map=tick_map,
    )


def at_means(pools: Iterable[Pool], means: Mapping[str, int]) -> tuple[Pool, ...]:
    """Return the V3 pools that have a mean tick, by address, as if they stood there."""
    return tuple(
        replace(pool, sqrt_price=sqrt_ratio_at_tick(tick), tick=tick)
        for pool in pools
        if isinstance(pool, V3Pool) and (tick := means.get(pool.address)) is not None
    )
