"""What happened to a transaction, as one commit: events, states and ledger lines together.

Pure: facts in, commit out. Everything booked carries its proof, and is withdrawn line by line
when its block goes (P7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from uuid import UUID

from sep_ray.decomposition.step import (
    Step,
    StepEvent,
    StepFailed,
    StepFilled,
    StepFinalized,
    StepHeld,
    StepReplanned,
    StepRequeued,
    StepStarted,
    StepStatus,
    StepUnfilled,
)
from sep_ray.decomposition.step import evolve as evolve_step
from sep_ray.execution.attempt import (
    Attempt,
    AttemptBroadcast,
    AttemptBumped,
    AttemptCancelled,
    AttemptDropped,
    AttemptEvent,
    AttemptExpired,
    AttemptFinalized,
    AttemptIncluded,
    AttemptPrepared,
    AttemptResolved,
    AttemptReverted,
    AttemptStatus,
    AttemptUndecided,
    AttemptUnincluded,
    AttemptWatched,
    Inclusion,
    Moving,
    Purpose,
    Signed,
    evolve,
)
from sep_ray.execution.fills import read_fill
from sep_ray.execution.plan_text import plan_text
from sep_ray.execution.ports import Receipt
from sep_ray.intent.intent import Side
from sep_ray.intent.states import TERMINAL as ENDED
from sep_ray.intent.states import IntentRecord, Reason, reopening
from sep_ray.intent.states import evolve as evolve_intent
from sep_ray.journal.records import Append, Commit, Fence, State
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import NATIVE
from sep_ray.portfolio import ledger
from sep_ray.portfolio.ledger import TREASURY, Posting
from sep_ray.routing.plan import Plan
from sep_ray.settlement.transfer import Transfer

CANCELLED = "cancelled by a replacement at the same nonce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """A commit, and how the attempt and its step stand once it is durable."""

    commit: Commit
    attempt: Attempt
    step: Step | None
    transfer: Transfer | None = None
    """How the transfer stands whose departure or claim it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who books, and when. `correlation` is used where no intent stands behind an attempt; only a
    person, whose word rests on no lease, books without a `fence`."""

    at: Millis
    fence: Fence | None
    correlation: UUID

    def prepared(self, attempt: Attempt, step: Step | None) -> Booking:
        """Book signed bytes that serve no swap of their own: an approval, a filled gap."""
        return self._booking(None, (AttemptPrepared(attempt=attempt),), step)

    def started(
        self,
        attempt: Attempt,
        step: Step,
        started: StepStarted,
        retried: StepRequeued | None = None,
    ) -> Booking:
        """Book a swap's signed bytes, its step's start and its reserve (P4).

        `retried` says that a try before it failed, whose reserve it takes over.
        """
        if retried is not None:
            return self._booking(
                None, (AttemptPrepared(attempt=attempt),), step, (retried, started)
            )
        reserve = ledger.reserve(step.strategy_id, step.sell, started.reserved)
        return self._booking(None, (AttemptPrepared(attempt=attempt),), step, (started,), reserve)

    def broadcast(
        self, attempt: Attempt, step: Step | None, block_number: int, answer: str
    ) -> Booking:
        """Book that a node was handed the newest bytes, and what it said."""
        event = AttemptBroadcast(
            tx_hash=attempt.newest.tx_hash, block_number=block_number, answer=answer
        )
        return self._booking(attempt, (event,), step)

    def bumped(
        self, attempt: Attempt, step: Step | None, signed: Signed, plan: Plan | None = None
    ) -> Booking:
        """Book a replacement before anybody hears of it (P4), and its plan if it is another."""
        replanned: tuple[StepEvent, ...] = ()
        if plan is not None:
            quoted = plan.amount_out if plan.side is Side.SELL else plan.amount_in
            replanned = (StepReplanned(quoted=quoted, plan=plan_text(plan)),)
        return self._booking(attempt, (AttemptBumped(signed=signed),), step, replanned)

    def landed(self, attempt: Attempt, step: Step | None, receipt: Receipt, detail: str) -> Booking:
        """Book a receipt: amounts from its logs, gas from its price."""
        events, steps, postings = _landing(attempt, step, receipt, detail)
        return self._booking(attempt, events, step, steps, postings)

    def unlanded(self, attempt: Attempt, step: Step | None) -> Booking:
        """Withdraw what rested on a block that is gone; the same bytes are to be sent again."""
        events, steps, postings = _withdrawal(attempt, step)
        return self._booking(attempt, events, step, steps, postings)

    def reopened(self, booking: Booking, intent: IntentRecord | None, block_hash: str) -> Booking:
        """Add to a withdrawal that the step's intent, should it have ended, is open again."""
        unfilled = any(
            isinstance(event, StepUnfilled)
            for append in booking.commit.appends
            for event in append.events
        )
        if intent is None or intent.status not in ENDED or not unfilled:
            return booking
        events, commit = reopening(intent, block_hash), booking.commit
        append = Append(
            stream_id=intent.stream_id,
            expected_version=intent.version,
            events=events,
            correlation_id=intent.intent.id,
            causation_id=booking.attempt.id,
        )
        after = intent
        for event in events:
            after = evolve_intent(after, event, self.at)
        appends, states = (*commit.appends, append), (*commit.states, after)
        return replace(booking, commit=replace(commit, appends=appends, states=states))

    def moved(self, attempt: Attempt, step: Step | None, receipt: Receipt, detail: str) -> Booking:
        """Withdraw and book anew in one: the transaction stands in another block now."""
        events, steps, postings = _withdrawal(attempt, step)
        back = reduce(evolve, events, attempt)
        step_back = reduce(evolve_step, steps, step) if step is not None else None
        more, more_steps, more_postings = _landing(back, step_back, receipt, detail)
        return self._booking(
            attempt,
            (*events, *more),
            step,
            (*steps, *more_steps),
            (*postings, *more_postings),
        )

    def finalized(
        self, attempt: Attempt, step: Step | None, block_number: int, max_tries: int
    ) -> Booking:
        """Book that nothing can change a landing any more; only now may a step try again (P3)."""
        if attempt.inclusion is None:
            raise InvariantBroken("final without a block", attempt=str(attempt.id))
        event: AttemptEvent = AttemptFinalized(block_number=block_number)
        version = attempt.version_of(attempt.inclusion.tx_hash)
        if version is not None and version.cancel:
            event = AttemptCancelled(tx_hash=version.tx_hash)
        if attempt.status is AttemptStatus.INCLUDED:
            swap = _swap_of(attempt, step)
            young = swap is not None and not swap.final
            stays = (StepFinalized(block_number=block_number),) if young else ()
            return self._booking(attempt, (event,), step, stays)
        steps, release = _over(attempt, step, Reason.REVERTED, attempt.detail, max_tries)
        return self._booking(attempt, (event,), step, steps, release)

    def confirmed(self, attempt: Attempt, step: Step | None, block_number: int) -> Booking:
        """Book that a fill is deep enough for what it is worth: its intent may end on it."""
        if step is None:
            raise InvariantBroken("a fill without its step", attempt=str(attempt.id))
        event = StepFinalized(block_number=block_number)
        append = self._append(step.stream_id, step.version, (event,), step, attempt.id)
        after = evolve_step(step, event)
        commit = Commit(at=self.at, appends=(append,), states=(after,), fence=self.fence)
        return Booking(commit=commit, attempt=attempt, step=after)

    def dropped(self, attempt: Attempt, step: Step | None, detail: str, max_tries: int) -> Booking:
        """Book that a foreign transaction used the nonce: ours can never land."""
        steps, release = _over(attempt, step, Reason.TRIES_SPENT, detail, max_tries)
        return self._booking(attempt, (AttemptDropped(detail=detail),), step, steps, release)

    def undecided(self, attempt: Attempt, step: Step | None, detail: str) -> Booking:
        """Book that the chain does not say what used the nonce: a person has to (P6)."""
        return self._booking(attempt, (AttemptUndecided(detail=detail),), step)

    def resolved(
        self, attempt: Attempt, step: Step | None, event: AttemptResolved, max_tries: int
    ) -> Booking:
        """Book a named person's word that an undecided attempt never landed and never can."""
        steps, release = _over(attempt, step, Reason.TRIES_SPENT, event.detail, max_tries)
        return self._booking(attempt, (event,), step, steps, release)

    def watched(self, attempt: Attempt, step: Step | None, event: AttemptWatched) -> Booking:
        """Book that a named person wants it looked for once more."""
        return self._booking(attempt, (event,), step)

    def expired(self, attempt: Attempt, step: Step | None, detail: str, max_tries: int) -> Booking:
        """Book that bytes no node took are given up, and their nonce with them."""
        steps, release = _over(attempt, step, Reason.TRIES_SPENT, detail, max_tries)
        return self._booking(attempt, (AttemptExpired(detail=detail),), step, steps, release)

    def failed(self, step: Step, reason: Reason, detail: str) -> tuple[Commit, Step]:
        """Book that a READY step cannot be done."""
        return self._moved(step, StepFailed(reason=reason, detail=detail))

    def held(self, step: Step, code: str, detail: str, until: Millis) -> tuple[Commit, Step]:
        """Book why a READY step waits."""
        return self._moved(step, StepHeld(code=code, detail=detail, until=until))

    def _moved(self, step: Step, event: StepEvent) -> tuple[Commit, Step]:
        moved = evolve_step(step, event)
        append = self._append(step.stream_id, step.version, (event,), step, step.intent_id)
        return Commit(at=self.at, appends=(append,), states=(moved,), fence=self.fence), moved

    def _booking(
        self,
        attempt: Attempt | None,
        events: Sequence[AttemptEvent],
        step: Step | None,
        step_events: Sequence[StepEvent] = (),
        postings: Sequence[Posting] = (),
    ) -> Booking:
        after = reduce(evolve, events, attempt)
        if after is None:
            raise InvariantBroken("nothing to book")
        version = attempt.version if attempt is not None else 0
        appends = [self._append(after.stream_id, version, tuple(events), step, after.step_id)]
        states: list[State] = [after]
        if step is not None and step_events:
            stream, stands = step.stream_id, step.version
            appends.append(self._append(stream, stands, tuple(step_events), step, after.id))
            step = reduce(evolve_step, step_events, step)
            states.append(step)
        commit = Commit(
            at=self.at,
            appends=tuple(appends),
            states=tuple(states),
            postings=tuple(postings),
            fence=self.fence,
        )
        return Booking(commit=commit, attempt=after, step=step)

    def _append(
        self,
        stream_id: str,
        version: int,
        events: tuple[AttemptEvent | StepEvent, ...],
        step: Step | None,
        causation_id: UUID | None,
    ) -> Append:
        return Append(
            stream_id=stream_id,
            expected_version=version,
            events=events,
            correlation_id=step.intent_id if step is not None else self.correlation,
            causation_id=causation_id,
        )


