"""Models and actors as a replica meets them, without Ray around them."""

import asyncio
from dataclasses import asdict, replace

import pytest
from ray.exceptions import ActorUnavailableError, GetTimeoutError

from sep_ray.adapters.onnx.catalogue import SPECS
from sep_ray.execution.ports import EndpointState, EndpointStatus
from sep_ray.kernel.clock import ManualClock, Millis
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import ChainId
from serve_app import links as module
from serve_app.health import Down
from serve_app.links import ActorLink, Links
from serve_app.models import INLINE_ROWS, SERVED
from tests.fixtures.api import NOW


class Actor:
    """Answers calls as it is told; counts them."""

    def __init__(self, **answers):
        self._answers = answers
        self.calls = []

    def __getattr__(self, name):
        actor = self

        class Method:
            async def _answer(self, args):
                actor.calls.append((name, args))
                answer = actor._answers[name]
                if isinstance(answer, BaseException):
                    raise answer
                if asyncio.iscoroutinefunction(answer):
                    return await answer()
                return answer

            def remote(self, *args):
                return self._answer(args)

        return Method()


@pytest.fixture
def actors(monkeypatch):
    """The living actors by name."""
    living = {}
    monkeypatch.setattr(module, "find", living.get)
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.0)
    return living


async def test_a_missing_actor_is_an_answer(actors):
    with pytest.raises(Transient, match="is not there"):
        await ActorLink("intent-router").ask("hint", [])


async def test_a_missing_actor_is_not_looked_for_too_often(actors, monkeypatch):
    looked = []
    monkeypatch.setattr(module, "find", looked.append)
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 60.0)
    link = ActorLink("intent-router")
    for _ in range(5):
        with pytest.raises(Transient):
            await link.ask("hint", [])
    assert len(looked) == 1


@pytest.mark.parametrize("error", [ActorUnavailableError("gone", None), GetTimeoutError("late")])
async def test_an_actor_that_was_replaced_is_found_again(actors, error):
    actors["a"] = Actor(status=error)
    link = ActorLink("a")
    with pytest.raises(Transient, match="does not answer"):
        await link.ask("status")
    actors["a"] = Actor(status="new")
    assert await link.ask("status") == "new"


async def test_an_actor_that_hangs_is_left(actors, monkeypatch):
    async def forever():
        await asyncio.sleep(60)

    monkeypatch.setattr(module, "ANSWER_S", 0.02)
    actors["a"] = Actor(status=forever)
    with pytest.raises(Transient):
        await ActorLink("a").ask("status")


def links():
    return Links([ChainId(1)], ManualClock(NOW))


async def test_hints_and_nudges_arrive(actors):
    router, supervisor = Actor(hint=None), Actor(nudge=None)
    actors.update({"intent-router": router, "supervisor": supervisor})
    made = links()
    await made.hint([1, 2])
    assert router.calls == [("hint", ([1, 2],))]
    made.nudge()
    await asyncio.sleep(0.1)
    assert supervisor.calls == [("nudge", ())]
    actors.clear()
    made.nudge()  # nobody there: nothing happens


LANE = {"account": "0xdesk", "state": "ready"}


async def test_an_executor_is_well_while_its_head_is_fresh(actors):
    status = {"state": "running", "head": 7, "head_at": Millis(NOW - 400), "lanes": [LANE]}
    actors["chain-executor-1"] = Actor(status=status)
    said = await links().executor_health(1, 1.0)
    assert said == "running, block 7, 0.4 s old; lanes: ready"
    assert await links().accounts(1) == ["0xdesk"]
    still = {"stopped": [{"pool": "0xab", "cause": "missed_log"}]}
    actors["chain-executor-1"] = Actor(status=status | still)
    said = await links().executor_health(1, 1.0)
    assert said.endswith("lanes: ready; stopped pools: 0xab (missed_log)")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"state": "retrying"}, "retrying"),
        ({"state": "running"}, "no block seen yet"),
        ({"state": "running", "head_at": NOW - 36_000}, "newest block 36 s ago"),
    ],
)
async def test_an_executor_that_is_not_well_says_so(actors, status, said):
    actors["chain-executor-1"] = Actor(status=status)
    with pytest.raises(Down, match=said):
        await links().executor_health(1, 1.0)


async def test_endpoints_are_told_one_by_one_and_the_ill_with_their_evidence(actors):
    good = EndpointStatus(
        name="rpc.a",
        state=EndpointState.OK,
        latency_ms=12,
        head=9,
        lag_blocks=1,
        failures=0,
        offences=0,
        evidence="long ago",
    )
    liar = replace(
        good, name="rpc.b", state=EndpointState.QUARANTINED, lag_blocks=0, evidence="another hash"
    )
    actors["chain-executor-1"] = Actor(status={"endpoints": [asdict(good)]})
    assert await links().endpoint_health(1) == "rpc.a ok 12 ms 1 behind"
    actors["chain-executor-1"] = Actor(status={"endpoints": [asdict(good), asdict(liar)]})
    with pytest.raises(Down, match=r"rpc\.b quarantined 12 ms \(another hash\)$"):
        await links().endpoint_health(1)
    actors["chain-executor-1"] = Actor(status={"state": "starting"})
    with pytest.raises(Down, match="not known yet"):
        await links().endpoint_health(1)


async def test_nobody_quotes_for_a_chain_nobody_works_on(actors):
    with pytest.raises(Transient):
        await links().quote(5, None)


@pytest.mark.parametrize("scorer", SERVED, ids=lambda scorer: scorer.name)
async def test_a_model_answers_rows_in_batches(scorer, monkeypatch, tmp_path):
    monkeypatch.setattr("serve_app.models.configure", lambda *_: None)
    monkeypatch.setenv("SEP_MODEL_TIMEOUT_MS", "10000")
    spec = SPECS[scorer.name]
    row = [1.0] * len(spec.features)
    monkeypatch.setenv("SEP_MODELS_DIR", str(tmp_path))
    formula = scorer()
    assert (await formula.about())["version"] == "formula"
    scored = await formula.score([row])
    assert (scored.source, len(scored.rows[0])) == ("fallback", len(spec.outputs))
    monkeypatch.delenv("SEP_MODELS_DIR")
    model = scorer()
    few = await model.score([row] * 2)
    many = await model.score([row] * (INLINE_ROWS + 1))
    assert few.rows[0] == few.rows[1] == many.rows[-1]
    assert len(many.rows) == INLINE_ROWS + 1


def test_every_model_of_the_catalogue_that_is_served_is_known():
    assert {scorer.name for scorer in SERVED} <= set(SPECS)


async def test_the_publisher_is_asked_of_the_supervisor(actors):
    async def newest():
        return 12

    def told(**publisher):
        actors["supervisor"] = Actor(status={"state": "running", "publisher": publisher or None})
        return Links([ChainId(1)], ManualClock(NOW)).publisher_health(newest)

    well = {"state": "running", "seq": 10, "trouble": ""}
    assert await told(**well) == "running, at event 10, 2 behind"
    with pytest.raises(Down, match="starting"):
        await told()
    with pytest.raises(Down, match="Redis does not answer; readers use the journal"):
        await told(**well | {"trouble": "Redis does not answer"})
    with pytest.raises(Down, match="retrying"):
        await told(state="retrying")
