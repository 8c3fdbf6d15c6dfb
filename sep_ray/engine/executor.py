"""ChainExecutor: everything that happens on one chain, head by head (P11: starting is recovering).

A head is worked on in this order: confirm what landed, compare ledger and chain, mind what has
not landed, begin new work. Whatever cannot be read stops new work and nothing else; the next
head tries again. No two turns run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol
from uuid import UUID

import structlog

from sep_ray.decomposition.step import Step
from sep_ray.engine.audit import Auditor, AuditStore
from sep_ray.engine.claiming import Claimer
from sep_ray.engine.departing import Crossings, Departer
from sep_ray.engine.gate import Gate, GateStore
from sep_ray.engine.halting import HaltBoard
from sep_ray.engine.lane import Lane, LaneState
from sep_ray.engine.launching import Launched, Launcher
from sep_ray.engine.leadership import Leadership
from sep_ray.engine.marketplace import Marketplace
from sep_ray.engine.netter import Netter
from sep_ray.engine.planning import Planner, Trade, WorkingMarket
from sep_ray.engine.ports import Model
from sep_ray.engine.refuelling import Refueller
from sep_ray.engine.retrying import Retrier
from sep_ray.engine.rules import ChainRules, Meter, NoMeter
from sep_ray.engine.sending import Round, Sender, SendingStore
from sep_ray.engine.settling import Settler, SettlingStore
from sep_ray.engine.status import ExecutorStatus, lane_status
from sep_ray.engine.watching import Watcher
from sep_ray.engine.world import World
from sep_ray.execution.ports import Head, Signer
from sep_ray.journal.ports import Leases, Ticks
from sep_ray.journal.records import LeaseLost
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import InvariantBroken, SepError
from sep_ray.kernel.ids import IdSource
from sep_ray.kernel.points import Point, reached
from sep_ray.routing.plan import Plan
from sep_ray.routing.reasons import NoRoute
from sep_ray.settlement.choice import Chosen, NoBridge
from sep_ray.settlement.weighed import Choice

log = structlog.get_logger()

ROUNDS_A_TURN: Final = 16
"""Rounds sent before the next head is looked at."""


class ExecutorStore(AuditStore, SendingStore, SettlingStore, GateStore, Leases, Ticks, Protocol):
    """What an executor reads and writes."""


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
        self.market = Marketplace(world, store, self._planner, clock, rules, meter)
        self._settler.worth = self.market.worth
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
                await self.market.read(head)
            async with self._attempting("read limits and halts"):
                await self._gate.refresh(self.market.snapshot)
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
        snapshot = self.market.snapshot
        return ExecutorStatus(
            chain_id=self._rules.chain_id,
            head=self._head.number if self._head else None,
            head_at=self._head_at,
            snapshot_block=snapshot.block_number if snapshot else None,
            stopped=snapshot.stopped if snapshot else (),
            lanes=lane_status(self.lanes, self._rules),
            endpoints=self._world.endpoints.status() if self._world.endpoints else (),
        )

    async def quote(self, trade: Trade) -> Plan | NoRoute:
        """Plan a trade on the newest snapshot, without sending; Transient while there is none."""
        return await self.market.quote(trade, self._head)

    async def weigh(self, step: Step) -> Chosen | NoBridge:
        """Choose a step's bridge as things stand, without sending; Transient without a market."""
        head, snapshot = self.market.now(self._head)
        if self._departer is None:
            return NoBridge(choice=Choice(reason="none is known"), passing=False)
        fees = self.market.fees(head)
        return await self._departer.weigh(step, self.lanes[0].account, fees, snapshot)

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
        fees = self.market.fees(head)
        plans: Mapping[UUID, Plan] = {}
        if self.market.working is not None and lane.doomed:
            plans = await self._watcher.replans(lane, self.market.working, head, fees)
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
        if self.market.working is not None:
            await self._watcher.judge(lane, self.market.working, head)

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

    def _flying(self) -> list[Plan]:
        """Return the plans of swaps that have not landed."""
        pending = ((lane, attempt) for lane in self.lanes for attempt in lane.pending())
        return [lane.plans[each.id] for lane, each in pending if each.id in lane.plans]

    async def _send(self) -> int:
        """Send rounds while there is work, a market of this head and a lane without doubts."""
        head, market, sent = self._head, self.market.working, 0
        if head is None or market is None or market.base.block_hash != head.hash:
            return 0
        for lane in self._ready_lanes():
            async with self._attempting("claim", lane):
                sent += await self._claimer.round(lane, head, self.market.fees(head))
            async with self._attempting("refuel", lane):
                ready = self._ready_lanes()
                sent += await self._refueller.round(lane, ready, head, self.market.fees(head))
            async with self._attempting("try again", lane):
                sent += await self._retry(lane, head, market)
        return sent + await self._rounds(head, market)

    async def _retry(self, lane: Lane, head: Head, market: WorkingMarket) -> int:
        fees = self.market.fees(head)
        retries = await self._retrier.retries(lane, head, market, fees)
        jobs = [self._sender.swap_job(lane, each.draft, each.requeued) for each in retries]
        return await self._launcher.launch(lane, jobs, fees, head)

    async def _rounds(self, head: Head, market: WorkingMarket) -> int:
        """Send rounds until one does nothing. While one is handed over, the next is planned."""
        sent, launched = 0, list[tuple[Lane, Launched]]()
        for _ in range(ROUNDS_A_TURN):
            handing = self._hand_over(launched, head)
            planned, _ = await asyncio.gather(self._plan(head, market), handing)
            launched = []
            if planned is None:
                break
            done, launched = await self._prepare(planned, head)
            sent += done
            if not done:
                break
        await self._hand_over(launched, head)
        return sent

    async def _plan(self, head: Head, market: WorkingMarket) -> Round | None:
        """Plan a round over all lanes that are ready; None when there is nothing to do."""
        lanes, fees = self._ready_lanes(), self.market.fees(head)
        if not lanes:
            return None
        async with self._attempting("plan", lanes[0]):
            await self._netter.net(lanes[0], market.base)
            planned = await self._sender.plan(lanes, head, market, fees)
            if planned and await self.market.stands(head, planned.pools, self._flying()):
                return planned
        return None

    async def _prepare(self, planned: Round, head: Head) -> tuple[int, list[tuple[Lane, Launched]]]:
        """Sign and record a round over its lanes; return how many steps were moved on."""
        lanes, fees, done = self._ready_lanes(), self.market.fees(head), 0
        found: list[tuple[Lane, Launched]] = []
        if lanes and planned.refused:
            async with self._attempting("refuse", lanes[0]):
                await self._sender.refuse(lanes[0], planned.refused)
                done += len(planned.refused)
        for lane in (lane for lane in lanes if lane.account in planned.accounts):
            async with self._attempting("send", lane):
                launched, ended = await self._sender.prepare(lane, planned, fees, head)
                found.append((lane, launched))
                done += len(launched.attempts) + ended
        return done, found

    async def _hand_over(self, launched: Sequence[tuple[Lane, Launched]], head: Head) -> None:
        for lane, each in launched:
            async with self._attempting("hand over", lane):
                await self._launcher.broadcast(lane, each.attempts, head, each.proven)

    def _ready_lanes(self) -> list[Lane]:
        return [lane for lane in self.lanes if lane.state is LaneState.READY]

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
