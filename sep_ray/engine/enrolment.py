"""Strategies in and out of work: each change is one event, decided on the newest version."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sep_ray.journal.ports import Journal, Strategies
from sep_ray.journal.records import Append, Commit, VersionConflict
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.ids import derived_id
from sep_ray.portfolio.ledger import TREASURY
from sep_ray.strategy.load import check, full_source
from sep_ray.strategy.record import (
    TRANSITIONS,
    StrategyEvent,
    StrategyPaused,
    StrategyRecord,
    StrategyResumed,
    StrategyStarted,
    StrategyStatus,
    StrategyStopped,
    evolve,
)
from sep_ray.strategy.tokens import Tokens

ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
TRIES: Final = 5
MAX_DETAIL: Final = 500


class NotNow(Rejected):
    """The strategy's status does not allow it; facts: strategy_id, status."""


class Enrolment:
    """Starts, pauses, resumes and stops strategies for named principals."""

    def __init__(self, journal: Journal, strategies: Strategies, tokens: Tokens) -> None:
        self._journal = journal
        self._strategies = strategies
        self._tokens = tokens

    async def start(
        self, strategy_id: str, *, source: str, code: str, params: str, principal: str, at: Millis
    ) -> StrategyRecord:
        """Register a strategy, or start a stopped one anew with this class and parameters.

        Raises BadStrategy or BadParams (one line each), NotNow when it is not stopped.
        """
        if not ID.fullmatch(strategy_id) or strategy_id == TREASURY:
            raise Rejected(
                "not a strategy id", field="id", allowed="a-z, 0-9, - and _, at most 63, not first"
            )
        check(source, code, params, self._tokens)
        started = StrategyStarted(
            source=full_source(source), code=code, params=params or "{}", principal=principal
        )
        return await self._apply(strategy_id, started, at)

    async def pause(
        self, strategy_id: str, *, principal: str, at: Millis, detail: str = ""
    ) -> StrategyRecord:
        """Let it see the market and submit nothing."""
        paused = StrategyPaused(principal=principal, detail=detail[:MAX_DETAIL])
        return await self._apply(strategy_id, paused, at)

    async def resume(self, strategy_id: str, *, principal: str, at: Millis) -> StrategyRecord:
        """Let a paused one submit again, from the next block on."""
        return await self._apply(strategy_id, StrategyResumed(principal=principal), at)

    async def stop(self, strategy_id: str, *, principal: str, at: Millis) -> StrategyRecord:
        """End it; it may be started again."""
        return await self._apply(strategy_id, StrategyStopped(principal=principal), at)

    async def _apply(self, strategy_id: str, event: StrategyEvent, at: Millis) -> StrategyRecord:
        for _ in range(TRIES):
            record = await self._strategies.strategy(strategy_id)
            _require_allowed(strategy_id, record, event)
            after = evolve(record, strategy_id, event, at)
            try:
                await self._journal.commit(_commit(record, after, event, at))
            except VersionConflict:
                continue
            return after
        raise Transient("the strategy changes all the time", strategy_id=strategy_id)


def correlation(strategy_id: str) -> UUID:
    """Return the id under which a strategy's own events are found together."""
    return derived_id("strategy", strategy_id)


def placement(records: Sequence[StrategyRecord], per_actor: int) -> dict[str, tuple[str, ...]]:
    """Return which actor hosts which strategies: actor name -> ids, stopped ones left out.

    With one strategy to an actor the actor bears its name. With more, strategies are dealt in
    the order of registration, stopped ones counted: a place once given does not change.
    """
    if per_actor == 1:
        return {
            f"strategy-{record.id}": (record.id,)
            for record in records
            if record.status is not StrategyStatus.STOPPED
        }
    placed: dict[str, tuple[str, ...]] = {}
    for rank, record in enumerate(sorted(records, key=lambda r: (r.created_at, r.id))):
        if record.status is not StrategyStatus.STOPPED:
            name = f"strategies-{rank // per_actor}"
            placed[name] = (*placed.get(name, ()), record.id)
    return placed


def _require_allowed(strategy_id: str, record: StrategyRecord | None, event: StrategyEvent) -> None:
    starting = isinstance(event, StrategyStarted)
    if record is None and not starting:
        raise NotNow("there is no such strategy", strategy_id=strategy_id, status="unknown")
    if record is not None and (record.status, type(event)) not in TRANSITIONS:
        raise NotNow(
            "its status does not allow that", strategy_id=strategy_id, status=record.status.value
        )


def _commit(
    before: StrategyRecord | None, after: StrategyRecord, event: StrategyEvent, at: Millis
) -> Commit:
    append = Append(
        stream_id=after.stream_id,
        expected_version=before.version if before else 0,
        events=(event,),
        correlation_id=correlation(after.id),
    )
    return Commit(at=at, appends=(append,), states=(after,))