_Parts = tuple[tuple[AttemptEvent, ...], tuple[StepEvent, ...], tuple[Posting, ...]]


def _landing(attempt: Attempt, step: Step | None, receipt: Receipt, detail: str) -> _Parts:
    version = attempt.version_of(receipt.tx_hash)
    if version is None:
        raise InvariantBroken("a receipt of another transaction", tx_hash=receipt.tx_hash)
    swap = _swap_of(attempt, step)
    fill = None
    moves = step is not None and (swap is not None or _effective(attempt, step))
    if step is not None and moves and receipt.succeeded and not version.cancel:
        fill = read_fill(receipt, attempt.account, step.sell.address, step.buy.address)
    inclusion = Inclusion(
        tx_hash=receipt.tx_hash,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
        gas_used=receipt.gas_used,
        gas_price_wei=receipt.gas_price_wei,
        index=receipt.index,
        log_index=fill.log_index if fill is not None else None,
        left=fill.sold if fill is not None and swap is None else 0,
        data_fee_wei=receipt.data_fee_wei,
    )
    gas = _gas(attempt, step, inclusion)
    if attempt.moving is not None and receipt.succeeded and not version.cancel:
        inclusion = replace(inclusion, log_index=_log_of(attempt.moving, attempt, receipt))
        lines = _moved_lines(attempt, inclusion)
        return (AttemptIncluded(inclusion=inclusion),), (), (*lines, *gas)
    if version.cancel or not receipt.succeeded:
        words = CANCELLED if version.cancel else detail
        return (AttemptReverted(inclusion=inclusion, detail=words),), (), gas
    if fill is None or swap is None or swap.status is not StepStatus.WORKING:
        return (AttemptIncluded(inclusion=inclusion),), (), gas
    filled = StepFilled(
        sold=fill.sold,
        bought=fill.bought,
        tx_hash=receipt.tx_hash,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
    )
    lines = _fill_lines(swap, filled.sold, filled.bought, inclusion, attempt.account)
    return (AttemptIncluded(inclusion=inclusion),), (filled,), (*lines, *gas)


