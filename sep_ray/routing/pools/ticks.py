"""The initialised ticks of a V3 pool, as far as they are known."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sep_ray.kernel.errors import Rejected
from sep_ray.routing.pools.v3_math import MAX_TICK, MIN_TICK


@dataclass(frozen=True, slots=True)
class TickMap:
    """Sparse ticks: (tick, net liquidity) in rising order, complete within `words`.

    `words` are the first and last word of the pool's bitmap (256 spacings each) that were read;
    None means all of them. Shared between the blocks of a pool whose positions did not change.
    """

    spacing: int
    ticks: tuple[tuple[int, int], ...] = ()
    words: tuple[int, int] | None = None
    _where: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = tuple(tick for tick, _ in self.ticks)
        if self.spacing <= 0:
            raise Rejected("tick spacing is not positive", spacing=self.spacing)
        if any(low >= high for low, high in pairwise(where)):
            raise Rejected("ticks are not in rising order")
        if where and (where[0] < MIN_TICK or where[-1] > MAX_TICK):
            raise Rejected("a tick is out of range", first=where[0], last=where[-1])
        if any(tick % self.spacing for tick in where):
            raise Rejected("a tick is not a multiple of the spacing", spacing=self.spacing)
        object.__setattr__(self, "_where", where)

    def __reduce__(self) -> tuple[Any, ...]:
        return TickMap, (self.spacing, self.ticks, self.words)

    def next(self, tick: int, downwards: bool) -> tuple[int, int | None] | None:
        """Return the next stop within one bitmap word, and its net liquidity if initialised.

        As TickBitmap.nextInitializedTickWithinOneWord: at or below `tick` when going down, above
        it when going up; an uninitialised word edge is a stop too (the contract rounds there).
        Clipped to MIN_TICK..MAX_TICK. None when the word was not read.
        """
        slot = tick // self.spacing + (0 if downwards else 1)
        word = slot >> 8
        if self.words is not None and not self.words[0] <= word <= self.words[1]:
            return None
        place = bisect_right(self._where, tick) - (1 if downwards else 0)
        edge = ((word << 8) + (0 if downwards else 255)) * self.spacing
        if 0 <= place < len(self._where):
            found, net = self.ticks[place]
            if (found >= edge) if downwards else (found <= edge):
                return found, net
        return max(min(edge, MAX_TICK), MIN_TICK), None


def word_of(tick: int, spacing: int) -> int:
    """Return the bitmap word that holds `tick` (compressed towards minus infinity)."""
    return tick // spacing >> 8
