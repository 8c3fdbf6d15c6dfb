"""Schedules: how an amount is spread over a window, and what becomes of missed slices.

The parts of a schedule always add up to the whole: a part that is skipped stays visible as a
SKIPPED step, a part that is moved keeps its amount.
"""

from __future__ import annotations

from collections.abc import Sequence

from sep_ray.decomposition.step import (
    TERMINAL,
    Step,
    StepCancelled,
    StepEvent,
    StepExpired,
    StepReleased,
    StepRescheduled,
    StepSkipped,
    StepStatus,
)
from sep_ray.intent.intent import CatchUp, Schedule
from sep_ray.intent.states import Reason
from sep_ray.kernel.clock import Millis

Decision = tuple[Step, tuple[StepEvent, ...]]
"""A step and the events that happen to it, in order."""


def parts(amount: int, slices: int) -> tuple[int, ...]:
    """Divide an amount into equal parts rounded down; the last part carries the dust."""
    part = amount // slices
    return (*(part for _ in range(slices - 1)), amount - part * (slices - 1))


def instants(start: Millis, end: Millis, slices: int) -> tuple[Millis, ...]:
    """Return when each slice falls due: evenly spaced from `start`, the last before `end`."""
    return tuple(Millis(start + (end - start) * place // slices) for place in range(slices))


def releases(steps: Sequence[Step], now: Millis) -> tuple[Decision, ...]:
    """Decide for one intent's PENDING steps: expire, release, or catch up on missed ones.

    One slice due is on time, however late the caller woke. Two or more due means that slices
    were missed; then the intent's catch-up rule decides.
    """
    pending = [step for step in steps if step.status is StepStatus.PENDING]
    expired = [step for step in pending if now >= step.deadline]
    if expired:
        return tuple((step, (StepExpired(reason=Reason.DEADLINE),)) for step in expired)
    due = [step for step in pending if step.due <= now]
    if len(due) < 2:
        return tuple((step, (StepReleased(),)) for step in due)
    return _caught_up(pending, due, now, due[0].constraints.schedule)


def fundings(steps: Sequence[Step], now: Millis) -> tuple[Decision, ...]:
    """Decide for PENDING steps that others fund: begin what is funded, end what will not be.

    Funding counts once it is final. A step takes its share of what came, rounded down; what came
    in excess of that stays, and where only a part came that part is used.
    """
    by_id = {step.id: step for step in steps}
    found: list[Decision] = []
    for step in steps:
        if step.status is not StepStatus.PENDING or not step.after or now >= step.deadline:
            continue
        before = [by_id[name] for name in step.after if name in by_id]
        if any(not _settled(each) for each in before):
            continue
        amount = _share(step, before)
        if amount > 0:
            found.append((step, (StepRescheduled(due=now, amount=amount), StepReleased())))
        else:
            found.append((step, (StepCancelled(reason=Reason.UNFUNDED),)))
    return tuple(found)


def _settled(step: Step) -> bool:
    return step.status in TERMINAL and (step.final or step.status is not StepStatus.DONE)


def _share(step: Step, before: Sequence[Step]) -> int:
    done = [each for each in before if each.status is StepStatus.DONE]
    if step.out_of == 0:
        return step.amount if len(done) == len(before) else 0
    given = sum(each.bought for each in done if each.buy == step.sell)
    return min(given * step.amount // step.out_of, given)


def _caught_up(
    pending: Sequence[Step], due: Sequence[Step], now: Millis, schedule: Schedule
) -> tuple[Decision, ...]:
    match schedule.catch_up:
        case CatchUp.SKIP:
            *missed, newest = due
            skipped = tuple((step, (StepSkipped(reason=Reason.MISSED_SLICES),)) for step in missed)
            return (*skipped, (newest, (StepReleased(),)))
        case CatchUp.BURST:
            return _respread(pending, now, at_once=min(schedule.burst_cap, len(due)))
        case CatchUp.SPREAD:
            return _respread(pending, now, at_once=1)


def _respread(pending: Sequence[Step], now: Millis, at_once: int) -> tuple[Decision, ...]:
    """Release the first `at_once` steps; spread the others evenly over the time that is left."""
    first, later = pending[:at_once], pending[at_once:]
    moments = instants(now, pending[-1].deadline, len(later) + 1)[1:]
    moved = tuple(
        (step, (StepRescheduled(due=due, amount=step.amount),))
        for step, due in zip(later, moments, strict=True)
    )
    return (*((step, (StepReleased(),)) for step in first), *moved)
