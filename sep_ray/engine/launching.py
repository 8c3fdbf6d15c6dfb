"""Record, act, record (P4): sign at the next nonce, make it durable, hand it over, write that down.

A nonce exists only with signed bytes in the journal. The lease is checked before signing, by the
database with every write, and again right before sending (P5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol
from uuid import UUID

import structlog

from sep_ray.decomposition.step import Step, StepRequeued, StepStarted
from sep_ray.engine.booking import Booking, Writer
from sep_ray.engine.crossing import Departing, claiming, departing
from sep_ray.engine.drafting import Draft
from sep_ray.engine.entitling import Entitlement
from sep_ray.engine.gate import Ask, Cleared, Gate, covered
from sep_ray.engine.lane import Lane
from sep_ray.engine.rules import ChainRules, Meter
from sep_ray.engine.settling import names_of
from sep_ray.engine.writing import write_all, write_together
from sep_ray.execution import verdict
from sep_ray.execution.attempt import Attempt, AttemptStatus, Moving, Purpose, Signed
from sep_ray.execution.fees import Fees, bumped, within
from sep_ray.execution.gas_limit import PLAIN_GAS, swap_gas_limit
from sep_ray.execution.pending import Circumstances, Move, next_move
from sep_ray.execution.plan_text import plan_text
from sep_ray.execution.ports import Call, Calls, Chain, Head, Unsigned
from sep_ray.intent.intent import Side
from sep_ray.journal.ports import Journal, Leases
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.ids import IdSource
from sep_ray.kernel.points import Point, reached
from sep_ray.policy.decide import Denied
from sep_ray.policy.request import Movement
from sep_ray.routing.plan import Plan
from sep_ray.settlement.transfer import Transfer

log = structlog.get_logger()

RAISING: Final = frozenset({Move.BUMP, Move.CANCEL, Move.REPLAN})
"""Moves that sign another version at the same nonce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A transaction to be signed. `draft` says what a swap is for, `departing` what a departure,
    `claiming` which transfer an arrival brings in, `step` for whose sake an approval or a claim is
    made; a filled gap has none. `cleared` or `denied` is what policy said."""

    purpose: Purpose
    call: Call
    gas_limit: int
    deadline: Millis
    step: Step | None = None
    draft: Draft | None = None
    moving: Moving | None = None
    departing: Departing | None = None
    claiming: Transfer | None = None
    spenders: frozenset[str] = frozenset()
    cleared: Cleared | None = None
    denied: Denied | None = None
    retried: StepRequeued | None = None

    @property
    def cap_wei(self) -> int | None:
        """The most that gas may cost for its step's sake."""
        return self.step.constraints.max_fee_wei if self.step is not None else None


@dataclass(frozen=True, slots=True)
class _Replacement:
    """The same nonce for more: by the same call, by a new `plan`, or for nothing (`cancel`)."""

    attempt: Attempt
    unsigned: Unsigned
    cancel: bool
    plan: Plan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """Attempts that are durable and still to be handed over; `proven` is since when they are."""

    attempts: Sequence[Attempt] = ()
    proven: Millis | None = None


class LaunchingStore(Journal, Leases, Protocol):
    """What launching reads and writes."""