def _withdrawal(attempt: Attempt, step: Step | None) -> _Parts:
    inclusion = attempt.inclusion
    if inclusion is None:
        raise InvariantBroken("nothing to withdraw", attempt=str(attempt.id))
    lines = _gas(attempt, step, inclusion)
    if attempt.status is AttemptStatus.INCLUDED:
        lines = (*_moved_lines(attempt, inclusion), *lines)
    steps: tuple[StepEvent, ...] = ()
    swap = _swap_of(attempt, step)
    filled = attempt.status is AttemptStatus.INCLUDED
    if swap is not None and swap.status is StepStatus.DONE and filled:
        steps = (StepUnfilled(block_hash=inclusion.block_hash),)
        fill = _fill_lines(swap, swap.sold, swap.bought, inclusion, attempt.account)
        lines = (*fill, *lines)
    return (AttemptUnincluded(block_hash=inclusion.block_hash),), steps, ledger.withdrawn(lines)


def _over(
    attempt: Attempt, step: Step | None, reason: Reason, detail: str, max_tries: int
) -> tuple[tuple[StepEvent, ...], tuple[Posting, ...]]:
    """Release what was reserved and let the step try again, or fail it after its last try."""
    if step is None or not _effective(attempt, step) or step.status is not StepStatus.WORKING:
        return (), ()
    swap = step
    event: StepEvent = StepRequeued(reason=reason, detail=detail)
    if swap.tries >= max_tries:
        event = StepFailed(reason=reason, detail=detail)
    return (event,), ledger.release(swap.strategy_id, swap.sell, swap.reserved)


