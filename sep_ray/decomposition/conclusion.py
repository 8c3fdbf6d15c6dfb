"""How an intent ends: derived from its steps, never decided apart from them (P2)."""

from __future__ import annotations

from collections.abc import Sequence

from sep_ray.decomposition.step import TERMINAL, Step, StepStatus
from sep_ray.intent.states import (
    IntentCancelled,
    IntentCompleted,
    IntentEvent,
    IntentExpired,
    IntentFailed,
    IntentPartiallyCompleted,
    IntentRecord,
    Reason,
    Status,
)


def conclusion(record: IntentRecord, steps: Sequence[Step]) -> IntentEvent | None:
    """Return the event that ends the intent, or None while a step is still under way.

    A fill in a block that may still go is under way: what an end says cannot be taken back (P7).
    `sold` and `bought` are sums over the steps where all share one pair of assets, else zero:
    units of different assets do not add up.
    """
    if any(step.status not in TERMINAL for step in steps):
        return None
    done = [step for step in steps if step.status is StepStatus.DONE]
    if not all(step.final for step in done):
        return None
    undone = [step for step in steps if step.status is not StepStatus.DONE]
    if not done:
        return _without_effect(record, undone)
    one_pair = len({(step.sell, step.buy) for step in steps}) == 1
    sold = sum(step.sold for step in done) if one_pair else 0
    bought = sum(step.bought for step in done) if one_pair else 0
    if not undone:
        return IntentCompleted(reason=Reason.FILLED, sold=sold, bought=bought)
    first = next((step for step in undone if step.status is StepStatus.FAILED), undone[0])
    why = first.reason or Reason.TRIES_SPENT
    return IntentPartiallyCompleted(reason=why, sold=sold, bought=bought)


def _without_effect(record: IntentRecord, undone: Sequence[Step]) -> IntentEvent:
    failed = next((step for step in undone if step.status is StepStatus.FAILED), None)
    if record.status is Status.CANCELLING:
        return IntentCancelled(reason=Reason.CANCELLED_BY_CLIENT)
    if failed is not None:
        return IntentFailed(reason=failed.reason or Reason.TRIES_SPENT, detail=failed.detail)
    return IntentExpired(reason=Reason.DEADLINE)
