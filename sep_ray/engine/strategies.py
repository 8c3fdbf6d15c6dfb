"""StrategyHost: runs one or many strategies on the market and the journal, each for itself.

A turn gathers facts (journal events, records, holdings, ticks), lets the strategies decide, and
then acts in this order, which is what makes a decision happen once:

1. save, per strategy: its state, the newest blocks it saw and its requests, as one text under an
   expected version. A second host of the same strategy fails here (VersionConflict), has
   submitted nothing, and starts again from what the first one saved.
2. submit the saved requests, under ids and idempotency keys derived from what they were made for.

A crash before 1 forgets the turn: nothing of it left the process, and the blocks are seen again.
A crash between 1 and 2, or within 2, finds the requests in the saved text and submits the same
bytes under the same keys; what was accepted already is answered as repeated. A crash after 2
submits them once more, to the same answer. Starting is therefore recovery (P3, P11).
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final
from uuid import UUID

import structlog

from sep_ray.engine.enrolment import Enrolment, NotNow
from sep_ray.engine.price_feed import PriceFeed
from sep_ray.intent.intent import Intent
from sep_ray.intent.states import IntentAccepted, IntentRecord
from sep_ray.journal.ports import Store
from sep_ray.journal.records import Accepted, KeyReused, Recorded, Submission, VersionConflict
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.portfolio.ledger import Holding
from sep_ray.strategy.desk import Desk, Portfolio, SignalModels
from sep_ray.strategy.load import load_class
from sep_ray.strategy.market import Market
from sep_ray.strategy.plain import dump
from sep_ray.strategy.record import (
    StrategyPaused,
    StrategyRecord,
    StrategyResumed,
    StrategyStarted,
    StrategyStatus,
    StrategyStopped,
)
from sep_ray.strategy.runner import Runner, Saved, build_runner
from sep_ray.strategy.tokens import Tokens

log = structlog.get_logger()

Assigned = Callable[[Sequence[StrategyRecord]], Collection[str]]
"""Says which of all strategies this host runs."""

BATCH: Final = 1_000
"""Events read, and intents submitted, in one go."""
PAGES: Final = 20
"""Batches of events read in one turn; the rest waits for the next."""
PLATFORM: Final = "platform"
"""The principal of what the platform does by itself."""
STRATEGY_EVENTS: Final = (StrategyStarted, StrategyPaused, StrategyResumed, StrategyStopped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`late_ms`: a block older than this is seen, but nothing is submitted on it. `handler_ms`:
    a handler that takes longer pauses its strategy. `poll_s`: the longest sleep between turns;
    `rest_s`: the shortest. `blocks`: the most a strategy is shown in one turn."""

    late_ms: int = 60_000
    handler_ms: int = 10_000
    poll_s: float = 0.25
    rest_s: float = 0.02
    blocks: int = 256


@dataclass(slots=True)
class Hosted:
    """A strategy in this host; without a runner it waits to be resumed or reloaded."""

    record: StrategyRecord
    runner: Runner | None = None
    version: int = 0
    """The version of the state last saved."""

    @property
    def paused(self) -> bool:
        """Whether it must submit nothing."""
        return self.record.status is not StrategyStatus.RUNNING


