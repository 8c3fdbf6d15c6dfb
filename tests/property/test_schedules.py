"""Slices add up to their schedule and never to more, whatever happens to clock, fills, memory."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from sep_ray.decomposition.conclusion import conclusion
from sep_ray.decomposition.decompose import Facts, Refusal, decompose
from sep_ray.decomposition.schedule import releases
from sep_ray.decomposition.step import (
    TERMINAL,
    Step,
    StepEvent,
    StepExpired,
    StepFailed,
    StepFilled,
    StepFinalized,
    StepRequeued,
    StepStarted,
    StepStatus,
    StepUnfilled,
    evolve,
)
from sep_ray.intent.intent import CatchUp, Constraints, Intent, IntentType, Schedule, Style
from sep_ray.intent.states import IntentAccepted, IntentDecomposed, Reason
from sep_ray.intent.states import evolve as evolve_intent
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId

CHAIN = ChainId(1)
WETH, USDC = (Asset(CHAIN, "0x" + digit * 40) for digit in "ab")
START, WINDOW = Millis(1_700_000_000_000), 600_000
DEADLINE = Millis(START + WINDOW)

HAPPENINGS = st.sampled_from(
    ["wait", "leap", "back", "turn", "forget", "fill", "part", "fail", "again", "reorganise"]
)
"""Time passes, jumps ahead, jumps back; the router works, or dies before it has written; a slice
is filled, filled in part, fails, is to be tried again, or loses its block."""


def twap(amount: int, slices: int, rule: CatchUp, cap: int) -> Intent:
    schedule = Schedule(slices=slices, catch_up=rule, burst_cap=cap)
    return Intent(
        id=UUID(int=1),
        strategy_id="desk",
        type=IntentType.DISPOSE,
        chain_id=CHAIN,
        sell=WETH,
        buy=USDC,
        amount=amount,
        constraints=Constraints(time_window_ms=WINDOW, style=Style.TWAP, schedule=schedule),
        created_at=START,
    )


def first(steps: dict[UUID, Step], *statuses: StepStatus) -> Step | None:
    found = (s for s in steps.values() if s.status in statuses and not s.final)
    return next(found, None)


def happen(steps: dict[UUID, Step], what: str, now: Millis) -> None:
    """Do what an executor does to one slice."""
    ready, done = first(steps, StepStatus.READY), first(steps, StepStatus.DONE)
    if what == "reorganise" and done is not None:
        steps[done.id] = evolve(done, StepUnfilled(block_hash="0x"))
    if what not in ("fill", "part", "fail", "again") or ready is None:
        return
    started = StepStarted(
        attempt_id=UUID(int=2), reserved=ready.amount, quoted=ready.amount, plan=""
    )
    step = evolve(ready, started)
    sold = step.amount if what == "fill" else step.amount // 2
    filled = StepFilled(sold=sold, bought=sold, tx_hash="0x", block_number=1, block_hash="0x")
    failed = StepFailed(reason=Reason.REVERTED, detail="x")
    requeued = StepRequeued(reason=Reason.REVERTED, detail="x")
    ends: dict[str, StepEvent] = {
        "fill": filled,
        "part": filled,
        "fail": failed,
        "again": requeued,
    }
    steps[ready.id] = evolve(step, ends[what])


def expire(steps: dict[UUID, Step], now: Millis) -> None:
    """Do what the router does to slices that were not begun in time."""
    for step in steps.values():
        if step.status is StepStatus.READY and now >= step.deadline:
            steps[step.id] = evolve(step, StepExpired(reason=Reason.DEADLINE))


def turn(steps: dict[UUID, Step], now: Millis) -> None:
    for step, events in releases(list(steps.values()), now):
        for event in events:
            steps[step.id] = evolve(steps[step.id], event)
    expire(steps, now)


@given(
    amount=st.integers(12, 10**30),
    slices=st.integers(1, 12),
    rule=st.sampled_from(CatchUp),
    cap=st.integers(1, 4),
    happenings=st.lists(HAPPENINGS, max_size=60),
)
def test_p3_slices_sum_to_the_parent_and_never_over_whatever_happens(
    amount: int, slices: int, rule: CatchUp, cap: int, happenings: list[str]
) -> None:
    intent = twap(amount, slices, rule, cap)
    facts = Facts(available={WETH: amount}, prices={})
    made = decompose(intent, facts, START, 1.0)
    assert not isinstance(made, Refusal)
    steps = {step.id: step for step in made}
    moved = {"wait": WINDOW // 20, "leap": WINDOW // 2, "back": -WINDOW // 4}
    now = START
    for what in happenings:
        now = Millis(now + moved.get(what, 0))
        if what == "forget":
            releases(list(steps.values()), now)  # decided, and dead before it was written
        elif what == "turn":
            turn(steps, now)
        happen(steps, what, now)
        assert sum(step.amount for step in steps.values()) == amount
        assert sum(step.sold for step in steps.values()) <= amount
        assert all(step.due <= step.deadline == DEADLINE for step in steps.values())
    _to_the_end(steps)
    assert sum(step.amount for step in steps.values()) == amount
    record = evolve_intent(None, IntentAccepted(intent=intent, principal="p"), START)
    begun = IntentDecomposed(score=1.0, score_source="t", why="", steps=slices)
    ending = conclusion(evolve_intent(record, begun, START), list(steps.values()))
    assert ending is not None
    assert getattr(ending, "sold", 0) <= amount


def _to_the_end(steps: dict[UUID, Step]) -> None:
    """Let the window close, what is under way land, and every fill become final."""
    for step in list(steps.values()):
        if step.status is StepStatus.WORKING:
            filled = StepFilled(
                sold=step.amount, bought=1, tx_hash="0x", block_number=1, block_hash="0x"
            )
            steps[step.id] = evolve(step, filled)
    turn(steps, DEADLINE)
    for step in list(steps.values()):
        if step.status is StepStatus.DONE and not step.final:
            steps[step.id] = evolve(step, StepFinalized(block_number=9))
    assert all(step.status in TERMINAL for step in steps.values())
