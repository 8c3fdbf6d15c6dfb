"""A chain's market as of its newest head: read, moved by what we send, and what gas costs in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sep_ray.engine.planning import Planner, Trade, WorkingMarket, pair_ticks
from sep_ray.engine.proving import worth_of
from sep_ray.engine.rules import ChainRules, Meter
from sep_ray.engine.world import World
from sep_ray.execution.fees import Fees, offer
from sep_ray.execution.ports import FREE, Call, Head
from sep_ray.journal.ports import Ticks
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import Asset
from sep_ray.routing.plan import Plan
from sep_ray.routing.prices import Ratio, mid_price
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot

TIP_EVERY: Final = 10
"""Heads after which the usual tip is read again."""
TYPICAL: Final = Call(to="0x" + "ff" * 20, data="0x" + bytes(range(256)).hex() * 3)
"""What a rollup is asked the price of: 768 bytes that hardly shrink, a swap of two legs."""


class Marketplace:
    """Holds the newest market. `working` is that as our transactions in flight will leave it."""

    def __init__(
        self,
        world: World,
        ticks: Ticks,
        planner: Planner,
        clock: Clock,
        rules: ChainRules,
        meter: Meter,
    ) -> None:
        self.working: WorkingMarket | None = None
        self._world, self._ticks, self._planner = world, ticks, planner
        self._clock, self._rules, self._meter = clock, rules, meter
        self._data = FREE
        self._tip_wei = self._heads_seen = 0

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest market that was read."""
        return self.working.base if self.working is not None else None

    async def read(self, head: Head) -> None:
        """Read the market right after a head, and keep its prices."""
        if self._heads_seen % TIP_EVERY == 0:
            self._tip_wei = await self._world.accounts.usual_tip()
        self._heads_seen += 1
        self._planner.observe(head.next_base_fee_wei)
        if self._world.data_fees is not None:
            (self._data,) = await self._world.data_fees.costs([TYPICAL], head)
        snapshot = await self._world.snapshots.read(head)
        self._take(snapshot)
        ticks = pair_ticks(snapshot, self._rules.tokens, self._clock.now())
        await self._ticks.record_ticks(ticks)

    async def stands(self, head: Head, pools: Iterable[str], flying: Iterable[Plan]) -> bool:
        """Whether pools are as they were read. Where not, the market is read anew, and moved as
        the plans in flight will move it."""
        if not await self._world.snapshots.confirm(head, pools):
            return True
        self._take(await self._world.snapshots.read(head))
        self.expect(flying)
        return False

    def expect(self, flying: Iterable[Plan]) -> None:
        """Move the market as plans in flight will."""
        if self.working is not None:
            for plan in flying:
                self.working.take(plan)

    def fees(self, head: Head) -> Fees:
        """Return what is offered for gas after a head."""
        fees = offer(self._rules.fees, head.next_base_fee_wei, self._tip_wei)
        return replace(fees, data_gas=self._data.gas, data_wei=self._data.wei)

    async def quote(self, trade: Trade, head: Head | None) -> Plan | NoRoute:
        """Plan a trade, without sending; Transient while there is no market."""
        head, snapshot = self.now(head)
        request = trade.request(
            snapshot.block_time_s + self._rules.lifetime_ms // 1_000,
            head.next_base_fee_wei + self.fees(head).tip_wei,
            self._data,
            mix_venues=self._world.calls.mixes_venues,
        )
        (options,) = await self._planner.options(snapshot, [request])
        return self._planner.decide(options, WorkingMarket(snapshot))

    def now(self, head: Head | None) -> tuple[Head, Snapshot]:
        """Return the newest head and market; Transient while there is none."""
        if head is None or self.snapshot is None:
            raise Transient("no market has been read yet", chain_id=self._rules.chain_id)
        return head, self.snapshot

    def prices(self, quote: Asset) -> dict[Asset, Ratio]:
        """Return the mid of the coin and of every known token in `quote`, where there is one.

        Units of `quote` per smallest unit, as numerator and denominator.
        """
        snapshot = self.snapshot
        if snapshot is None:
            return {}
        found = {asset: mid_price(snapshot, asset, quote) for asset in self._rules.assets}
        return {asset: mid for asset, mid in found.items() if not isinstance(mid, NoRoute)}

    def worth(self, asset: Asset, units: int) -> int | None:
        """Return what units are worth in units of account; None where nobody can tell."""
        return worth_of(asset, units, self.snapshot, self._rules.numeraire)

    def _take(self, snapshot: Snapshot) -> None:
        """Plan on this market from now on, and count the pools that stopped since the last."""
        known = set(self.snapshot.stopped) if self.snapshot is not None else set()
        chain = str(self._rules.chain_id)
        for stop in snapshot.stopped:
            if stop not in known:
                self._meter.count("pool_stopped", {"chain_id": chain, "cause": stop.cause.value})
        for stop in known.difference(snapshot.stopped):
            self._meter.count("pool_returned", {"chain_id": chain, "cause": stop.cause.value})
        self.working = WorkingMarket(snapshot)
