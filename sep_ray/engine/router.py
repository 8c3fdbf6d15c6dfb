"""The IntentRouter: ranks what was accepted, decomposes it, releases slices, ends intents.

It follows the journal: events of an intent or its steps wake it. It keeps no state that the
journal does not hold; a router that starts looks at every open intent once (P11). Two routers
at once do no harm, since every write names the version it was decided on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Final
from uuid import UUID

import structlog

from sep_ray.decomposition.conclusion import conclusion
from sep_ray.decomposition.decompose import Refusal, decompose
from sep_ray.decomposition.schedule import Decision, fundings, releases
from sep_ray.decomposition.step import TERMINAL as STEP_ENDS
from sep_ray.decomposition.step import (
    Step,
    StepCancelled,
    StepCreated,
    StepExpired,
    StepFailed,
    StepFinalized,
    StepNetted,
    StepSkipped,
    StepStatus,
    StepUnfilled,
)
from sep_ray.decomposition.step import evolve as evolve_step
from sep_ray.engine.facts import FactSource, Known
from sep_ray.engine.pacing import pace_of
from sep_ray.engine.ports import Model
from sep_ray.engine.slicing import Slicer
from sep_ray.engine.turnstile import Turnstile
from sep_ray.intent.intent import IntentType
from sep_ray.intent.states import (
    TERMINAL,
    IntentAccepted,
    IntentCancelRequested,
    IntentCompleted,
    IntentDecomposed,
    IntentEvent,
    IntentExpired,
    IntentRecord,
    IntentRejected,
    Reason,
    Status,
    evolve,
    reopening,
)
from sep_ray.journal.ports import Store
from sep_ray.journal.records import (
    Append,
    Commit,
    Event,
    Fence,
    LeaseLost,
    State,
    VersionConflict,
    together,
)
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.points import Point, reached
from sep_ray.kernel.units import ChainId
from sep_ray.priority.features import as_floats
from sep_ray.priority.rank import Ranked, order

log = structlog.get_logger()

BATCH: Final = 1_000
"""Intents decided on in one turn, and events read in one go."""
IDLE_S: Final = 5.0
"""The longest sleep; a missed wake-up costs no more than this."""
REMEMBERED: Final = 10_000
"""Intents of which it is known that they were looked at; to forget them costs a second look."""
TOGETHER: Final = 64
"""Streams that one commit of several decisions moves, about: enough to share what a commit costs,
and few enough that who accepts meanwhile does not wait long for the journal."""
HELD_UP_S: Final = 0.2
"""After which it is tried again where another router was deciding."""
STOPPABLE: Final = frozenset({StepStatus.PENDING, StepStatus.READY})
"""Steps that have reserved nothing and can end at once."""
REOPENING: Final = frozenset({Status.COMPLETED, Status.PARTIALLY_COMPLETED})
WAKING: Final[frozenset[type]] = frozenset(
    {
        IntentAccepted,
        IntentCancelRequested,
        StepFinalized,
        StepNetted,
        StepUnfilled,
        StepFailed,
        StepSkipped,
        StepCancelled,
        StepExpired,
    }
)
"""Events after which an intent may need the router."""


class IntentRouter:
    """Decides, turn by turn, for every intent that something happened to."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        facts: FactSource,
        prioritizer: Model,
        slicer: Slicer,
        on_end: Callable[[IntentRecord], None],
        on_ready: Callable[[ChainId], None],
        holder: str,
    ) -> None:
        """`on_end` hears of each intent that ended, `on_ready` of chains with steps to take;
        `holder` names this router among all that live at the same time."""
        self._store = store
        self._turnstile = Turnstile(store, holder)
        self._held_up: set[UUID] = set()
        self._clock = clock
        self._facts = facts
        self._prioritizer = prioritizer
        self._slicer = slicer
        self._on_end = on_end
        self._on_ready = on_ready
        self._ready: set[ChainId] = set()
        self._seen = 0
        self._touched: dict[UUID, None] = {}
        self._unfilled: set[UUID] = set()
        self._begun: set[UUID] = set()
        self._hinted = asyncio.Event()

    async def start(self) -> None:
        """Mark everything that is open; what happens from now on is read from the journal."""
        self._seen = await self._store.newest()
        last: UUID | None = None
        while batch := await self._store.open_intents(last, BATCH):
            self.hint(record.intent.id for record in batch)
            last = batch[-1].intent.id
        log.info("router_started", open_intents=len(self._touched))

    def hint(self, intent_ids: Iterable[UUID]) -> None:
        """Say that these intents are worth a look."""
        self._touched.update(dict.fromkeys(intent_ids))
        self._hinted.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Start, then turn whenever there is news, until told to stop.

        News that come thick are taken together (`pacing`). Whoever comes alone does not wait.
        """
        await self.start()
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            worked = await self.turn()
            pace = pace_of(loop.time() - began)
            await self._await_news(stop)
            if worked and not stop.is_set():
                await asyncio.sleep(max(0.0, began + pace - loop.time()))

    async def turn(self) -> int:
        """Decide for up to BATCH touched intents; return how many were open, without those that
        another router holds up."""
        self._hinted.clear()
        now = self._clock.now()
        self._touched.update(dict.fromkeys(sorted(self._held_up)))
        self._held_up.clear()
        batch = list(self._touched)[:BATCH]
        for intent_id in batch:
            del self._touched[intent_id]
        found = await self._store.intents(batch)
        await self._reopen([r for r in found if r.status in REOPENING], now)
        self._remember(r.intent.id for r in found)
        records = [r for r in found if r.status not in TERMINAL]
        await self._begin([r for r in records if r.status is Status.ACCEPTED], now)
        await self._continue([r for r in records if r.status is not Status.ACCEPTED], now)
        while self._ready:
            self._on_ready(self._ready.pop())
        return len(records) - len(self._held_up)

    async def catch_up(self) -> None:
        """Read the journal to its end and mark what needs a look; for drivers without `run`."""
        while events := await self._store.tail(self._seen, BATCH, 0.0):
            for recorded in events:
                self._read(recorded.seq, recorded.event, recorded.correlation_id)
        self._touched.update(dict.fromkeys(await self._due()))

    async def _begin(self, accepted: Sequence[IntentRecord], now: Millis) -> None:
        late = [r for r in accepted if now >= r.intent.deadline]
        waiting = [r for r in accepted if now < r.intent.deadline]
        commits = [_intent_commit(r, IntentExpired(reason=Reason.DEADLINE), (), now) for r in late]
        await self._write_all(commits)
        try:
            await self._decide(await self._admitted(self._one_rebalance_each(waiting)), now)
        finally:
            await self._turnstile.leave()

    async def _decide(self, waiting: Sequence[IntentRecord], now: Millis) -> None:
        if not waiting:
            return
        known = await self._facts.gather([r.intent for r in waiting], now)
        readable = self._readable(waiting, known)
        if not readable:
            return
        slices = await self._slicer.slices([r.intent for r in readable], known)
        by_id = {r.intent.id: r for r in readable}
        commits = []
        for ranked, source in await self._rank(readable, known, now):
            record = by_id[ranked.id]
            event, steps = _decomposed(record, ranked, source, known, slices, now)
            commit = _intent_commit(record, event, steps, now)
            commits.append(replace(commit, fence=self._fence(record)))
        await self._write_all(commits)

    def _readable(self, waiting: Sequence[IntentRecord], known: Known) -> list[IntentRecord]:
        """Hold rebalances up while a chain of theirs is not being read: unknown is no refusal."""
        unread = {
            r.intent.id
            for r in waiting
            if r.intent.type is IntentType.REBALANCE
            and not known.views.keys() >= {*r.intent.chains}
        }
        self._held_up |= unread
        return [r for r in waiting if r.intent.id not in unread]

    async def _admitted(self, waiting: Sequence[IntentRecord]) -> list[IntentRecord]:
        """Return those that no other router may be deciding about at the same time."""
        wide = [r for r in waiting if r.intent.type is IntentType.REBALANCE]
        free = await self._turnstile.enter(r.intent.strategy_id for r in wide)
        held_up = {r.intent.id for r in wide if r.intent.strategy_id not in free}
        self._held_up |= held_up
        return [r for r in waiting if r.intent.id not in held_up]

    def _fence(self, record: IntentRecord) -> Fence | None:
        if record.intent.type is not IntentType.REBALANCE:
            return None
        return self._turnstile.fence(record.intent.strategy_id)

    def _one_rebalance_each(self, waiting: Sequence[IntentRecord]) -> list[IntentRecord]:
        """Return those to decide on now: of a strategy's rebalances the oldest, because each is to
        count what the one before it began. The others come next turn."""
        found: list[IntentRecord] = []
        busy: set[str] = set()
        for record in sorted(waiting, key=lambda each: each.intent.id):
            rebalance = record.intent.type is IntentType.REBALANCE
            if rebalance and record.intent.strategy_id in busy:
                self.hint([record.intent.id])
                continue
            if rebalance:
                busy.add(record.intent.strategy_id)
            found.append(record)
        return found

    async def _rank(
        self, records: Sequence[IntentRecord], known: Known, now: Millis
    ) -> list[tuple[Ranked, str]]:
        rows = [known.row(record.intent, now) for record in records]
        scored = await self._prioritizer.score([as_floats(row) for row in rows])
        source = f"{scored.source}: {scored.reason}" if scored.reason else scored.source
        return [(r, source) for r in order(rows, [outputs[0] for outputs in scored.rows])]

    async def _continue(self, records: Sequence[IntentRecord], now: Millis) -> None:
        if not records:
            return
        by_intent: dict[UUID, list[Step]] = {record.intent.id: [] for record in records}
        for step in await self._store.steps_of(list(by_intent)):
            by_intent[step.intent_id].append(step)
        commits = [_advanced(record, by_intent[record.intent.id], now) for record in records]
        await self._write_all([commit for commit in commits if commit is not None])

    async def _reopen(self, records: Sequence[IntentRecord], now: Millis) -> None:
        """Open intents again that were ended on a fill which was being withdrawn meanwhile.

        Whoever withdraws a fill reopens its intent in the same commit; this one was ended after.
        """
        wanted = {r.intent.id: r for r in records if r.intent.id in self._unfilled}
        self._unfilled -= set(wanted)
        undone = [
            step
            for step in (await self._store.steps_of(list(wanted)) if wanted else ())
            if step.status not in STEP_ENDS
        ]
        for record in {step.intent_id: wanted[step.intent_id] for step in undone}.values():
            await self._write([_reopened(record, reopening(record, ""), now)])

    async def _write_all(self, commits: Sequence[Commit]) -> None:
        """Write, several together where no lease guards them: each alone costs a task and more for
        the same rows."""
        groups = _grouped([commit for commit in commits if commit.fence is None])
        guarded = ([commit] for commit in commits if commit.fence is not None)
        await asyncio.gather(*map(self._write, (*groups, *guarded)))

    async def _write(self, commits: Sequence[Commit]) -> None:
        """Write; when somebody else wrote first, look at the intent again."""
        whole = together(commits)
        if whole is None:
            raise InvariantBroken("decisions that do not go together", commits=len(commits))
        reached(Point.DECIDED)
        try:
            await self._store.commit(whole)
        except (VersionConflict, LeaseLost):
            if len(commits) > 1:
                await asyncio.gather(*(self._write([commit]) for commit in commits))
            else:
                self.hint([commits[0].appends[0].correlation_id])
            return
        reached(Point.RECORDED)
        for commit in commits:
            self._written(commit)

    def _written(self, commit: Commit) -> None:
        steps = (state for state in commit.states if isinstance(state, Step))
        self._ready.update(s.chain_id for s in steps if s.status is StepStatus.READY)
        record = commit.states[0]
        if isinstance(record, IntentRecord) and record.status in TERMINAL:
            log.info("intent_ended", intent_id=str(record.intent.id), status=record.status)
            self._on_end(record)

    async def _await_news(self, stop: asyncio.Event) -> None:
        """Return when an intent was touched, a step fell due, or IDLE_S passed."""
        if self._touched:
            return
        due = await self._store.next_due()
        left_s = IDLE_S if due is None else max(0.0, (due - self._clock.now()) / 1_000)
        left_s = min(left_s, HELD_UP_S) if self._held_up else left_s
        tail = asyncio.ensure_future(self._store.tail(self._seen, BATCH, min(left_s, IDLE_S)))
        others = [asyncio.ensure_future(event.wait()) for event in (self._hinted, stop)]
        await asyncio.wait([tail, *others], return_when=asyncio.FIRST_COMPLETED)
        for waiter in (tail, *others):
            waiter.cancel()
        await asyncio.gather(tail, *others, return_exceptions=True)
        if not tail.cancelled():
            for recorded in tail.result():
                self._read(recorded.seq, recorded.event, recorded.correlation_id)
        self._touched.update(dict.fromkeys(await self._due()))

    def _read(self, seq: int, event: Event, intent_id: UUID) -> None:
        self._seen = seq
        if isinstance(event, StepUnfilled):
            self._unfilled.add(intent_id)
        if type(event) is IntentAccepted and intent_id in self._begun:
            self._begun.discard(intent_id)  # a hint came first, and this says no more
        elif type(event) in WAKING:
            self._touched[intent_id] = None

    def _remember(self, looked_at: Iterable[UUID]) -> None:
        """Note intents that were looked at, most of them before their acceptance was read."""
        if len(self._begun) > REMEMBERED:
            self._begun.clear()
        self._begun.update(looked_at)

    async def _due(self) -> tuple[UUID, ...]:
        return await self._store.due_intents(self._clock.now(), BATCH)


def _grouped(commits: Iterable[Commit]) -> list[list[Commit]]:
    """Return commits in groups that move about TOGETHER streams each."""
    groups: list[list[Commit]] = []
    room = 0
    for commit in commits:
        if room <= 0:
            groups.append([])
            room = TOGETHER
        groups[-1].append(commit)
        room -= len(commit.appends)
    return groups


def _decomposed(
    record: IntentRecord,
    ranked: Ranked,
    source: str,
    known: Known,
    slices: Mapping[UUID, int],
    now: Millis,
) -> tuple[IntentEvent, tuple[Step, ...]]:
    facts = known.facts(record.intent, slices.get(record.intent.id, 1))
    outcome = decompose(record.intent, facts, now, ranked.stake)
    if isinstance(outcome, Refusal):
        return IntentRejected(reason=outcome.reason, detail=outcome.detail), ()
    if not outcome:
        return IntentCompleted(reason=Reason.ALREADY_ON_TARGET, sold=0, bought=0), ()
    event = IntentDecomposed(
        score=ranked.score_bp, score_source=source, why=ranked.reason, steps=len(outcome)
    )
    return event, outcome


def _advanced(record: IntentRecord, steps: Sequence[Step], now: Millis) -> Commit | None:
    """Return what is next for an intent under way: its steps' moves, its end, or nothing."""
    decisions = _stops(steps) if record.status is Status.CANCELLING else _moves(steps, now)
    if decisions:
        return _step_commit(record, decisions, now)
    ending = conclusion(record, steps)
    return _intent_commit(record, ending, (), now) if ending is not None else None


