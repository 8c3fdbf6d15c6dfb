"""Laws of the queue that hold for the formula and for the model alike: both decide it."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.adapters.onnx.catalogue import PRIORITIZER, guarded
from sep_ray.adapters.onnx.guarded import Guarded
from sep_ray.adapters.onnx.session import IN_REPOSITORY
from sep_ray.kernel.clock import Millis
from sep_ray.priority.features import PriorityRow, as_floats
from sep_ray.priority.rank import order
from sep_ray.priority.volatility import Volatility

MODEL = guarded(PRIORITIZER, IN_REPOSITORY, budget_s=60.0)
FORMULA = Guarded(PRIORITIZER, None, budget_s=60.0)

both = pytest.mark.parametrize("scorer", [MODEL, FORMULA], ids=["model", "formula"])


def positive(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


rows = st.builds(
    PriorityRow,
    id=st.uuids(),
    type=st.sampled_from(["ACQUIRE", "DISPOSE", "LIQUIDATE", "REBALANCE"]),
    deadline=st.integers(0, 2**41).map(Millis),
    notional=positive(0, 1e9),
    portfolio=positive(0, 1e9),
    left_s=positive(-100, 3_600),
    window_s=positive(60, 3_600),
    wait_s=positive(0, 3_600),
    max_slippage_bp=positive(10, 1_000),
    volatility=st.builds(
        Volatility, sigma_bp=positive(0, 1_000), ratio=positive(0, 50), jump=positive(0, 50)
    ),
    gas_cost=positive(0, 1e6),
    gas_ratio=positive(0, 50),
    urgency=positive(0, 1),
)


def scores(scorer: Guarded, given_rows: list[PriorityRow]) -> list[float]:
    answer = asyncio.run(scorer.score([as_floats(row) for row in given_rows]))
    assert answer.source == ("model" if scorer is MODEL else "fallback")
    return [outputs[0] for outputs in answer.rows]


@both
@given(st.lists(rows, min_size=1, max_size=10))
def test_scores_are_bounded(scorer: Guarded, given_rows: list[PriorityRow]) -> None:
    assert all(0 <= score <= 1_000 for score in scores(scorer, given_rows))


@both
@given(st.lists(rows, max_size=10, unique_by=lambda row: row.id))
def test_everyone_gets_exactly_one_place(scorer: Guarded, given_rows: list[PriorityRow]) -> None:
    ranked = order(given_rows, scores(scorer, given_rows) if given_rows else [])
    assert {one.id for one in ranked} == {row.id for row in given_rows}
    assert [one.place for one in ranked] == list(range(len(given_rows)))
    stakes = [one.stake for one in ranked]
    assert stakes == sorted(stakes, reverse=True)


@both
@given(st.lists(rows, min_size=2, max_size=6, unique_by=lambda row: row.id), st.randoms())
def test_the_order_does_not_depend_on_who_is_asked_first(
    scorer: Guarded, given_rows: list[PriorityRow], chance: object
) -> None:
    """P13: the same rows give the same queue."""
    shuffled = list(given_rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    one = order(given_rows, scores(scorer, given_rows))
    assert one == order(shuffled, scores(scorer, shuffled))


@both
@given(rows, positive(0, 3_600))
def test_a_nearer_deadline_never_lowers_the_score(
    scorer: Guarded, row: PriorityRow, sooner: float
) -> None:
    pressed = replace(row, left_s=row.left_s - sooner)
    far, near = scores(scorer, [row, pressed])
    assert near >= far * (1 - 1e-6)


@both
@given(rows, positive(1, 1_000))
def test_more_notional_is_never_less_at_stake(
    scorer: Guarded, row: PriorityRow, times: float
) -> None:
    free = replace(row, gas_cost=0.0, id=UUID(int=1))
    larger = replace(free, notional=row.notional * times, id=UUID(int=2))
    ranked = {r.id.int: r.stake for r in order([free, larger], scores(scorer, [free, larger]))}
    assert ranked[2] >= ranked[1]
