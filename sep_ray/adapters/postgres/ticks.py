"""Prices over time in a hypertable or, without the extension, in daily partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sep_ray.adapters.postgres.queries import SQL
from sep_ray.adapters.postgres.rows import columns
from sep_ray.adapters.postgres.wire import Readers
from sep_ray.journal.records import Tick
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId

_DAY_MS: Final = 86_400_000


class TickTable:
    """The table market_ticks; remembers which days it has made room for."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._ready: set[int] = set()

    async def record(self, ticks: Sequence[Tick]) -> None:
        """See Ticks.record_ticks; safe to repeat."""
        first: dict[tuple[object, ...], Tick] = {}
        for tick in ticks:
            first.setdefault((tick.chain_id, tick.base, tick.quote, tick.block_number), tick)
        for day in sorted({tick.at // _DAY_MS for tick in first.values()} - self._ready):
            at = day * _DAY_MS
            await self._readers.rows(SQL["ensure_partitions"], at, at)
            self._ready.add(day)
        rows = (
            (
                tick.at, tick.chain_id, str(tick.base), str(tick.quote), tick.block_number,
                tick.numerator, tick.denominator,
            )
            for tick in first.values()
        )  # fmt: skip
        await self._readers.rows(SQL["record_ticks"], *columns(rows, 7))

    async def recent(
        self, chain_id: ChainId, base: Asset, quote: Asset, limit: int
    ) -> tuple[Tick, ...]:
        """See Ticks.recent_ticks."""
        rows = await self._readers.rows(SQL["recent_ticks"], chain_id, str(base), str(quote), limit)
        return tuple(
            Tick(
                chain_id=chain_id,
                base=base,
                quote=quote,
                block_number=row["block_number"],
                at=Millis(row["at"]),
                numerator=int(row["numerator"]),
                denominator=int(row["denominator"]),
            )
            for row in reversed(rows)
        )
