"""ChainExecutor: everything that happens on one chain, head by head (P11: starting is recovering).

A head is worked on in this order: confirm what landed, compare ledger and chain, mind what has
not landed, begin new work. Whatever cannot be read stops new work and nothing else; the next
head tries again. No two turns run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Protocol
from uuid import UUID

import structlog

from sep_ray.decomposition.step import Step
from sep_ray.engine.audit import Auditor, AuditStore
from sep_ray.engine.claiming import Claimer
from sep_ray.engine.departing import Crossings, Departer
from sep_ray.engine.gate import CallReader, Gate, GateStore, Unread
from sep_ray.engine.halting import HaltBoard
from sep_ray.engine.lane import Lane, LaneState
from sep_ray.engine.launching import Launcher
from sep_ray.engine.leadership import Leadership
from sep_ray.engine.netter import Netter
from sep_ray.engine.planning import Planner, Snapshots, Trade, WorkingMarket, pair_ticks
from sep_ray.engine.ports import Model
from sep_ray.engine.proving import worth_of
from sep_ray.engine.refuelling import Refueller
from sep_ray.engine.retrying import Retrier
from sep_ray.engine.rules import ChainRules, Meter, NoMeter
from sep_ray.engine.sending import Round, Sender, SendingStore
from sep_ray.engine.settling import Settler, SettlingStore
from sep_ray.engine.status import ExecutorStatus, lane_status
from sep_ray.engine.watching import Watcher
from sep_ray.execution.fees import Fees, offer
from sep_ray.execution.ports import (
    FREE,
    Accounts,
    Call,
    Calls,
    Chain,
    DataFees,
    Endpoints,
    Evidence,
    Finality,
    Head,
    Signer,
)
from sep_ray.journal.ports import Leases, Ticks
from sep_ray.journal.records import LeaseLost
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import InvariantBroken, SepError, Transient
from sep_ray.kernel.ids import IdSource
from sep_ray.kernel.points import Point, reached
from sep_ray.kernel.units import Asset
from sep_ray.routing.plan import Plan
from sep_ray.routing.prices import Ratio, mid_price
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot
from sep_ray.settlement.choice import Chosen, NoBridge
from sep_ray.settlement.weighed import Choice

log = structlog.get_logger()

TIP_EVERY: Final = 10
"""Heads after which the usual tip is read again."""
TYPICAL: Final = Call(to="0x" + "ff" * 20, data="0x" + bytes(range(256)).hex() * 3)
"""What a rollup is asked the price of: 768 bytes that hardly shrink, a swap of two legs."""
ROUNDS_A_TURN: Final = 16
"""Rounds sent before the next head is looked at."""


class ExecutorStore(AuditStore, SendingStore, SettlingStore, GateStore, Leases, Ticks, Protocol):
    """What an executor reads and writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The chain as an executor meets it; None for what the chain does not have."""

    chain: Chain
    accounts: Accounts
    calls: Calls
    snapshots: Snapshots
    finality: Finality | None = None
    evidence: Evidence | None = None
    data_fees: DataFees | None = None
    endpoints: Endpoints | None = None
    reader: CallReader = field(default_factory=Unread)


class ChainExecutor:
    """Works on one chain with a lane for each signer. Drive it by `run`, or head by head."""

    def __init__(
        self,
        world: World,
        store: ExecutorStore,
        signers: Sequence[Signer],
        rules: ChainRules,
        *,
        clock: Clock,
        steady: Clock,
        ids: IdSource,
        holder: str,
        cost_model: Model | None = None,
        meter: Meter | None = None,
        crossings: Crossings | None = None,
    ) -> None:
        """`steady` never jumps: it judges the hold on leases. `holder` names the process. Without a
        `cost_model` the formula decides, without `crossings` no bridge is taken."""
        self._world, self._store = world, store
        self._rules = rules
        self._clock = clock
        self._planner = Planner.under(rules, cost_model)
        chain, accounts, calls = world.chain, world.accounts, world.calls
        self._meter = meter = meter or NoMeter()
        self._settler = Settler(
            chain, accounts, store, clock, rules, meter, world.finality, world.evidence
        )
        self._settler.worth = self._worth
        self.halts = HaltBoard(steady)
        self._gate = Gate(store, self.halts, rules, clock, world.reader)
        self._launcher = Launcher(
            *(chain, calls, store, self._gate),
            clock=clock,
            steady=steady,
            ids=ids,
            rules=rules,
            meter=meter,
        )
        self._watcher = Watcher(self._planner, calls, clock, rules, world.evidence)
        self._retrier = Retrier(self._planner, accounts, calls, clock, rules)
        self._departer = Departer(crossings, store, clock, ids) if crossings else None
        parts = self._launcher, self._gate, self._planner, accounts, calls, store
        self._netter = Netter(store, clock, ids, rules, self._gate)
        self._sender = Sender(*parts, clock, rules, self._departer)
        bridges = {each.traits.name: each for each in crossings.bridges} if crossings else {}
        self._claimer = Claimer(self._launcher, bridges, store, clock, rules)
        self.lanes = tuple(Lane(rules.chain_id, self._gate.guard(signer)) for signer in signers)
        ours = [lane.account for lane in self.lanes]
        self._auditors = {
            lane.account: Auditor(lane, chain, accounts, store, clock, rules, world.evidence, ours)
            for lane in self.lanes
        }
        self._refueller = Refueller(self._launcher, store, clock, rules, ours)
        self._leadership = Leadership(store, self.lanes, holder, steady, rules)
        self._turn, self._news = asyncio.Lock(), asyncio.Event()
        self._coming: Head | None = None
        self._head: Head | None = None
        self._head_at: Millis | None = None
        self._market: WorkingMarket | None = None
        self._data = FREE
        self._tip_wei = self._heads_seen = 0

    # What others ask

    async def start(self) -> None:
        """Take the leases that are free, read the journal and work on the newest head."""
        await self.on_head(await self._world.chain.head())
        log.info("executor_started", chain_id=self._rules.chain_id)

    async def on_head(self, head: Head) -> None:
        """Do everything that a new head asks for."""
        async with self._turn:
            self._head, self._head_at = head, self._clock.now()
            async with self._attempting("read the market"):
                await self._read(head)
            async with self._attempting("read limits and halts"):
                await self._gate.refresh(self.snapshot)
            async with self._attempting("keep the leases"):
                await self._leadership.take()
            async with self._attempting("tend lanes"):
                await self._tend([lane for lane in self.lanes if lane.lease is not None], head)
            await self._send()

    async def turn(self) -> int:
        """Send what became ready since the last head; return how many steps were moved on."""
        async with self._turn:
            if self._head is None:
                return 0
            doubtful = [lane for lane in self.lanes if lane.lease is not None and lane.stale]
            if doubtful:
                async with self._attempting("tend lanes"):
                    await self._tend(doubtful, self._head)
            return await self._send()

    def hint(self) -> None:
        """Say that steps may have become ready."""
        self._news.set()

    def status(self) -> ExecutorStatus:
        """Return how the executor stands."""
        return ExecutorStatus(
            chain_id=self._rules.chain_id,
            head=self._head.number if self._head else None,
            head_at=self._head_at,
            snapshot_block=self._market.base.block_number if self._market else None,
            stopped=self._market.base.stopped if self._market else (),
            lanes=lane_status(self.lanes, self._rules),
            endpoints=self._world.endpoints.status() if self._world.endpoints else (),
        )

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest market that was read."""
        return self._market.base if self._market is not None else None

    async def quote(self, trade: Trade) -> Plan | NoRoute:
        """Plan a trade on the newest snapshot, without sending; Transient while there is none."""
        head, snapshot = self._head, self.snapshot
        if head is None or snapshot is None:
            raise Transient("no market has been read yet", chain_id=self._rules.chain_id)
        request = trade.request(
            snapshot.block_time_s + self._rules.lifetime_ms // 1_000,
            head.next_base_fee_wei + self._fees(head).tip_wei,
            self._data,
            mix_venues=self._world.calls.mixes_venues,
        )
        (options,) = await self._planner.options(snapshot, [request])
        return self._planner.decide(options, WorkingMarket(snapshot))

    async def weigh(self, step: Step) -> Chosen | NoBridge:
        """Choose a step's bridge as things stand, without sending; Transient without a market."""
        head, snapshot = self._head, self.snapshot
        if head is None or snapshot is None:
            raise Transient("no market has been read yet", chain_id=self._rules.chain_id)
        if self._departer is None:
            return NoBridge(choice=Choice(reason="none is known"), passing=False)
        return await self._departer.weigh(step, self.lanes[0].account, self._fees(head), snapshot)

    def prices(self, quote: Asset) -> dict[Asset, Ratio]:
        """Return the mid of the coin and of every known token in `quote`, where there is one.

        Units of `quote` per smallest unit, as numerator and denominator.
        """
        snapshot = self.snapshot
        if snapshot is None:
            return {}
        found = {asset: mid_price(snapshot, asset, quote) for asset in self._rules.assets}
        return {asset: mid for asset, mid in found.items() if not isinstance(mid, NoRoute)}

    def _worth(self, asset: Asset, units: int) -> int | None:
        return worth_of(asset, units, self.snapshot, self._rules.numeraire)

    async def run(self, stop: asyncio.Event) -> None:
        """Start, then follow heads and hints until told to stop; leases are given back."""
        background = [
            asyncio.create_task(self._follow()),
            asyncio.create_task(self._leadership.keep()),
        ]
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                woken = asyncio.create_task(self._news.wait())
                await asyncio.wait(
                    {woken, stopped, *background}, return_when=asyncio.FIRST_COMPLETED
                )
                woken.cancel()
                for ended in background:
                    if ended.done():
                        ended.result()
                await self._respond()
        finally:
            for task in (*background, stopped):
                task.cancel()
            await asyncio.gather(*background, stopped, return_exceptions=True)
            await self._leadership.release()

    async def _respond(self) -> None:
        """Work on the newest head, or on what a hint announced."""
        self._news.clear()
        head, self._coming = self._coming, None
        if head is not None:
            await self.on_head(head)
        else:
            await self.turn()

    async def _follow(self) -> None:
        """Note heads as they come; of several, only the newest is worked on."""
        async for head in self._world.chain.heads():
            self._coming = head
            self._news.set()

    # A head

    async def _read(self, head: Head) -> None:
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
        await self._store.record_ticks(ticks)

    def _take(self, snapshot: Snapshot) -> None:
        """Plan on this market from now on, and count the pools that stopped since the last."""
        known = set(self._market.base.stopped) if self._market is not None else set()
        chain = str(self._rules.chain_id)
        for stop in snapshot.stopped:
            if stop not in known:
                self._meter.count("pool_stopped", {"chain_id": chain, "cause": stop.cause.value})
        for stop in known.difference(snapshot.stopped):
            self._meter.count("pool_returned", {"chain_id": chain, "cause": stop.cause.value})
        self._market = WorkingMarket(snapshot)

    async def _tend(self, lanes: Sequence[Lane], head: Head) -> None:
        """Bring lanes up to a head. What goes wrong in one stops that one alone.

        All is booked before anything is compared: a transfer between two of our accounts is
        booked by the one that sent it.
        """
        doubtful = {lane.account: lane.fence for lane in lanes if lane.stale}
        head = await self._fresh(head) if doubtful else head
        for lane in lanes:
            if lane.may_work(doubtful.get(lane.account)):
                async with self._attempting("work on a head", lane):
                    await self._confirm(lane, head)
        for lane in lanes:
            if lane.may_work():
                async with self._attempting("compare ledger and chain", lane):
                    await self._compare(lane, head)
        for lane in lanes:
            if lane.may_work():
                async with self._attempting("mind what is in flight", lane):
                    if lane.account in doubtful:
                        await self._launcher.broadcast(lane, lane.pending(), head)
                    await self._mind(lane, head)

    async def _fresh(self, head: Head) -> Head:
        """Return the newest head, for lanes whose journal is read: what others booked before the
        lease was taken would look, from an older head, as if the chain had gone back."""
        newest = await self._world.chain.head()
        if newest.hash != head.hash:
            self._head, self._head_at = newest, self._clock.now()
            if self._coming is not None and self._coming.hash != newest.hash:
                self._coming = None
        return newest

    async def _mind(self, lane: Lane, head: Head) -> None:
        fees = self._fees(head)
        plans: Mapping[UUID, Plan] = {}
        if self._market is not None and lane.doomed:
            plans = await self._watcher.replans(lane, self._market, head, fees)
        await self._launcher.upkeep(lane, fees, head, plans)

    async def _confirm(self, lane: Lane, head: Head) -> None:
        if lane.stale or await self._overruled(lane):
            await self._recover(lane)
        lane.agrees = False
        state = await self._world.accounts.state(lane.account, self._rules.assets, head)
        lane.mined_nonce, lane.units = state.nonce, state.units
        lane.next_nonce = max(lane.next_nonce, state.nonce)
        lane.whole = await self._settler.settle(lane, head)

    async def _overruled(self, lane: Lane) -> bool:
        """Whether a person has decided about an attempt that waited for it."""
        for attempt in lane.undecided():
            stands = await self._store.attempt(attempt.id)
            if stands is not None and stands.version != attempt.version:
                return True
        return False

    async def _compare(self, lane: Lane, head: Head) -> None:
        auditor = self._auditors[lane.account]
        agrees = lane.whole and await auditor.check(head, lane.before_unbooked())
        lane.agrees = agrees and not lane.unsettled
        if self._market is not None:
            await self._watcher.judge(lane, self._market, head)

    async def _recover(self, lane: Lane) -> None:
        """Read a lane from the journal.

        What has not landed is then handed over again, the same bytes: whether it was never sent
        or the node has forgotten it makes no difference (P3).
        """
        chain_id, account = lane.chain_id, lane.account
        await self._launcher.give_back(lane)
        attempts = await self._store.live_attempts(chain_id, account)
        names = {attempt.step_id for attempt in attempts if attempt.step_id is not None}
        steps = await asyncio.gather(*(self._store.step(name) for name in sorted(names)))
        following = await self._store.next_nonce(chain_id, account) or 0
        transfers = await self._store.open_transfers(chain_id)
        lane.load(attempts, [step for step in steps if step is not None], transfers, following)
        await self._auditors[account].start()
        log.info("lane_recovered", lane=lane.name, live=len(attempts), next_nonce=following)
        reached(Point.BOOKS_READ)

    def _expect(self, lane: Lane) -> None:
        """Move the market as the swaps that have not landed will."""
        for attempt in lane.pending():
            plan = lane.plans.get(attempt.id)
            if plan is not None and self._market is not None:
                self._market.take(plan)

    async def _send(self) -> int:
        """Send rounds while there is work, a market of this head and a lane without doubts."""
        head, market, sent = self._head, self._market, 0
        if head is None or market is None or market.base.block_hash != head.hash:
            return 0
        for lane in self._ready_lanes():
            async with self._attempting("claim", lane):
                sent += await self._claimer.round(lane, head, self._fees(head))
            async with self._attempting("refuel", lane):
                ready = self._ready_lanes()
                sent += await self._refueller.round(lane, ready, head, self._fees(head))
            async with self._attempting("try again", lane):
                sent += await self._retry(lane, head, market)
        for _ in range(ROUNDS_A_TURN):
            done = await self._round(head, market)
            if not done:
                break
            sent += done
        return sent

    async def _retry(self, lane: Lane, head: Head, market: WorkingMarket) -> int:
        fees = self._fees(head)
        retries = await self._retrier.retries(lane, head, market, fees)
        jobs = [self._sender.swap_job(lane, each.draft, each.requeued) for each in retries]
        return await self._launcher.launch(lane, jobs, fees, head)

    async def _round(self, head: Head, market: WorkingMarket) -> int:
        """Send one round over all lanes that are ready."""
        lanes, fees, sent = self._ready_lanes(), self._fees(head), 0
        planned = None
        if lanes:
            async with self._attempting("plan", lanes[0]):
                await self._netter.net(lanes[0], market.base)
                planned = await self._sender.plan(lanes, head, market, fees)
                if planned is not None and not await self._stands(planned, head):
                    return 0
                if planned is not None:
                    await self._sender.refuse(lanes[0], planned.refused)
                    sent += len(planned.refused)
        for lane in lanes if planned is not None else ():
            if planned is not None and lane.account in planned.accounts:
                async with self._attempting("send", lane):
                    sent += await self._sender.send(lane, planned, fees, head)
        return sent

    async def _stands(self, planned: Round, head: Head) -> bool:
        """Whether the pools are as they were planned on. Where not, the next turn plans anew."""
        if not await self._world.snapshots.confirm(head, planned.pools):
            return True
        self._take(await self._world.snapshots.read(head))
        for lane in self.lanes:
            self._expect(lane)
        return False

    def _ready_lanes(self) -> list[Lane]:
        return [lane for lane in self.lanes if lane.state is LaneState.READY]

    def _fees(self, head: Head) -> Fees:
        fees = offer(self._rules.fees, head.next_base_fee_wei, self._tip_wei)
        return replace(fees, data_gas=self._data.gas, data_wei=self._data.wei)

    @asynccontextmanager
    async def _attempting(self, doing: str, lane: Lane | None = None) -> AsyncIterator[None]:
        """Do a part of a turn; what goes wrong marks the lane and is tried again at the next head.

        Our own bugs (InvariantBroken) end the executor: its supervisor starts it anew.
        """
        try:
            yield
        except InvariantBroken:
            raise
        except LeaseLost as error:
            if lane is not None:
                lane.lost()
            log.warning("lease_lost", chain_id=self._rules.chain_id, why=str(error))
        except SepError as error:
            if lane is not None:
                lane.stale = True
            log.warning(
                "turn_cut_short", chain_id=self._rules.chain_id, doing=doing, why=str(error)
            )