def _swap_of(attempt: Attempt, step: Step | None) -> Step | None:
    """Return the step a swap is for. Several tries of one may be in flight (retrying.py): any
    may fill it, and only one can."""
    return step if attempt.purpose is Purpose.SWAP else None


def _effective(attempt: Attempt, step: Step) -> bool:
    """Whether this very attempt does what the step wants: a swap, or the departure of a bridge."""
    return attempt.purpose in (Purpose.SWAP, Purpose.DEPARTURE) and step.attempt_id == attempt.id


def _gas(attempt: Attempt, step: Step | None, inclusion: Inclusion) -> tuple[Posting, ...]:
    strategy_id = step.strategy_id if step is not None else TREASURY
    wei = inclusion.cost_wei
    return ledger.gas(
        strategy_id, attempt.chain_id, wei, inclusion.gas_proof, account=attempt.account
    )


def _log_of(moving: Moving, attempt: Attempt, receipt: Receipt) -> int | None:
    """Return the log that says what a transfer was to do; None when no log says so."""
    wanted = moving.asset.address, attempt.account, moving.target, moving.units
    found = (
        log.log_index
        for log in receipt.transfers
        if (log.token, log.source, log.target, log.units) == wanted
    )
    return next(found, None)


def _moved_lines(attempt: Attempt, inclusion: Inclusion) -> tuple[Posting, ...]:
    moving = attempt.moving
    coin = moving is not None and moving.asset.address == NATIVE
    if moving is None or (inclusion.log_index is None and not coin):
        return ()
    return ledger.moved(
        moving.asset,
        moving.units,
        inclusion.coin_proof if coin else inclusion.fill_proof,
        source=attempt.account,
        target=moving.target,
    )


def _fill_lines(
    step: Step, sold: int, bought: int, inclusion: Inclusion, account: str
) -> tuple[Posting, ...]:
    return ledger.fill(
        step.strategy_id,
        sell=step.sell,
        sold=sold,
        reserved=step.reserved,
        buy=step.buy,
        bought=bought,
        proof=inclusion.fill_proof,
        account=account,
    )
