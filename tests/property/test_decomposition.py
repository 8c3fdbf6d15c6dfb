"""Laws of decomposition: nothing is lost between an intent and its steps."""

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from sep_ray.decomposition.conclusion import conclusion
from sep_ray.decomposition.decompose import Facts, Refusal, decompose
from sep_ray.decomposition.rebalance import swaps_to_targets
from sep_ray.decomposition.schedule import instants, parts, releases
from sep_ray.decomposition.step import (
    TERMINAL,
    Step,
    StepFilled,
    StepFinalized,
    StepReleased,
    StepSkipped,
    StepStarted,
    StepStatus,
    evolve,
)
from sep_ray.intent.intent import (
    CatchUp,
    Constraints,
    Intent,
    IntentType,
    Schedule,
    Style,
    Target,
)
from sep_ray.intent.states import IntentAccepted, IntentDecomposed, Reason
from sep_ray.intent.states import evolve as evolve_intent
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import PPM, Asset, ChainId, Ppm

WETH, USDC, WBTC = (Asset(ChainId(1), "0x" + digit * 40) for digit in "abc")
START = Millis(1_700_000_000_000)


def twap(amount: int, slices: int, catch_up: CatchUp, burst_cap: int = 2) -> Intent:
    return Intent(
        id=UUID(int=amount),
        strategy_id="desk",
        type=IntentType.DISPOSE,
        chain_id=ChainId(1),
        sell=WETH,
        buy=USDC,
        amount=amount,
        constraints=Constraints(
            style=Style.TWAP,
            schedule=Schedule(slices=slices, catch_up=catch_up, burst_cap=burst_cap),
        ),
        created_at=START,
    )


def steps_of(intent: Intent, available: int = 2**250) -> tuple[Step, ...]:
    outcome = decompose(intent, Facts(available={WETH: available}, prices={}), START, 1.0)
    assert not isinstance(outcome, Refusal)
    return tuple(replace(step, version=1) for step in outcome)


@given(st.integers(1, 2**256 - 1), st.integers(1, 100))
def test_parts_add_up_and_differ_only_by_the_dust_of_the_last(amount: int, slices: int) -> None:
    made = parts(amount, slices)
    assert sum(made) == amount
    assert len(set(made[:-1])) <= 1
    assert 0 <= made[-1] - made[0] < slices


@given(st.integers(0, 2**40), st.integers(60_000, 3_600_000), st.integers(1, 100))
def test_instants_rise_from_the_start_and_stay_inside_the_window(
    start: int, window: int, slices: int
) -> None:
    made = instants(Millis(start), Millis(start + window), slices)
    assert made[0] == start
    assert list(made) == sorted(set(made))
    assert made[-1] < start + window


@given(
    amount=st.integers(100, 10**30),
    slices=st.integers(2, 40),
    rule=st.sampled_from(CatchUp),
    cap=st.integers(1, 5),
    wakes=st.lists(st.integers(1, 900_000), min_size=1, max_size=30),
)
def test_slices_never_exceed_the_parent_whenever_the_router_wakes(
    amount: int, slices: int, rule: CatchUp, cap: int, wakes: list[int]
) -> None:
    intent = twap(amount, slices, rule, cap)
    steps = {step.id: step for step in steps_of(intent)}
    now = START
    for wake in wakes:
        now = Millis(now + wake)
        released = 0
        for step, events in releases(list(steps.values()), now):
            for event in events:
                steps[step.id] = evolve(steps[step.id], event)
                released += isinstance(event, StepReleased)
        assert released <= (cap if rule is CatchUp.BURST else 1)
        assert sum(step.amount for step in steps.values()) == amount
    end = Millis(START + 600_000)
    for step, events in releases(list(steps.values()), end):
        for event in events:
            steps[step.id] = evolve(steps[step.id], event)
    assert all(step.status is not StepStatus.PENDING for step in steps.values())


