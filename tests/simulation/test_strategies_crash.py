"""P3, P4, P11: a host that dies at any await decides each block once and submits each request once.

The host's store dies before or after any one of its calls (or any several); a new host takes
over on the same database, as Ray does after a crash. What is left behind is compared with a life
without crashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sep_ray.engine.strategies import StrategyHost
from sep_ray.intent.states import IntentCompleted, IntentDecomposed, Reason, Status
from sep_ray.journal.records import Submission
from sep_ray.kernel.errors import Indeterminate
from sep_ray.strategy.runner import Saved
from tests.fixtures.strategies import Stage
from tests.simulation.test_strategies_host import DIARY, PAIR

PRICES = (2_000, 1_900, 1_800, 2_000, 1_900)


class Crash(BaseException):
    """The process is gone."""


class Brittle:
    """A store whose calls fail as told: `fate(n)` for call n says "", "before" or "after"."""

    def __init__(self, inner: Any, fate: Callable[[int], str], error: type[BaseException]) -> None:
        self._inner = inner
        self._fate = fate
        self._error = error
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)

        async def call(*args: Any) -> Any:
            fate = self._fate(len(self.calls))
            self.calls.append(name)
            if fate == "before":
                raise self._error(name)
            answer = await inner(*args)
            if fate == "after":
                raise self._error(name)
            return answer

        return call


class Life:
    """A strategy's life on a stage, host after host."""

    def __init__(
        self, fate: Callable[[int], str] = lambda _: "", error: type[BaseException] = Crash
    ) -> None:
        self.stage = Stage()
        self.brittle = Brittle(self.stage.store, fate, error)
        self.error = error
        self.deaths = 0
        self._host: StrategyHost | None = None

    async def live(self) -> dict[str, Any]:
        for name in ("one", "two"):
            await self.stage.enrol(name, "d.py:Diary", DIARY, **PAIR, buy_at=1_900, bar_blocks=2)
        await self.turn()
        for price in PRICES:
            await self.stage.mine(price)
            await self.turn()
            await self.serve()
            await self.turn()
        return {name: await self.remains(name) for name in ("one", "two")}

    async def turn(self) -> None:
        """Turn twice, with as many new processes as it takes."""
        done = 0
        while done < 2:
            try:
                if self._host is None:
                    self._host = self.stage.host()
                    self._host._store = self.brittle
                    self._host._feed._ticks = self.brittle
                    self._host._enrolment._journal = self.brittle
                    self._host._enrolment._strategies = self.brittle
                    await self._host.start()
                await self._host.turn()
                done += 1
            except self.error:
                self._host = None
                self.deaths += 1

    async def serve(self) -> None:
        """Complete whatever waits."""
        for record in await self.stage.store.open_intents(None, 100):
            began = IntentDecomposed(score=1.0, score_source="model", why="", steps=1)
            ended = IntentCompleted(reason=Reason.FILLED, sold=1, bought=record.intent.amount or 0)
            await self.stage.move(record, began, ended)

    async def remains(self, name: str) -> dict[str, Any]:
        kept = await self.stage.store.load_state(name)
        assert kept is not None
        saved = Saved.read(kept[0])
        state = {key: saved.state[key] for key in ("blocks", "bars", "submitted")}
        records = await self.stage.intents(name)
        return {
            **state,
            "ends": saved.state["updates"].count("COMPLETED"),
            "open": saved.open,
            "intents": [(record.intent.id, record.status) for record in records],
        }


async def test_a_life_without_crashes() -> None:
    remains = await Life().live()
    for name in ("one", "two"):
        assert remains[name]["blocks"] == [1, 2, 3, 4, 5]
        assert remains[name]["bars"] == [[2, 3], [4, 5]]
        assert len(remains[name]["intents"]) == remains[name]["ends"] == 3
        assert all(status is Status.COMPLETED for _, status in remains[name]["intents"])
        assert remains[name]["submitted"] == [str(each) for each, _ in remains[name]["intents"]]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [Crash, Indeterminate])
async def test_p3_p11_dying_at_any_one_await_changes_nothing(
    when: str, error: type[BaseException]
) -> None:
    whole = Life()
    expected = await whole.live()
    assert {"save_state", "accept", "load_state"} <= set(whole.brittle.calls)
    for point in range(len(whole.brittle.calls)):
        life = Life(lambda n, point=point: when if n == point else "", error)
        assert await life.live() == expected, f"{when} call {point}"
        assert life.deaths == 1


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 250), st.sampled_from(["before", "after"]), max_size=40))
async def test_p3_p11_dying_again_and_again_changes_nothing(fates: dict[int, str]) -> None:
    expected = await Life().live()
    life = Life(lambda n: fates.get(n, ""))
    assert await life.live() == expected


async def test_p4_a_request_is_saved_before_it_is_submitted() -> None:
    life = Life()
    store, order = life.stage.store, []
    accept, save = store.accept, store.save_state

    async def accepting(batch: list[Submission], at: Any) -> Any:
        order.extend(("accept", str(item.intent.id)) for item in batch)
        return await accept(batch, at)

    async def saving(name: str, text: str, version: int) -> None:
        saved = [item["id"] for item in json.loads(text)["outbox"]]
        order.extend(("save", intent_id) for intent_id in saved)
        await save(name, text, version)

    store.accept, store.save_state = accepting, saving  # type: ignore[method-assign, assignment]
    await life.live()
    for action, intent_id in order:
        if action == "accept":
            assert ("save", intent_id) in order[: order.index((action, intent_id))]
    assert len(order) == 12
