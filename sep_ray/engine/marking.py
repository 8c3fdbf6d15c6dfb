"""Keeps how strategies do, for the limits on losses (P9). Only those are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from sep_ray.engine.rules import ChainRules
from sep_ray.journal.ports import Ledger, Policies
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.units import Asset
from sep_ray.policy.limits import Kind, Limit
from sep_ray.policy.marks import mark
from sep_ray.policy.request import Price
from sep_ray.portfolio.ledger import HOLDINGS, Bucket, Holding

EVERY_MS: Final = 1_000
LOSSES: Final = frozenset({Kind.DAILY_LOSS, Kind.DRAWDOWN})
TRADED: Final = frozenset({Bucket.SPENT, Bucket.RECEIVED})


class MarkingStore(Policies, Ledger, Protocol):
    """What marking reads and writes."""


class Marker:
    """Marks strategies on one chain, at most once every EVERY_MS."""

    def __init__(self, store: MarkingStore, rules: ChainRules, clock: Clock) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._last = Millis(-EVERY_MS)

    async def keep(self, limits: Iterable[Limit], prices: Mapping[Asset, Price]) -> None:
        """Mark every strategy with a limit on losses; one without a price keeps its old mark,
        which counts for a while only."""
        losing = {limit.subject.strategy_id for limit in limits if limit.kind in LOSSES}
        now = self._clock.now()
        if not losing or not prices or now - self._last < EVERY_MS:
            return
        self._last = now
        for name in sorted(name for name in losing if name is not None):
            await self._mark(name, prices, now)

    async def _mark(self, name: str, prices: Mapping[Asset, Price], now: Millis) -> None:
        chain_id = self._rules.chain_id
        lines = [h for h in await self._store.holdings(name) if h.asset.chain_id == chain_id]
        kept = await self._store.chain_marks(name)
        made = mark(
            next((each for each in kept if each.chain_id == chain_id), None),
            strategy_id=name,
            chain_id=chain_id,
            held=_sums(line for line in lines if line.bucket in HOLDINGS),
            given=_sums(line for line in lines if line.bucket in HOLDINGS | TRADED),
            prices=prices,
            at=now,
        )
        if made is not None:
            await self._store.keep_mark(made)


def _sums(lines: Iterable[Holding]) -> dict[Asset, int]:
    sums: dict[Asset, int] = {}
    for line in lines:
        sums[line.asset] = sums.get(line.asset, 0) + line.units
    return sums
