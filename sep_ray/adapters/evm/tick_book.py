"""What is known of the ticks of one pool, kept up to date by the logs that change them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from sep_ray.adapters.evm.pool_logs import Change
from sep_ray.routing.pools.ticks import TickMap, word_of
from sep_ray.routing.pools.v3_math import MAX_TICK, MIN_TICK


def window(tick: int, spacing: int, reach_ticks: int) -> tuple[int, int]:
    """Return the bitmap words to know around `tick`: at least two each way, within the range."""
    return _around(tick, spacing, _reach(spacing, reach_ticks))


def _reach(spacing: int, reach_ticks: int) -> int:
    return max(2, -(-reach_ticks // (256 * spacing)))


def _around(tick: int, spacing: int, reach: int) -> tuple[int, int]:
    centre, lowest, highest = (word_of(each, spacing) for each in (tick, MIN_TICK, MAX_TICK))
    return max(centre - reach, lowest), min(centre + reach, highest)


class TickBook:
    """The initialised ticks within a window of bitmap words, and the liquidity from below it.

    Liquidity in range must always equal what comes from below plus the net of the ticks passed;
    `agrees` checks that, so that a missed log or a foreign write is noticed.
    """

    def __init__(
        self,
        spacing: int,
        known: tuple[int, int],
        ticks: Iterable[tuple[int, int, int]],
        tick: int,
        liquidity: int,
    ) -> None:
        """Begin from (tick, net, gross) as read when the pool stood at `tick` and `liquidity`."""
        self._spacing = spacing
        self._known = known
        self._ticks = {place: (net, gross) for place, net, gross in ticks}
        self._below = 0
        self._settle()
        self._below = liquidity - self._passed(tick)

    @property
    def tick_map(self) -> TickMap:
        """The ticks as pools use them; the same object until something changes."""
        return self._map

    def apply(self, changes: Iterable[Change]) -> None:
        """Take in what logs say about liquidity."""
        edge = self._known[0] * 256 * self._spacing
        for change in changes:
            self._add(change.lower, change.liquidity, change.liquidity)
            self._add(change.upper, -change.liquidity, change.liquidity)
            if change.lower < edge <= change.upper:
                self._below += change.liquidity
        self._settle()

    def agrees(self, tick: int, liquidity: int) -> bool:
        """Whether the ticks lead to the liquidity that the pool says it has at `tick`."""
        return self._below + self._passed(tick) == liquidity

    def surrounds(self, tick: int, reach_ticks: int) -> bool:
        """Whether at least half of the wanted window lies to each side of `tick`."""
        reach = _reach(self._spacing, reach_ticks) // 2
        low, high = _around(tick, self._spacing, reach)
        return self._known[0] <= low and high <= self._known[1]

    def holds(self, tick: int) -> bool:
        """Whether `tick` lies in the words that were read."""
        return self._known[0] <= word_of(tick, self._spacing) <= self._known[1]

    def within(self, low: int, high: int) -> list[tuple[int, int, int]]:
        """Return the (tick, net, gross) known in the bitmap words low..high, in rising order."""
        return [
            (tick, *self._ticks[tick])
            for tick in self._order
            if low <= word_of(tick, self._spacing) <= high
        ]

    @property
    def known(self) -> tuple[int, int]:
        """The first and the last bitmap word that were read."""
        return self._known

    def _add(self, tick: int, net: int, gross: int) -> None:
        if not self.holds(tick):
            return
        old_net, old_gross = self._ticks.get(tick, (0, 0))
        self._ticks[tick] = (old_net + net, old_gross + gross)
        if old_gross + gross == 0:
            del self._ticks[tick]

    def _settle(self) -> None:
        ordered = sorted((tick, net) for tick, (net, _) in self._ticks.items())
        self._map = TickMap(self._spacing, tuple(ordered), self._known)
        self._order = [tick for tick, _ in ordered]
        self._sums = list(accumulate((net for _, net in ordered), initial=0))

    def _passed(self, tick: int) -> int:
        return self._sums[bisect_right(self._order, tick)]