def test_a_restart_in_the_middle_follows_each_rule() -> None:
    late = Millis(START + 350_000)  # 6 slices every 100 s: the 2nd to 4th fell due unseen
    outcomes = {}
    for rule in CatchUp:
        pending = steps_of(twap(600, 6, rule))[1:]
        outcomes[rule] = [
            (step.ordinal, type(events[0]).__name__) for step, events in releases(pending, late)
        ]
    assert outcomes[CatchUp.SKIP] == [
        (1, "StepSkipped"),
        (2, "StepSkipped"),
        (3, "StepReleased"),
    ]
    assert outcomes[CatchUp.BURST][:3] == [
        (1, "StepReleased"),
        (2, "StepReleased"),
        (3, "StepRescheduled"),
    ]
    assert outcomes[CatchUp.SPREAD][:2] == [(1, "StepReleased"), (2, "StepRescheduled")]


@given(st.lists(st.sampled_from(["fill", "skip"]), min_size=1, max_size=6))
def test_p2_the_end_follows_from_the_steps(fates: list[str]) -> None:
    intent = twap(600, len(fates), CatchUp.SKIP)
    record = evolve_intent(None, IntentAccepted(intent=intent, principal="p"), START)
    record = evolve_intent(
        record, IntentDecomposed(score=1.0, score_source="t", why="", steps=len(fates)), START
    )
    steps = [replace(step, status=StepStatus.PENDING) for step in steps_of(intent)]
    for place, fate in enumerate(fates):
        assert conclusion(record, steps) is None
        steps[place] = filled(steps[place]) if fate == "fill" else skipped(steps[place])
    ending = conclusion(record, steps)
    assert ending is not None
    assert all(step.status in TERMINAL for step in steps)
    expected = {
        frozenset({"fill"}): "IntentCompleted",
        frozenset({"skip"}): "IntentExpired",
        frozenset({"fill", "skip"}): "IntentPartiallyCompleted",
    }
    assert type(ending).__name__ == expected[frozenset(fates)]


def filled(step: Step) -> Step:
    started = StepStarted(attempt_id=UUID(int=1), reserved=step.amount, quoted=9, plan="")
    done = StepFilled(sold=step.amount, bought=9, tx_hash="0x", block_number=1, block_hash="0x")
    for event in (StepReleased(), started, done, StepFinalized(block_number=3)):
        step = evolve(step, event)
    return step


def skipped(step: Step) -> Step:
    return evolve(step, StepSkipped(reason=Reason.MISSED_SLICES))


@given(
    held=st.tuples(*(st.integers(0, 10**24) for _ in range(3))),
    prices=st.tuples(
        *(st.tuples(st.integers(1, 10**18), st.integers(1, 10**18)) for _ in range(2))
    ),
    cut=st.tuples(st.integers(0, PPM), st.integers(0, PPM)),
)
def test_rebalance_never_sells_more_than_held_and_reaches_the_weights(
    held: tuple[int, ...], prices: tuple[tuple[int, int], ...], cut: tuple[int, int]
) -> None:
    low, high = sorted(cut)
    weights = (low, high - low, PPM - high)
    assets = (USDC, WETH, WBTC)
    by_asset = dict(zip(assets, held, strict=True))
    quoted = {USDC: (1, 1), WETH: prices[0], WBTC: prices[1]}
    targets = tuple(Target(asset=a, weight=Ppm(w)) for a, w in zip(assets, weights, strict=True))
    swaps = swaps_to_targets(targets, by_asset, quoted, Ppm(0))
    value = {a: by_asset[a] * quoted[a][0] // quoted[a][1] for a in assets}
    total = sum(value.values())
    after = dict(value)
    for swap in swaps:
        num, den = quoted[swap.sell]
        by_asset[swap.sell] -= swap.units
        after[swap.sell] -= swap.units * num // den
        after[swap.buy] += swap.units * num // den
    assert all(units >= 0 for units in by_asset.values())
    for target in targets:
        num, den = quoted[target.asset]
        slack = 3 + 2 * max(-(-n // d) for n, d in quoted.values())
        assert abs(after[target.asset] - total * target.weight // PPM) <= slack


def test_rebalance_within_tolerance_does_nothing() -> None:
    targets = (Target(asset=USDC, weight=Ppm(500_000)), Target(asset=WETH, weight=Ppm(500_000)))
    held = {USDC: 1_004, WETH: 996}
    prices = {USDC: (1, 1), WETH: (1, 1)}
    assert swaps_to_targets(targets, held, prices, Ppm(5_000)) == ()
    assert len(swaps_to_targets(targets, held, prices, Ppm(1_000))) == 1