class Launcher:
    """Sends a lane's transactions, and again or for more when they do not land."""

    def __init__(
        self,
        chain: Chain,
        calls: Calls,
        journal: LaunchingStore,
        gate: Gate,
        *,
        clock: Clock,
        steady: Clock,
        ids: IdSource,
        rules: ChainRules,
        meter: Meter,
    ) -> None:
        self._chain = chain
        self._calls = calls
        self._journal = journal
        self._gate = gate
        self._entitlement = Entitlement(journal, gate, clock, steady)
        self._clock = clock
        self._ids = ids
        self._rules = rules
        self._meter = meter

    async def launch(self, lane: Lane, jobs: Sequence[Job], fees: Fees, head: Head) -> int:
        """Prepare jobs and hand them over; return how many became durable."""
        launched = await self.prepare(lane, jobs, fees)
        await self.broadcast(lane, launched.attempts, head, launched.proven)
        return len(launched.attempts)

    async def prepare(self, lane: Lane, jobs: Sequence[Job], fees: Fees) -> Launched:
        """Sign jobs at the lane's next nonces and record them; return what became durable.

        What was not cleared before is now; the denied is left out (P9). A job that cannot be
        recorded (its step moved on, its funds are gone) may leave a gap below the others;
        `upkeep` fills it.
        """
        new = await self.clear(lane, [job for job in jobs if job.cleared is None], fees)
        said = iter(new)
        jobs = [job if job.cleared is not None else next(said) for job in jobs]
        jobs = [job for job in jobs if job.cleared is not None]
        if not jobs:
            return Launched()
        nonces = range(lane.next_nonce, lane.next_nonce + len(jobs))
        attempts = await self._sign(lane, list(zip(nonces, jobs, strict=True)), fees)
        if not attempts:
            return Launched()
        reached(Point.SIGNED)
        proven = self._entitlement.now()
        kept = await self._record(lane, list(zip(attempts, jobs, strict=True)))
        reached(Point.PREPARED)
        lane.next_nonce = max((a.nonce + 1 for a in kept), default=lane.next_nonce)
        return Launched(attempts=tuple(kept), proven=proven)

    async def upkeep(
        self, lane: Lane, fees: Fees, head: Head, plans: Mapping[UUID, Plan] | None = None
    ) -> None:
        """Make the next move for everything that is not in a block, or not any more. `plans` are
        those of swaps that have to be planned anew; without one, the nonce is used up."""
        moves = self._moves(lane, head)
        changed = await self._reprice(lane, moves, fees, plans or {})
        await self._expire(lane, [a for a, move in moves if move is Move.EXPIRE])
        again = [a for a, move in moves if move is Move.SEND]
        filled = await self._fill(lane, fees)
        await self.broadcast(lane, [*again, *changed, *filled], head)

    async def broadcast(
        self, lane: Lane, attempts: Iterable[Attempt], head: Head, proven: Millis | None = None
    ) -> None:
        """Hand the newest bytes of each over, once, in the order of nonces, and record it.

        What is halted by now stays where it is (P10); `upkeep` tries again at every head.
        `proven`: since when these were made durable under the lane's epoch.
        """
        going = [each for each in attempts if self._gate.passes(each, lane.step_of(each))]
        ordered = sorted(going, key=lambda attempt: attempt.nonce)
        if not ordered:
            return
        await self._entitlement.to_send(lane, proven)
        newest, since = [a.newest for a in ordered], [a.first_sent for a in ordered]
        found = await self._chain.send(newest, since)
        reached(Point.SENT)
        writer, bookings = self._writer(lane), []
        for attempt, judged in zip(ordered, found, strict=True):
            self._tell("attempt_broadcast", attempt, str(judged))
            if isinstance(judged, verdict.Rejected):
                lane.refused[attempt.id] = judged.reason
                continue
            lane.refused.pop(attempt.id, None)
            lane.unsure.discard(attempt.id)
            if isinstance(judged, verdict.Indeterminate):
                lane.unsure.add(attempt.id)
            if _first_time(attempt):
                step = lane.step_of(attempt)
                bookings.append(writer.broadcast(attempt, step, head.number, str(judged)))
        await write_together(self._journal, lane, bookings)

    async def _sign(self, lane: Lane, jobs: Sequence[tuple[int, Job]], fees: Fees) -> list[Attempt]:
        """Sign all, or nothing where somebody was first to take a share of a limit."""
        names = [self._ids.next() for _ in jobs]
        wanted = {n: job.cleared for n, (_, job) in zip(names, jobs, strict=True) if job.cleared}
        if not await self._entitlement.to_sign(lane, wanted):
            return []
        unsigned = [
            Unsigned(
                chain_id=lane.chain_id,
                nonce=nonce,
                call=job.call,
                gas_limit=job.gas_limit,
                max_fee_wei=within(fees, job.cap_wei).max_fee_wei,
                tip_wei=within(fees, job.cap_wei).tip_wei,
            )
            for nonce, job in jobs
        ]
        signed = await lane.signer.sign(unsigned)
        now = self._clock.now()
        return [
            Attempt(
                id=name,
                step_id=job.step.id if job.step is not None else None,
                purpose=job.purpose,
                chain_id=lane.chain_id,
                account=lane.account,
                nonce=nonce,
                to=job.call.to,
                signed=(each,),
                prepared_at=now,
                deadline=job.deadline,
                moving=job.moving,
            )
            for name, (nonce, job), each in zip(names, jobs, signed, strict=True)
        ]

    async def _record(self, lane: Lane, prepared: Sequence[tuple[Attempt, Job]]) -> list[Attempt]:
        """Make signed bytes durable before anybody hears of them; return what is."""
        writer = self._writer(lane)
        bookings = [covered(_prepared(writer, a, job), job.cleared) for a, job in prepared]
        written = await write_all(self._journal, lane, bookings)
        kept = []
        for booking, (_, job), durable in zip(bookings, prepared, written, strict=True):
            if durable:
                kept.append(booking.attempt)
                lane.own.add(booking.attempt.id)
                self._tell("attempt_prepared", booking.attempt)
                if job.draft is not None:
                    lane.plans[booking.attempt.id] = job.draft.plan
            else:
                lane.unsettled.discard(booking.attempt.id)
                lane.stale |= bool(job.cleared and job.cleared.reservations)
        return kept

    async def _fill(self, lane: Lane, fees: Fees) -> list[Attempt]:
        """Use up nonces that no transaction of ours will use, so that later ones can land.

        Only while ledger and chain agree: a chain that went back is no reason to spend nonces.
        """
        holes = lane.holes()[: self._rules.round_size]
        deadline = Millis(self._clock.now() + self._rules.lifetime_ms)
        nothing = Job(
            purpose=Purpose.CANCEL,
            call=Call(to=lane.account),
            gas_limit=PLAIN_GAS + fees.data_gas,
            deadline=deadline,
        )
        if not holes or not lane.agrees:
            return []
        jobs = await self.clear(lane, [nothing] * len(holes), fees)
        fill = [(nonce, job) for nonce, job in zip(holes, jobs, strict=True) if job.cleared]
        if not fill:
            return []
        log.warning("nonces_filled", chain_id=lane.chain_id, nonces=[nonce for nonce, _ in fill])
        attempts = await self._sign(lane, fill, fees)
        signed = [job for _, job in fill] if attempts else []
        return await self._record(lane, list(zip(attempts, signed, strict=True)))

    async def clear(self, lane: Lane, jobs: Sequence[Job], fees: Fees) -> list[Job]:
        """Return the jobs with what policy says about each (P9)."""
        asks = [_ask(job, fees) for job in jobs]
        found = await self._gate.clear(lane.signer, asks)
        return [
            replace(job, cleared=each) if isinstance(each, Cleared) else replace(job, denied=each)
            for job, each in zip(jobs, found, strict=True)
        ]

    def _moves(self, lane: Lane, head: Head) -> list[tuple[Attempt, Move]]:
        now = self._clock.now()
        gone = [a for a in lane.landed() if a.id in lane.unsettled]
        waiting = sorted((*gone, *lane.pending()), key=lambda attempt: attempt.nonce)
        moves = []
        for place, attempt in enumerate(waiting):
            circumstances = Circumstances(
                head=head,
                now=now,
                first=place == 0,
                top=attempt.nonce == lane.next_nonce - 1,
                refused=lane.refused.get(attempt.id),
                unsure=attempt.id in lane.unsure,
                own=attempt.id in lane.own,
                doomed=attempt.id in lane.doomed,
                resend_blocks=self._rules.resend_blocks,
                stall_blocks=self._rules.stall_blocks,
            )
            moves.append((attempt, next_move(attempt, circumstances)))
        return moves

    async def _reprice(
        self,
        lane: Lane,
        moves: Sequence[tuple[Attempt, Move]],
        fees: Fees,
        plans: Mapping[UUID, Plan],
    ) -> list[Attempt]:
        """Sign and record replacements; where the ceiling allows none, return the old bytes."""
        replacements: list[_Replacement] = []
        unchanged: list[Attempt] = []
        for attempt, move in moves:
            if move not in RAISING:
                continue
            plan = plans.get(attempt.id) if move is Move.REPLAN else None
            cancel = move is Move.CANCEL or (move is Move.REPLAN and plan is None)
            unsigned = self._replacement(lane, attempt, fees, plan, cancel=cancel)
            if unsigned is None:
                unchanged.append(attempt)
            else:
                replacements.append(_Replacement(attempt, unsigned, cancel, plan))
        cleared = await self._clear_replacements(lane, replacements)
        unchanged += [each.attempt for each in replacements if each.attempt.id not in cleared]
        replacements = [each for each in replacements if each.attempt.id in cleared]
        if not replacements:
            return unchanged
        if not await self._entitlement.to_sign(lane, cleared, again=True):
            return [*unchanged, *(each.attempt for each in replacements)]
        signed = await lane.signer.sign([each.unsigned for each in replacements])
        reached(Point.REPRICED)
        writer = self._writer(lane)
        bookings = [
            covered(
                writer.bumped(
                    each.attempt,
                    lane.step_of(each.attempt),
                    _marked(version, each.cancel),
                    each.plan,
                ),
                cleared[each.attempt.id],
            )
            for each, version in zip(replacements, signed, strict=True)
        ]
        written = await write_all(self._journal, lane, bookings)
        changed = [b.attempt for b, durable in zip(bookings, written, strict=True) if durable]
        renewed = {each.attempt.id: each.plan for each in replacements if each.plan is not None}
        for attempt in changed:
            lane.refused.pop(attempt.id, None)
            lane.plans |= {attempt.id: renewed[attempt.id]} if attempt.id in renewed else {}
            self._tell("attempt_bumped", attempt)
        return [*unchanged, *changed]

    async def _clear_replacements(
        self, lane: Lane, wanted: Sequence[_Replacement]
    ) -> dict[UUID, Cleared]:
        """Ask policy; what it denies stays as it is."""
        asks = [
            Ask(
                purpose=each.attempt.purpose,
                call=each.unsigned.call,
                gas_limit=each.unsigned.gas_limit,
                fees=Fees(max_fee_wei=each.unsigned.max_fee_wei, tip_wei=each.unsigned.tip_wei),
                step=lane.step_of(each.attempt),
                spenders=self._spenders(each),
                before=each.attempt,
                cancel=each.cancel,
            )
            for each in wanted
        ]
        found = await self._gate.clear(lane.signer, asks)
        pairs = zip(wanted, found, strict=True)
        return {each.attempt.id: said for each, said in pairs if isinstance(said, Cleared)}

    def _spenders(self, wanted: _Replacement) -> frozenset[str]:
        """Return who may take what a replacement sells: a new plan may go another way."""
        if wanted.cancel or wanted.attempt.purpose is not Purpose.SWAP:
            return frozenset()
        return frozenset(self._calls.takers(wanted.unsigned.call.to))

    def _replacement(
        self, lane: Lane, attempt: Attempt, fees: Fees, plan: Plan | None, *, cancel: bool
    ) -> Unsigned | None:
        newest = attempt.newest
        before = Fees(max_fee_wei=newest.max_fee_wei, tip_wei=newest.tip_wei)
        step, policy = lane.step_of(attempt), self._rules.fees
        cap = step.constraints.max_fee_wei if step is not None and not cancel else None
        if cap is not None:
            policy = replace(policy, ceiling_wei=min(policy.ceiling_wei, cap))
        more = bumped(policy, before, within(fees, cap))
        if more is None:
            log.warning("fee_at_ceiling", **names_of(attempt))
            return None
        call, gas_limit = self._calls.inside(newest.raw), newest.gas_limit
        if cancel:
            call, gas_limit = Call(to=lane.account), PLAIN_GAS + fees.data_gas
        elif plan is not None:
            step = lane.step_of(attempt)
            call = self._calls.swap(plan, lane.account)
            max_gas = step.constraints.max_gas if step else None
            gas_limit = swap_gas_limit(plan, max_gas, fees.data_gas) + fees.data_gas
        return Unsigned(
            chain_id=lane.chain_id,
            nonce=attempt.nonce,
            call=call,
            gas_limit=gas_limit,
            max_fee_wei=more.max_fee_wei,
            tip_wei=more.tip_wei,
        )

    async def _expire(self, lane: Lane, attempts: Sequence[Attempt]) -> None:
        """Give up bytes that no node took, and their nonce with them."""
        writer, tries = self._writer(lane), self._rules.max_tries
        for attempt in sorted(attempts, key=lambda each: -each.nonce):
            detail = f"never sent: {lane.refused.get(attempt.id)}"
            booking = writer.expired(attempt, lane.step_of(attempt), detail, tries)
            if all(await write_all(self._journal, lane, [booking])):
                lane.next_nonce = attempt.nonce
                self._tell("attempt_expired", attempt, detail)

    async def give_back(self, lane: Lane) -> None:
        """Give back shares of limits booked for bytes that never became durable (P9)."""
        await self._entitlement.give_back(lane)

    def _writer(self, lane: Lane) -> Writer:
        return Writer(at=self._clock.now(), fence=lane.fence, correlation=lane.correlation)

    def _tell(self, event: str, attempt: Attempt, words: str = "") -> None:
        log.info(event, **names_of(attempt), words=words)
        labels = {"chain_id": str(attempt.chain_id), "purpose": attempt.purpose.value}
        self._meter.count(event, labels)


