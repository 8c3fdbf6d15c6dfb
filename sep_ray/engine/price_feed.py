"""Prices for strategies: each watched pair's ticks, read once for all that watch it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sep_ray.journal.ports import Ticks
from sep_ray.journal.records import Tick
from sep_ray.kernel.units import ChainId
from sep_ray.strategy.market import Market, Mid, Pair, Series
from sep_ray.strategy.tokens import Tokens

PEEK: Final = 8
"""Ticks read per pair in an ordinary turn; a gap behind them is read in full."""


class PriceFeed:
    """Series of mids that grow with the ticks recorded, and views of them for strategies."""

    def __init__(self, ticks: Ticks, tokens: Tokens) -> None:
        self._ticks = ticks
        self._tokens = tokens
        self._series: dict[Pair, Series] = {}
        self._horizon: dict[ChainId, int] = {}
        self._newest: dict[ChainId, int] = {}

    async def watch(self, pairs: Iterable[Pair], keep: int) -> None:
        """Have at least `keep` ticks of these pairs where the store has them."""
        for pair in pairs:
            known = self._series.get(pair)
            if known is not None and known.keep >= keep:
                continue
            fresh = Series(pair, keep)
            fresh.extend(await self._read(pair, keep))
            self._series[pair] = fresh

    def forget_all_but(self, pairs: Iterable[Pair]) -> None:
        """Stop reading pairs that nobody watches any more."""
        wanted = set(pairs)
        self._series = {pair: s for pair, s in self._series.items() if pair in wanted}

    async def refresh(self) -> None:
        """Read what is new."""
        await asyncio.gather(*(self._extend(series) for series in self._series.values()))
        self._settle()

    def latest(self, pairs: Sequence[Pair], chain_id: ChainId) -> Market | None:
        """Return the market of the newest block at which one of these pairs has a price."""
        here = (self._series[pair] for pair in pairs if pair.chain_id == chain_id)
        newest = [mid for series in here for mid in series.last(series.newest, 1)]
        mid = max(newest, key=lambda mid: mid.block_number, default=None)
        return self._view(pairs, chain_id, mid) if mid else None

    def unseen(
        self, pairs: Sequence[Pair], seen: Mapping[ChainId, int], limit: int
    ) -> list[Market]:
        """Return the markets of the oldest `limit` blocks above those seen, in order of time.

        A block's ticks are read pair by pair and may be caught half written: what was the newest
        block a turn ago is taken as complete, and a newer one once all pairs have it.
        """
        found: dict[tuple[ChainId, int], Mid] = {}
        for pair in pairs:
            chain_id, horizon = pair.chain_id, self._horizon.get(pair.chain_id, -1)
            for mid in self._series[pair].between(seen.get(chain_id, -1), horizon):
                found[chain_id, mid.block_number] = mid
        order = sorted(found, key=lambda key: (found[key].at, key))[:limit]
        return [self._view(pairs, chain_id, found[chain_id, block]) for chain_id, block in order]

    def _view(self, pairs: Sequence[Pair], chain_id: ChainId, mid: Mid) -> Market:
        return Market(
            chain_id=chain_id,
            block_number=mid.block_number,
            at=mid.at,
            series={pair: self._series[pair] for pair in pairs},
            tokens=self._tokens,
        )

    def _settle(self) -> None:
        chains: dict[ChainId, list[int]] = {}
        for pair, series in self._series.items():
            chains.setdefault(pair.chain_id, []).append(series.newest)
        for chain_id, newest in chains.items():
            self._horizon[chain_id] = max(min(newest), self._newest.get(chain_id, -1))
            self._newest[chain_id] = max(newest)

    async def _extend(self, series: Series) -> None:
        mids = await self._read(series.pair, PEEK)
        if len(mids) == PEEK and mids[0].block_number > series.newest:
            mids = await self._read(series.pair, series.keep)
        series.extend(mids)

    async def _read(self, pair: Pair, limit: int) -> list[Mid]:
        """Read a pair's newest ticks; they are recorded in the order of the assets."""
        low, high = sorted((pair.base, pair.quote))
        rows = await self._ticks.recent_ticks(pair.chain_id, low, high, limit)
        mids = map(_mid, rows)
        return list(mids) if low == pair.base else [mid.inverse for mid in mids]


def _mid(tick: Tick) -> Mid:
    return Mid(tick.block_number, tick.at, tick.numerator, tick.denominator)
