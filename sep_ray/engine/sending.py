"""From ready steps to transactions: which, by which path, at what limit, after what approval."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

import structlog

from sep_ray.decomposition.step import Step, StepKind, StepRequeued
from sep_ray.engine.booking import Writer
from sep_ray.engine.crossing import Departing
from sep_ray.engine.departing import Bridged, Departer
from sep_ray.engine.drafting import (
    Approval,
    Deferred,
    Draft,
    Purse,
    Refused,
    Scattered,
    Spending,
    approvals,
    drafted,
)
from sep_ray.engine.gate import Gate
from sep_ray.engine.lane import Lane
from sep_ray.engine.launching import Job, Launched, Launcher, with_bytes
from sep_ray.engine.planning import Planner, Trade, WorkingMarket
from sep_ray.engine.rules import ChainRules
from sep_ray.engine.sieve import Sieve
from sep_ray.engine.tills import Gathering, Till, Tills
from sep_ray.execution.attempt import Purpose
from sep_ray.execution.fees import Fees
from sep_ray.execution.gas_limit import APPROVAL_GAS, TRANSFER_GAS
from sep_ray.execution.ports import Accounts, Calls, Head
from sep_ray.intent.states import Reason
from sep_ray.journal.ports import Journal, Ledger, Steps, Transfers
from sep_ray.journal.records import VersionConflict
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.portfolio.ledger import TREASURY

log = structlog.get_logger()

LOOKS: Final = 6
"""How often a round looks further for steps that no halt covers; each look goes twice as far."""


class SendingStore(Journal, Steps, Transfers, Ledger, Protocol):
    """What sending reads and writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What is to be sent now, by account, and the steps that cannot be done."""

    drafts: dict[str, list[Draft]] = field(default_factory=lambda: defaultdict(list))
    departures: dict[str, list[Departing]] = field(default_factory=lambda: defaultdict(list))
    gatherings: dict[str, list[tuple[Step, Gathering]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    refused: list[Refused] = field(default_factory=list)

    @property
    def accounts(self) -> list[str]:
        """Who has something to send."""
        return sorted({*self.drafts, *self.departures, *self.gatherings})

    @property
    def pools(self) -> set[str]:
        """The pools that the swaps pass."""
        drafts = (draft for its in self.drafts.values() for draft in its)
        return {pool for draft in drafts for pool in draft.plan.route.pools}


class Sender:
    """Sends rounds of ready steps over a chain's lanes. Keeps nothing but which of them wait for
    another block."""

    def __init__(
        self,
        launcher: Launcher,
        gate: Gate,
        planner: Planner,
        accounts: Accounts,
        calls: Calls,
        store: SendingStore,
        clock: Clock,
        rules: ChainRules,
        departer: Departer | None = None,
    ) -> None:
        """Without a `departer` no bridge can be taken."""
        self._launcher = launcher
        self._gate = gate
        self._planner = planner
        self._departer = departer
        self._accounts = accounts
        self._calls = calls
        self._store = store
        self._clock = clock
        self._rules = rules
        self._waiting: set[UUID] = set()
        self._waiting_at = ""
        self._sieve = Sieve(launcher, store, clock, lambda step_id: self._waiting.add(step_id))

    async def plan(
        self, lanes: Sequence[Lane], head: Head, market: WorkingMarket, fees: Fees
    ) -> Round | None:
        """Decide what of the ready steps is sent now, by which lane; None when there is none."""
        room = sum(max(self._room(lane), 0) for lane in lanes)
        room = min(self._rules.round_size, room)
        steps = await self._ready(head, room) if room > 0 else []
        steps = self._affordable(steps, head, fees)
        return await self._drafts(lanes, steps, head, market, fees) if steps else None

    def _affordable(self, steps: Sequence[Step], head: Head, fees: Fees) -> list[Step]:
        """Return the steps whose intents allow what gas costs now; the others wait."""
        price, found = head.next_base_fee_wei + fees.tip_wei, []
        for step in steps:
            cap = step.constraints.max_fee_wei
            if cap is None or price <= cap:
                found.append(step)
            else:
                self._wait(step, f"gas costs {price} wei, the intent allows {cap}")
        return found

    async def prepare(
        self, lane: Lane, planned: Round, fees: Fees, head: Head
    ) -> tuple[Launched, int]:
        """Sign and record a lane's part of a round; return what is to be handed over, and how many
        steps policy ended."""
        drafts = planned.drafts.get(lane.account, ())
        departures = planned.departures.get(lane.account, ())
        self._sieve.ended = 0
        spending = [self.swap_job(lane, draft) for draft in drafts]
        spending += [self._departure_job(each) for each in departures]
        spending = await self._sieve.clear(lane, with_bytes(spending, fees), fees)
        drafts = [job.draft for job in spending if job.draft is not None]
        departures = [job.departing for job in spending if job.departing is not None]
        approvals = await self._approval_jobs(lane, drafts, departures, head)
        moves = [self._transfer(*each) for each in planned.gatherings.get(lane.account, ())]
        jobs = with_bytes(moves, fees)
        jobs += await self._sieve.approve(lane, with_bytes(approvals, fees), spending, fees)
        return await self._launcher.prepare(lane, jobs, fees), self._sieve.ended

    def _room(self, lane: Lane) -> int:
        return self._rules.max_in_flight - len(lane.pending())

    async def _ready(self, head: Head, room: int) -> list[Step]:
        """Return ready steps in order, without those found waiting at this very head.

        Halted ones wait, and do not keep those behind them from their turn.
        """
        if self._waiting_at != head.hash:
            self._waiting, self._waiting_at = set(), head.hash
        now = self._clock.now()
        for _ in range(LOOKS):
            sought = 2 * len(self._waiting) + room
            found = await self._store.ready_steps(self._rules.chain_id, sought)
            fresh = [s for s in found if s.id not in self._waiting and s.deadline > now]
            halted = {step.id for step in fresh if self._gate.holds(step)}
            self._waiting |= halted
            open_ = [step for step in fresh if step.id not in halted][:room]
            if len(open_) == room or len(found) < sought or not halted:
                return open_
        return open_

    async def _drafts(
        self,
        lanes: Sequence[Lane],
        steps: Sequence[Step],
        head: Head,
        market: WorkingMarket,
        fees: Fees,
    ) -> Round:
        swaps = [step for step in steps if step.kind is StepKind.SWAP]
        price, mix = head.next_base_fee_wei + fees.tip_wei, self._calls.mixes_venues
        requests = [
            Trade.of(step).request(
                head.timestamp + -(-self._lifetime(step) // 1_000), price, fees.data, mix_venues=mix
            )
            for step in swaps
        ]
        options, purse = await asyncio.gather(
            self._planner.options(market.now, requests), self._purse(lanes, steps, fees)
        )
        tills = self._tills(lanes)
        planned = Round()
        for step, option in zip(swaps, options, strict=True):
            outcome = drafted(step, self._planner.decide(option, market), purse, tills, fees)
            if isinstance(outcome, Draft):
                market.take(outcome.plan)
            self._file(planned, outcome, tills, fees)
        bridges = [step for step in steps if step.kind is StepKind.BRIDGE]
        for bridged in await self._bridged(bridges, purse, tills, fees, market):
            self._file(planned, bridged, tills, fees)
        return planned

    def _file(self, planned: Round, outcome: Bridged | Draft, tills: Tills, fees: Fees) -> None:
        """Note what an outcome asks of whom, at once: the next step finds what is left."""
        step = outcome.step
        match outcome:
            case Draft():
                planned.drafts[outcome.account].append(outcome)
            case Departing():
                planned.departures[outcome.transfer.sender].append(outcome)
            case Scattered():
                wei = fees.most_wei(TRANSFER_GAS)
                for each in tills.gather(step.sell, outcome.reserve, wei):
                    planned.gatherings[each.source].append((step, each))
                self._wait(step, "waits for its units to come to one account")
            case Refused():
                planned.refused.append(outcome)
            case Deferred():
                self._wait(step, outcome.why)

    async def _bridged(
        self,
        steps: Sequence[Step],
        purse: Purse,
        tills: Tills,
        fees: Fees,
        market: WorkingMarket,
    ) -> Sequence[Bridged]:
        if self._departer is None:
            none = Reason.NO_BRIDGE
            return [Refused(step=step, reason=none, detail="none is known") for step in steps]
        return await self._departer.round(steps, purse, tills, fees, market.base)

    def _wait(self, step: Step, why: str) -> None:
        self._waiting.add(step.id)
        log.info("step_deferred", step_id=str(step.id), why=why)

    def _tills(self, lanes: Sequence[Lane]) -> Tills:
        coin = self._rules.coin
        tills = [
            Till(
                lane.account,
                lane.free(coin),
                coin,
                in_flight=len(lane.pending()),
                room=self._room(lane),
                stalled=lane.stalled(self._rules.stall_blocks),
            )
            for lane in lanes
        ]
        stall = self._rules.stall_blocks
        landing = (a for lane in lanes if not lane.stalled(stall) for a in lane.pending())
        return Tills(tills, [a.moving for a in landing if a.moving is not None])

    def _lifetime(self, step: Step) -> int:
        return min(step.deadline - self._clock.now(), self._rules.lifetime_ms)

    async def _purse(self, lanes: Sequence[Lane], steps: Sequence[Step], fees: Fees) -> Purse:
        owners = sorted({TREASURY, *(step.strategy_id for step in steps)})
        holdings = await asyncio.gather(*(self._store.holdings(owner) for owner in owners))
        pending = [(lane, attempt) for lane in lanes for attempt in lane.pending()]
        promised = sum(a.newest.gas_limit * a.newest.max_fee_wei for _, a in pending)
        promised += await self._claims_wei(fees)
        live = [step for lane, a in pending if (step := lane.step_of(a)) is not None]
        lines = (line for each in holdings for line in each)
        return Purse(lines, live, self._rules.coin, promised)

    async def _claims_wei(self, fees: Fees) -> int:
        """Return the coin kept back for claims of what is on its way to this chain."""
        if self._departer is None:
            return 0
        chain_id = self._rules.chain_id
        coming = await self._store.open_transfers(chain_id)
        gas = sum(t.claim_gas for t in coming if t.target.chain_id == chain_id and not t.arrived)
        return gas * fees.max_fee_wei

    async def _approval_jobs(
        self, lane: Lane, drafts: Sequence[Draft], departures: Sequence[Departing], head: Head
    ) -> list[Job]:
        """Return the approvals that must be mined before these swaps and departures."""
        wanted: list[tuple[Spending, str]] = [
            (draft, taker)
            for draft in drafts
            for taker in self._calls.takers(self._calls.swap(draft.plan, lane.account).to)
        ]
        wanted += [(each, each.departure.spender) for each in departures if each.departure.spender]
        allowed: dict[tuple[str, str], int] = {}
        for spender in sorted({spender for _, spender in wanted}):
            tokens = sorted({d.step.sell.address for d, by in wanted if by == spender})
            units = await self._accounts.allowances(lane.account, spender, tokens, head)
            allowed |= {(t, spender): n for t, n in zip(tokens, units, strict=True)}
        in_use = [
            (step.sell.address, taker)
            for attempt in lane.pending()
            if attempt.purpose is Purpose.SWAP and (step := lane.step_of(attempt)) is not None
            for taker in self._calls.takers(attempt.to)
        ]
        in_use += [
            (step.sell.address, each.departure.spender)
            for each in departures
            for attempt in lane.pending()
            if attempt.purpose is Purpose.DEPARTURE and (step := lane.step_of(attempt)) is not None
        ]
        needed = approvals(wanted, allowed, in_use, self._rules.zero_first)
        return [job for approval in needed for job in self._approval(approval)]

    def _approval(self, approval: Approval) -> list[Job]:
        amounts = [0, approval.units] if approval.reset else [approval.units]
        return [
            Job(
                purpose=Purpose.APPROVAL,
                call=self._calls.approval(approval.token, approval.spender, units),
                gas_limit=APPROVAL_GAS,
                deadline=self._deadline(approval.step),
                step=approval.step,
            )
            for units in amounts
        ]

    def _transfer(self, step: Step, gathering: Gathering) -> Job:
        moving = gathering.moving
        return Job(
            purpose=Purpose.TRANSFER,
            call=self._calls.transfer(moving.asset.address, moving.target, moving.units),
            gas_limit=TRANSFER_GAS,
            deadline=self._deadline(step),
            step=step,
            moving=moving,
        )

    def swap_job(self, lane: Lane, draft: Draft, retried: StepRequeued | None = None) -> Job:
        """Return a draft as a transaction; `retried` says that it follows a try that failed."""
        call = self._calls.swap(draft.plan, lane.account)
        return Job(
            purpose=Purpose.SWAP,
            call=call,
            gas_limit=draft.gas_limit,
            deadline=self._deadline(draft.step),
            step=draft.step,
            draft=draft,
            spenders=frozenset(self._calls.takers(call.to)),
            retried=retried,
        )

    def _departure_job(self, departing: Departing) -> Job:
        return Job(
            purpose=Purpose.DEPARTURE,
            call=departing.departure.call,
            gas_limit=departing.departure.gas_limit,
            deadline=self._deadline(departing.step),
            step=departing.step,
            departing=departing,
            spenders=frozenset({departing.departure.spender} - {""}),
        )

    def _deadline(self, step: Step) -> Millis:
        return Millis(self._clock.now() + self._lifetime(step))

    async def refuse(self, lane: Lane, refused: Sequence[Refused]) -> None:
        """Fail steps that cannot be done; who moved one meanwhile was first."""
        writer = self._writer(lane)
        for each in refused:
            commit, step = writer.failed(each.step, each.reason, each.detail)
            try:
                await self._store.commit(commit)
            except VersionConflict:
                continue
            log.info(
                "step_failed",
                step_id=str(step.id),
                intent_id=str(step.intent_id),
                reason=each.reason.value,
                detail=each.detail,
            )

    def _writer(self, lane: Lane) -> Writer:
        return Writer(at=self._clock.now(), fence=lane.fence, correlation=lane.correlation)
