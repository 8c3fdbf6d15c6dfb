"""Halts: what nobody may send, since when, by whom, and who let go. Pure.

A halt covers an intent, a strategy, a chain or everything. HALTED stops every broadcast, the
same bytes again included, but for one: a transaction that only uses up the nonce of one already
handed over (a cancel) moves nothing and takes back what may still land. REDUCING lets through
what can only reduce exposure: cancels, swaps that give something for the numeraire, and claims of
what a bridge holds for us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from uuid import UUID

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.machine import move
from sep_ray.kernel.units import ChainId
from sep_ray.policy.codes import Denial


class Scope(StrEnum):
    """How far a halt reaches."""

    INTENT = "intent"
    STRATEGY = "strategy"
    CHAIN = "chain"
    ALL = "all"


class Mode(StrEnum):
    """How much a halt stops."""

    HALTED = "halted"
    REDUCING = "reducing"


class HaltStatus(StrEnum):
    """Whether a halt stands."""

    ACTIVE = "ACTIVE"
    RELEASED = "RELEASED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """One halt. `target` is an intent's id, a strategy's id, a chain's number, or ""."""

    id: UUID
    scope: Scope
    target: str
    mode: Mode
    why: str
    principal: str
    at: Millis
    status: HaltStatus = HaltStatus.ACTIVE
    version: int = 0
    released_by: str = ""
    released_at: Millis | None = None

    @property
    def stream_id(self) -> str:
        """The stream that holds this halt's events."""
        return f"halt/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltPlaced:
    """Somebody stopped something."""

    halt: Halt


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltReleased:
    """A named person let it go on."""

    principal: str
    why: str
    at: Millis


HaltEvent = HaltPlaced | HaltReleased

TRANSITIONS: Final[Mapping[tuple[HaltStatus, type], HaltStatus]] = {
    (HaltStatus.ACTIVE, HaltReleased): HaltStatus.RELEASED,
}


def evolve(halt: Halt | None, event: HaltEvent) -> Halt:
    """Return the halt after `event`; only HaltPlaced may begin a stream."""
    if isinstance(event, HaltPlaced):
        if halt is not None:
            raise InvariantBroken("a halt is placed once", halt=str(halt.id))
        return replace(event.halt, version=1)
    if halt is None:
        raise InvariantBroken("a halt begins with its placing", event=type(event).__name__)
    return replace(
        halt,
        status=move(TRANSITIONS, halt.status, event),
        version=halt.version + 1,
        released_by=event.principal,
        released_at=event.at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Something to be sent. `reduces`: it can only reduce exposure; `cancels`: it uses up the
    nonce of a transaction that was handed over before, and does nothing else."""

    chain_id: ChainId
    strategy_id: str = ""
    intent_id: UUID | None = None
    reduces: bool = False
    cancels: bool = False


def covers(halt: Halt, sending: Sending) -> bool:
    """Whether a halt is about this."""
    match halt.scope:
        case Scope.ALL:
            return True
        case Scope.CHAIN:
            return halt.target == str(sending.chain_id)
        case Scope.STRATEGY:
            return halt.target == sending.strategy_id
        case Scope.INTENT:
            return sending.intent_id is not None and halt.target == str(sending.intent_id)


def stopped(halts: Iterable[Halt], sending: Sending) -> tuple[Denial, Halt] | None:
    """Return the strictest halt that stops this, with its code; None when it may go."""
    if sending.cancels:
        return None
    found = [halt for halt in halts if halt.status is HaltStatus.ACTIVE and covers(halt, sending)]
    for halt in found:
        if halt.mode is Mode.HALTED:
            return Denial.HALTED, halt
    for halt in found:
        if not sending.reduces:
            return Denial.REDUCING_ONLY, halt
    return None
