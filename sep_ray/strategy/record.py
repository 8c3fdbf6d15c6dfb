"""A registered strategy: which class with which parameters, and whether it should run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.machine import move


class StrategyStatus(StrEnum):
    """What the platform wants of the strategy."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # keeps its state and sees the market, but submits nothing
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyRecord:
    """`source` names the class: "package.module:Class" or "file.py:Class"; `code` holds the
    file's text when it came from a file; `params` is JSON text; `detail` says why it is paused.
    The strategy's own state is kept apart, since it changes with every block."""

    id: str
    source: str
    code: str
    params: str
    created_at: Millis
    status: StrategyStatus = StrategyStatus.RUNNING
    version: int = 0
    detail: str = ""

    @property
    def stream_id(self) -> str:
        """The stream that holds this strategy's events."""
        return f"strategy/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyStarted:
    """Registered, or started anew with other parameters."""

    source: str
    code: str
    params: str
    principal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyResumed:
    """Runs again after a pause."""

    principal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyPaused:
    """Submits nothing until resumed; `detail` says why when the platform did it."""

    principal: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyStopped:
    """Ended; may be started again."""

    principal: str


StrategyEvent = StrategyStarted | StrategyResumed | StrategyPaused | StrategyStopped

_S = StrategyStatus
TRANSITIONS: Final[Mapping[tuple[StrategyStatus, type], StrategyStatus]] = {
    (_S.RUNNING, StrategyPaused): _S.PAUSED,
    (_S.RUNNING, StrategyStopped): _S.STOPPED,
    (_S.PAUSED, StrategyResumed): _S.RUNNING,
    (_S.PAUSED, StrategyStopped): _S.STOPPED,
    (_S.STOPPED, StrategyStarted): _S.RUNNING,
}


def evolve(
    record: StrategyRecord | None, strategy_id: str, event: StrategyEvent, at: Millis
) -> StrategyRecord:
    """Return the record after `event`; only StrategyStarted may begin a stream."""
    if record is None:
        if not isinstance(event, StrategyStarted):
            raise InvariantBroken("a strategy begins by starting", event=type(event).__name__)
        return StrategyRecord(
            id=strategy_id,
            source=event.source,
            code=event.code,
            params=event.params,
            created_at=at,
            version=1,
        )
    moved = replace(
        record, status=move(TRANSITIONS, record.status, event), version=record.version + 1
    )
    match event:
        case StrategyStarted():
            return replace(
                moved, source=event.source, code=event.code, params=event.params, detail=""
            )
        case StrategyPaused():
            return replace(moved, detail=event.detail)
        case StrategyResumed():
            return replace(moved, detail="")
        case StrategyStopped():
            return moved
