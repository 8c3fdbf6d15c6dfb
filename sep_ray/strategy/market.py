"""The market as a strategy sees it: mid prices block by block, and bars of blocks.

Prices are exact fractions between smallest units; floats are for signals only. A view of a block
shows nothing newer than that block, so that the same code sees the same market live and on
history.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, ChainId, Rounding, divide
from sep_ray.strategy.tokens import Tokens

_block = attrgetter("block_number")


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two assets of one chain; the price is units of `quote` for one unit of `base`."""

    base: Asset
    quote: Asset

    def __post_init__(self) -> None:
        if self.base.chain_id != self.quote.chain_id or self.base == self.quote:
            raise Rejected(
                "a pair is two assets of one chain", base=str(self.base), quote=str(self.quote)
            )

    @property
    def chain_id(self) -> ChainId:
        """The chain both assets are on."""
        return self.base.chain_id

    @property
    def inverse(self) -> Pair:
        """The same two assets, priced the other way round."""
        return Pair(self.quote, self.base)


@dataclass(frozen=True, slots=True)
class Mid:
    """A mid price at a block: one unit of base is numerator/denominator units of quote."""

    block_number: int
    at: Millis
    numerator: int
    denominator: int

    @property
    def inverse(self) -> Mid:
        """The price of quote in base."""
        return Mid(self.block_number, self.at, self.denominator, self.numerator)

    def worth(self, units: int, rounding: Rounding = Rounding.DOWN) -> int:
        """Return what `units` of base are worth in units of quote."""
        return divide(units * self.numerator, self.denominator, rounding)

    def __float__(self) -> float:
        return self.numerator / self.denominator


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A pair's prices over the blocks first_block..last_block, both included.

    A bar without any price of its own repeats the one before it.
    """

    pair: Pair
    first_block: int
    last_block: int
    open: Mid
    high: Mid
    low: Mid
    close: Mid


class Series:
    """One pair's newest mids, oldest first, one per block; at least the last `keep` of them."""

    def __init__(self, pair: Pair, keep: int) -> None:
        self.pair = pair
        self.keep = keep
        self._mids: list[Mid] = []

    def __len__(self) -> int:
        return len(self._mids)

    @property
    def newest(self) -> int:
        """The newest block known, or -1."""
        return self._mids[-1].block_number if self._mids else -1

    def extend(self, mids: Iterable[Mid]) -> None:
        """Add mids in order of blocks; those not newer than the newest are left out."""
        for mid in mids:
            if mid.block_number > self.newest:
                self._mids.append(mid)
        if len(self._mids) > 2 * self.keep:
            del self._mids[: -self.keep]

    def until(self, block: int) -> int:
        """Return how many mids are at or before `block`."""
        return bisect_right(self._mids, block, key=_block)

    def last(self, block: int, count: int) -> Sequence[Mid]:
        """Return up to `count` mids at or before `block`, oldest first."""
        end = self.until(block)
        return self._mids[max(0, end - count) : end]

    def between(self, after: int, until: int) -> Sequence[Mid]:
        """Return the mids of the blocks above `after`, up to `until`, oldest first."""
        return self._mids[self.until(after) : self.until(until)]

    def bar(self, first: int, last: int) -> Bar | None:
        """Return the bar of these blocks; None when nothing is known at its first block."""
        start, end = self.until(first - 1), self.until(last)
        mids = self._mids[start:end]
        if start:
            opening = self._mids[start - 1]
        elif mids and mids[0].block_number == first:
            opening = mids[0]
        else:
            return None
        own = mids or [opening]
        return Bar(
            pair=self.pair,
            first_block=first,
            last_block=last,
            open=own[0],
            high=max(own, key=_value),
            low=min(own, key=_value),
            close=own[-1],
        )


class _Key:
    """Orders fractions exactly, by cross-multiplication."""

    __slots__ = ("mid",)

    def __init__(self, mid: Mid) -> None:
        self.mid = mid

    def __lt__(self, other: _Key) -> bool:
        a, b = self.mid, other.mid
        return a.numerator * b.denominator < b.numerator * a.denominator


def _value(mid: Mid) -> _Key:
    return _Key(mid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One chain's market at a block: for each pair watched, its prices up to that block."""

    chain_id: ChainId
    block_number: int
    at: Millis
    series: Mapping[Pair, Series]
    tokens: Tokens

    def history(self, base: Asset, quote: Asset, count: int) -> tuple[Mid, ...]:
        """Return up to `count` mids, oldest first, at or before this block."""
        pair = Pair(base, quote)
        if pair in self.series:
            return tuple(self.series[pair].last(self.block_number, count))
        if pair.inverse in self.series:
            found = self.series[pair.inverse].last(self.block_number, count)
            return tuple(mid.inverse for mid in found)
        return ()

    def mid(self, base: Asset, quote: Asset) -> Mid | None:
        """Return the pair's newest mid, or None when none is known."""
        newest = self.history(base, quote, 1)
        return newest[0] if newest else None

    def value(self, asset: Asset, units: int, quote: Asset) -> int | None:
        """Return what units are worth in units of `quote`, rounded down; None without a price."""
        if asset == quote:
            return units
        mid = self.mid(asset, quote)
        return mid.worth(units) if mid else None

    def price(self, base: Asset, quote: Asset) -> float | None:
        """Return whole tokens of quote for one whole token of base; for signals, not amounts."""
        newest = self.prices(base, quote, 1)
        return newest[0] if newest else None

    def prices(self, base: Asset, quote: Asset, count: int) -> list[float]:
        """Return `history` as floats in whole tokens, oldest first."""
        mids = self.history(base, quote, count)
        if not mids:
            return []
        scale = 10.0 ** (self.tokens[base].decimals - self.tokens[quote].decimals)
        return [float(mid) * scale for mid in mids]

    def closes(self, base: Asset, quote: Asset, blocks: int, count: int) -> list[float]:
        """Return the last prices of up to `count` complete bars, as `prices` does; quicker than
        `bars`."""
        series = self.series.get(Pair(base, quote))
        if series is None:
            return []
        end = (self.block_number + 1) // blocks
        ends = ((number + 1) * blocks - 1 for number in range(max(0, end - count), end))
        mids = [mid for block in ends for mid in series.last(block, 1)]
        scale = 10.0 ** (self.tokens[base].decimals - self.tokens[quote].decimals)
        return [float(mid) * scale for mid in mids]

    def bars(self, base: Asset, quote: Asset, blocks: int, count: int) -> tuple[Bar, ...]:
        """Return up to `count` bars of `blocks` blocks that are complete, oldest first."""
        series = self.series.get(Pair(base, quote))
        end = (self.block_number + 1) // blocks
        return bars_between(series, blocks, end - count, end) if series else ()


def bars_between(series: Series, blocks: int, start: int, end: int) -> tuple[Bar, ...]:
    """Return bars number start..end-1; number k covers the blocks from k * blocks on."""
    found = (series.bar(k * blocks, (k + 1) * blocks - 1) for k in range(max(0, start), end))
    return tuple(bar for bar in found if bar is not None)