class StrategyHost:
    """Runs the strategies assigned to it; one failing strategy is paused, the others go on."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tokens: Tokens,
        assigned: Assigned,
        models: SignalModels | None = None,
        limits: Limits = Limits(),
    ) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._assigned = assigned
        self._models = models
        self._limits = limits
        self._feed = PriceFeed(store, tokens)
        self._enrolment = Enrolment(store, store, tokens)
        self._hosted: dict[str, Hosted] = {}
        self._failures: dict[str, str] = {}
        self._touched: set[UUID] = set()
        self._reload: set[str] = set()
        self._holdings_stale = True
        self._seen = 0
        self._hinted = asyncio.Event()

    def hint(self) -> None:
        """Say that there may be news: a block, an event."""
        self._hinted.set()

    def health(self) -> dict[str, object]:
        """Return what is hosted and how it is, as plain values."""
        strategies = {name: _standing(hosted) for name, hosted in list(self._hosted.items())}
        return {"strategies": strategies, "journal_seq": self._seen}

    async def run(self, stop: asyncio.Event) -> None:
        """Start, then turn whenever there is news, until told to stop."""
        await self.start()
        news: Sequence[Recorded] | None = None
        while not stop.is_set():
            await self.turn(news)
            news = await self._await_news(stop)

    async def start(self) -> None:
        """Take up the strategies assigned; what happens from now on is read from the journal."""
        self._seen = await self._store.newest()
        await self._assign()
        log.info("strategies_started", strategies=len(self._hosted))

    async def turn(self, news: Sequence[Recorded] | None = None) -> None:
        """Gather, let every strategy decide, save, submit.

        `news` are the journal's next events where they have been read already.
        """
        self._hinted.clear()
        await self._read_journal(news)
        await self._take_up_again()
        await self._feed.refresh()
        moved = await self._store.intents(sorted(self._touched)) if self._touched else ()
        await self._refresh_portfolios(force=bool(moved))  # never older than what is told
        self._tell_updates(moved)
        self._show_blocks()
        await self._submit(await self._save())
        await self._pause_failed()

    async def _read_journal(self, news: Sequence[Recorded] | None) -> None:
        """Note which intents moved, and follow what was decided about strategies."""
        changed: dict[str, bool] = {}
        moved: set[UUID] = set()
        async for event in self._events(news):
            self._note(event, changed)
            moved.add(event.correlation_id)
        for runner in self._runners():
            self._touched.update(moved & runner.desk.open.keys())
        if any(changed.values()):
            await self._assign()
        for strategy_id, started in changed.items():
            if strategy_id in self._hosted:
                await self._follow(strategy_id, anew=started)

    async def _events(self, page: Sequence[Recorded] | None) -> AsyncIterator[Recorded]:
        """Yield the journal's next events, at most PAGES batches of them."""
        for _ in range(PAGES):
            if page is None:
                page = await self._store.tail(self._seen, BATCH, 0.0)
            for event in page:
                yield event
                self._seen = event.seq
                self._holdings_stale = True
            if len(page) < BATCH:
                return
            page = None

    def _note(self, recorded: Recorded, changed: dict[str, bool]) -> None:
        event = recorded.event
        if isinstance(event, STRATEGY_EVENTS):
            strategy_id = recorded.stream_id.partition("/")[2]
            started = isinstance(event, StrategyStarted)
            changed[strategy_id] = changed.get(strategy_id, False) or started
        elif isinstance(event, IntentAccepted):
            hosted = self._hosted.get(event.intent.strategy_id)
            own = event.principal == _principal(event.intent.strategy_id)
            if hosted and hosted.runner and not own:  # its own are open since it asked
                hosted.runner.desk.open.setdefault(event.intent.id, 0)

    async def _assign(self) -> None:
        """Take up what is newly ours, let go of what is not."""
        records = {record.id: record for record in await self._store.strategies()}
        stopped = {name for name, r in records.items() if r.status is StrategyStatus.STOPPED}
        ours = set(self._assigned(tuple(records.values()))) - stopped
        for strategy_id in set(self._hosted) - ours - stopped:
            del self._hosted[strategy_id]
        for strategy_id in sorted(ours - set(self._hosted)):
            await self._load(records[strategy_id])

    async def _follow(self, strategy_id: str, *, anew: bool) -> None:
        """Act on a strategy's newest record."""
        hosted = self._hosted[strategy_id]
        record = await self._store.strategy(strategy_id)
        if record is None:
            raise InvariantBroken("a strategy vanished", strategy_id=strategy_id)
        if record.version == hosted.record.version:
            return
        resumed = hosted.runner is None and record.status is StrategyStatus.RUNNING
        hosted.record = replace(record, code="")
        if record.status is StrategyStatus.STOPPED:
            await self._end(hosted)
        elif anew or resumed:
            await self._load(record, skip=resumed)

    async def _end(self, hosted: Hosted) -> None:
        runner = hosted.runner
        if runner is not None:
            self._call(hosted, "on_stop", lambda: runner.stop(self._clock.now()))
            await self._submit(await self._save())
        self._hosted.pop(hosted.record.id, None)
        self._failures.pop(hosted.record.id, None)
        self._feed.forget_all_but(pair for r in self._runners() for pair in r.pairs)

    async def _take_up_again(self) -> None:
        """Load anew those whose state another host saved."""
        for strategy_id in sorted(self._reload):
            record = await self._store.strategy(strategy_id)
            if record is not None and strategy_id in self._hosted:
                await self._load(record)
        self._reload.clear()

    async def _load(self, record: StrategyRecord, *, skip: bool = False) -> None:
        """Build a strategy from its record and its saved state, and bring it to life.

        `skip` leaves out the blocks it has not seen: on one of them it failed.
        """
        hosted = Hosted(record=replace(record, code=""))
        self._hosted[record.id] = hosted
        starts = [
            recorded
            for recorded in await self._store.stream(record.stream_id)
            if isinstance(recorded.event, StrategyStarted)
        ]
        kept = await self._store.load_state(record.id)
        text, hosted.version = kept or ("", 0)
        run, at = starts[-1].version, starts[-1].at

        def build() -> None:
            desk = Desk(
                strategy_id=record.id, clock=self._clock, tokens=self._tokens, models=self._models
            )
            declared = load_class(record.source, record.code)
            saved = Saved.read(text) if text else Saved()
            hosted.runner = build_runner(declared, record.params, desk, saved, run)

        self._call(hosted, "loading", build)
        runner = hosted.runner
        if runner is None:
            return
        await self._feed.watch(runner.pairs, runner.keep)
        self._place(runner, fresh=skip or not runner.resumed)
        self._touched.update(runner.desk.open)
        runner.desk.portfolio = Portfolio.of(await self._store.holdings(record.id))
        self._call(hosted, "on_start", lambda: runner.start(at, muted=hosted.paused))

    def _place(self, runner: Runner, *, fresh: bool) -> None:
        """A strategy's first block is the next one; what came before is history to it."""
        for chain_id in sorted(runner.chains):
            runner.desk.market = market = self._feed.latest(runner.pairs, chain_id)
            if fresh or chain_id not in runner.blocks:
                runner.blocks[chain_id] = market.block_number if market else -1

    async def _refresh_portfolios(self, *, force: bool = False) -> None:
        """Read holdings again when the journal moved: every booking is part of a commit."""
        if not (self._holdings_stale or force) or not self._hosted:
            return
        self._holdings_stale = False
        only = next(iter(self._hosted)) if len(self._hosted) == 1 else None
        lines: dict[str, list[Holding]] = {}
        for line in await self._store.holdings(only):
            lines.setdefault(line.strategy_id, []).append(line)
        for strategy_id, hosted in self._hosted.items():
            if hosted.runner is not None:
                hosted.runner.desk.portfolio = Portfolio.of(lines.get(strategy_id, ()))

    def _tell_updates(self, records: Iterable[IntentRecord]) -> None:
        for record in sorted(records, key=lambda r: (r.updated_at, r.intent.id)):
            hosted = self._hosted.get(record.intent.strategy_id)
            runner = hosted.runner if hosted else None
            if hosted and runner:
                self._update(hosted, runner, record)
        self._touched.clear()

    def _update(self, hosted: Hosted, runner: Runner, record: IntentRecord) -> None:
        self._call(hosted, "on_intent_update", lambda: runner.update(record, muted=hosted.paused))

    def _show_blocks(self) -> None:
        for hosted in list(self._hosted.values()):
            runner = hosted.runner
            if runner is not None:
                for market in self._feed.unseen(runner.pairs, runner.blocks, self._limits.blocks):
                    self._show(hosted, market)

    def _show(self, hosted: Hosted, market: Market) -> None:
        runner = hosted.runner
        if runner is not None:
            late = self._clock.now() - market.at > self._limits.late_ms
            muted = hosted.paused or late
            self._call(hosted, "on_block", lambda: runner.block(market, muted=muted))

    def _call(self, hosted: Hosted, handler: str, work: Callable[[], None]) -> None:
        """Run a strategy's own code; whatever it raises is that strategy's end until resumed."""
        strategy_id = hosted.record.id
        began = self._clock.now()
        try:
            work()
        except (Exception, SystemExit) as error:  # the users' code may raise anything
            self._fail(hosted, f"{handler}: {_one_line(error)}")
            log.warning("strategy_failed", strategy_id=strategy_id, handler=handler, exc_info=True)
            return
        spent = self._clock.now() - began
        if spent > self._limits.handler_ms:
            self._fail(hosted, f"{handler} took {spent} ms, {self._limits.handler_ms} are allowed")

    def _fail(self, hosted: Hosted, detail: str) -> None:
        """Forget what it decided in this turn; it is built anew from what was saved."""
        hosted.runner = None
        self._failures[hosted.record.id] = detail

    async def _pause_failed(self) -> None:
        for strategy_id, detail in sorted(self._failures.items()):
            try:
                await self._enrolment.pause(
                    strategy_id, principal=PLATFORM, at=self._clock.now(), detail=detail
                )
                log.warning("strategy_paused", strategy_id=strategy_id, detail=detail)
            except NotNow:
                log.info("strategy_was_not_running", strategy_id=strategy_id, detail=detail)
        self._failures.clear()

    async def _save(self) -> list[tuple[str, Intent]]:
        """Save what changed; return the requests that are now durable decisions."""
        changed = [
            (hosted, runner, text)
            for hosted in self._hosted.values()
            if (runner := hosted.runner) is not None
            and (text := self._unsaved(hosted, runner)) is not None
        ]
        answers = await asyncio.gather(
            *(
                self._store.save_state(hosted.record.id, text, hosted.version + 1)
                for hosted, _, text in changed
            ),
            return_exceptions=True,
        )
        requests: list[tuple[str, Intent]] = []
        for (hosted, runner, _), answer in zip(changed, answers, strict=True):
            if isinstance(answer, VersionConflict):
                self._give_way(hosted)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                hosted.version += 1
                requests += [(hosted.record.id, intent) for intent in runner.kept()]
        return requests

    def _unsaved(self, hosted: Hosted, runner: Runner) -> str | None:
        texts: list[str | None] = []
        self._call(hosted, "saving", lambda: texts.append(runner.unsaved()))
        return texts[0] if texts and hosted.runner is not None else None

    def _give_way(self, hosted: Hosted) -> None:
        log.warning("strategy_hosted_twice", strategy_id=hosted.record.id)
        hosted.runner = None
        self._reload.add(hosted.record.id)

    async def _submit(self, requests: Sequence[tuple[str, Intent]]) -> None:
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            submissions = [_submission(strategy_id, intent) for strategy_id, intent in batch]
            verdicts = await self._store.accept(submissions, self._clock.now())
            for (strategy_id, intent), verdict in zip(batch, verdicts, strict=True):
                if isinstance(verdict, KeyReused):
                    self._fail(
                        self._hosted[strategy_id], f"intent {intent.id} exists with other content"
                    )
                elif not isinstance(verdict, Accepted):
                    self._touched.add(intent.id)

    async def _await_news(self, stop: asyncio.Event) -> Sequence[Recorded] | None:
        """Wait for an event, a hint, or `poll_s`, at least `rest_s`; return the events if read."""
        tail = asyncio.ensure_future(self._store.tail(self._seen, BATCH, self._limits.poll_s))
        others = [asyncio.ensure_future(event.wait()) for event in (self._hinted, stop)]
        await asyncio.wait([tail, *others], return_when=asyncio.FIRST_COMPLETED)
        for waiter in (tail, *others):
            waiter.cancel()
        await asyncio.gather(tail, *others, return_exceptions=True)
        await asyncio.sleep(self._limits.rest_s)
        return None if tail.cancelled() else tail.result()

    def _runners(self) -> list[Runner]:
        return [hosted.runner for hosted in self._hosted.values() if hosted.runner is not None]


def _standing(hosted: Hosted) -> dict[str, object]:
    """How a strategy is, as plain values; may be asked from another thread."""
    runner = hosted.runner
    return {
        "status": hosted.record.status.value,
        "working": runner is not None,
        "blocks": dict(runner.blocks) if runner else {},
        "open_intents": len(runner.desk.open) if runner else 0,
    }


def _submission(strategy_id: str, intent: Intent) -> Submission:
    body = json.dumps(dump(intent), sort_keys=True, separators=(",", ":")).encode()
    return Submission(
        intent=intent,
        principal=_principal(strategy_id),
        key=str(intent.id),
        digest=sha256(body).digest(),
    )


def _principal(strategy_id: str) -> str:
    """Who submits a strategy's own intents."""
    return f"strategy:{strategy_id}"


def _one_line(error: BaseException) -> str:
    """Say what was raised and where, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400] + where