def _moves(steps: Sequence[Step], now: Millis) -> tuple[Decision, ...]:
    late = [s for s in steps if s.status is StepStatus.READY and now >= s.deadline]
    expired = tuple((step, (StepExpired(reason=Reason.DEADLINE),)) for step in late)
    return (*expired, *fundings(steps, now), *releases(steps, now))


def _stops(steps: Sequence[Step]) -> tuple[Decision, ...]:
    cancelled = StepCancelled(reason=Reason.CANCELLED_BY_CLIENT)
    return tuple((step, (cancelled,)) for step in steps if step.status in STOPPABLE)


def _intent_commit(
    record: IntentRecord, event: IntentEvent, steps: Sequence[Step], now: Millis
) -> Commit:
    intent_id = record.intent.id
    created = [(step, evolve_step(None, StepCreated(step=step))) for step in steps]
    appends = [
        Append(
            stream_id=record.stream_id,
            expected_version=record.version,
            events=(event,),
            correlation_id=intent_id,
        )
    ]
    for step, _ in created:
        appends.append(
            Append(
                stream_id=step.stream_id,
                expected_version=0,
                events=(StepCreated(step=step),),
                correlation_id=intent_id,
                causation_id=intent_id,
            )
        )
    states: tuple[State, ...] = (evolve(record, event, now), *(state for _, state in created))
    return Commit(at=now, appends=tuple(appends), states=states)


def _reopened(record: IntentRecord, events: tuple[IntentEvent, ...], now: Millis) -> Commit:
    append = Append(
        stream_id=record.stream_id,
        expected_version=record.version,
        events=events,
        correlation_id=record.intent.id,
    )
    after = record
    for event in events:
        after = evolve(after, event, now)
    return Commit(at=now, appends=(append,), states=(after,))


def _step_commit(record: IntentRecord, decisions: Sequence[Decision], now: Millis) -> Commit:
    appends: list[Append] = []
    states: list[State] = []
    for step, events in decisions:
        appends.append(
            Append(
                stream_id=step.stream_id,
                expected_version=step.version,
                events=events,
                correlation_id=record.intent.id,
                causation_id=record.intent.id,
            )
        )
        states.append(reduce(evolve_step, events, step))
    return Commit(at=now, appends=tuple(appends), states=tuple(states))