def with_bytes(jobs: Iterable[Job], fees: Fees) -> list[Job]:
    """Return jobs that may also use the gas a rollup charges for their bytes."""
    return [replace(job, gas_limit=job.gas_limit + fees.data_gas) for job in jobs]


def _ask(job: Job, fees: Fees) -> Ask:
    """Say what a job is about; the most it can take is its reserve."""
    draft, departing = job.draft, job.departing
    sells = buys = None
    if draft is not None:
        sells = Movement(asset=draft.plan.sell, units=draft.reserve)
        buys = Movement(asset=draft.plan.buy, units=draft.plan.amount_out)
    elif departing is not None:
        sells = Movement(asset=departing.step.sell, units=departing.reserve)
    return Ask(
        purpose=job.purpose,
        call=job.call,
        gas_limit=job.gas_limit,
        fees=within(fees, job.cap_wei),
        step=job.step,
        sells=sells,
        buys=buys,
        spenders=job.spenders,
    )


def _prepared(writer: Writer, attempt: Attempt, job: Job) -> Booking:
    draft = job.draft
    if job.departing is not None:
        return departing(writer, attempt, job.departing)
    if job.claiming is not None:
        return claiming(writer, attempt, job.step, job.claiming)
    if draft is None:
        return writer.prepared(attempt, job.step)
    plan = draft.plan
    started = StepStarted(
        attempt_id=attempt.id,
        reserved=draft.reserve,
        quoted=plan.amount_out if plan.side is Side.SELL else plan.amount_in,
        plan=plan_text(plan),
    )
    return writer.started(attempt, draft.step, started, job.retried)


def _first_time(attempt: Attempt) -> bool:
    """Whether handing it over says something new: else the journal knows already."""
    if attempt.status is AttemptStatus.PREPARED:
        return True
    return attempt.status is AttemptStatus.BROADCAST and attempt.sent_block is None


def _marked(signed: Signed, cancel: bool) -> Signed:
    return Signed(
        raw=signed.raw,
        tx_hash=signed.tx_hash,
        max_fee_wei=signed.max_fee_wei,
        tip_wei=signed.tip_wei,
        gas_limit=signed.gas_limit,
        cancel=cancel,
    )
