"""What is known of one V3 pool's ticks, kept up to date by its Mint and Burn logs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from sep_ray.adapters.evm.abi import words
from sep_ray.routing.pools.ticks import TickMap, word_of
from sep_ray.routing.pools.v3_math import MAX_TICK, MIN_TICK

MINT: Final = "0x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde"
"""keccak256("Mint(address,address,int24,int24,uint128,uint256,uint256)")."""
BURN: Final = "0x0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c"
"""keccak256("Burn(address,int24,int24,uint128,uint256,uint256)")."""


@dataclass(frozen=True, slots=True)
class Change:
    """Liquidity added to (or, negative, taken from) the ticks lower..upper of a pool."""

    pool: str
    lower: int
    upper: int
    liquidity: int


def parse_change(log: dict[str, Any]) -> Change:
    """Read a Mint or Burn log of a V3 pool."""
    topics = log["topics"]
    data = words(bytes.fromhex(log["data"][2:]))
    minted = topics[0].lower() == MINT
    return Change(
        pool=log["address"].lower(),
        lower=signed(int(topics[2], 16)),
        upper=signed(int(topics[3], 16)),
        liquidity=data[1] if minted else -data[0],
    )


def signed(value: int) -> int:
    """Read a word as a two's complement integer."""
    return value - (1 << 256) if value >> 255 else value


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
        """Take in what Mint and Burn logs say."""
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

    def _add(self, tick: int, net: int, gross: int) -> None:
        if not self._known[0] <= word_of(tick, self._spacing) <= self._known[1]:
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
