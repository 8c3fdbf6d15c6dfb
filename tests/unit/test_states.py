"""The state machines are complete and closed: whatever was accepted reaches one end (P2)."""

from collections.abc import Mapping
from enum import StrEnum
from types import UnionType
from typing import Any, NamedTuple, get_args

import pytest

from sep_ray.decomposition import step
from sep_ray.execution import attempt
from sep_ray.intent import states
from sep_ray.kernel.machine import IllegalTransition, move
from sep_ray.policy import halts
from sep_ray.settlement import transfer
from sep_ray.strategy import record


class Machine(NamedTuple):
    table: Mapping[tuple[Any, type], Any]
    states: type[StrEnum]
    starts: frozenset[Any]
    terminal: frozenset[Any]
    events: UnionType
    first: type


MACHINES = {
    "intent": Machine(
        states.TRANSITIONS,
        states.Status,
        frozenset({states.Status.ACCEPTED}),
        # a reorganised block reopens what had a fill in it
        states.TERMINAL - {states.Status.COMPLETED, states.Status.PARTIALLY_COMPLETED},
        states.IntentEvent,
        states.IntentAccepted,
    ),
    "step": Machine(
        step.TRANSITIONS,
        step.StepStatus,
        frozenset({step.StepStatus.PENDING, step.StepStatus.READY}),
        step.TERMINAL - {step.StepStatus.DONE},  # a reorganised block reopens DONE
        step.StepEvent,
        step.StepCreated,
    ),
    "attempt": Machine(
        attempt.TRANSITIONS,
        attempt.AttemptStatus,
        frozenset({attempt.AttemptStatus.PREPARED}),
        attempt.TERMINAL,
        attempt.AttemptEvent,
        attempt.AttemptPrepared,
    ),
    "transfer": Machine(
        transfer.TRANSITIONS,
        transfer.TransferStatus,
        frozenset({transfer.TransferStatus.PLANNED}),
        transfer.TERMINAL,
        transfer.TransferEvent,
        transfer.TransferPlanned,
    ),
    "strategy": Machine(
        record.TRANSITIONS,
        record.StrategyStatus,
        frozenset({record.StrategyStatus.RUNNING}),
        frozenset(),
        record.StrategyEvent,
        record.StrategyStarted,
    ),
    "halt": Machine(
        halts.TRANSITIONS,
        halts.HaltStatus,
        frozenset({halts.HaltStatus.ACTIVE}),
        frozenset({halts.HaltStatus.RELEASED}),
        halts.HaltEvent,
        halts.HaltPlaced,
    ),
}

machine = pytest.mark.parametrize("name", MACHINES)


@machine
def test_p2_terminal_states_have_no_way_out(name: str) -> None:
    assert not {source for source, _ in MACHINES[name].table} & MACHINES[name].terminal


@machine
def test_every_state_is_reachable(name: str) -> None:
    m = MACHINES[name]
    reached = set(m.starts)
    while more := {to for (source, _), to in m.table.items() if source in reached} - reached:
        reached |= more
    assert reached == set(m.states)


@machine
def test_p2_every_state_that_is_no_end_leads_to_one(name: str) -> None:
    m = MACHINES[name]
    ending = set(m.terminal) or set(m.states)
    while more := {source for (source, _), to in m.table.items() if to in ending} - ending:
        ending |= more
    assert ending == set(m.states)


@machine
def test_every_event_is_used(name: str) -> None:
    m = MACHINES[name]
    assert {event for _, event in m.table} | {m.first} == set(get_args(m.events))


@machine
def test_an_illegal_event_names_the_state_and_the_event(name: str) -> None:
    m = MACHINES[name]
    with pytest.raises(IllegalTransition) as caught:
        move(m.table, sorted(m.states)[0], object())
    assert caught.value.facts == {"state": sorted(m.states)[0], "event": "object"}
