"""Strategies, health, metrics, and the interface's description of itself."""

import asyncio
import json
import os
import re

import pytest
from jsonschema import Draft202012Validator

from sep_ray.kernel.errors import Transient
from sep_ray.strategy.record import StrategyStarted
from serve_app.auth import Role
from serve_app.health import Down, Probe
from serve_app.reading import parse
from serve_app.schemas import AllocationBody, BatchBody, Body, IntentBody, StrategyBody
from serve_app.strategies import in_own_process
from tests.fixtures.api import ACQUIRE, bench, problem_of
from tests.fixtures.eventually import eventually

CODE = """
from sep_ray.strategy.base import BaseStrategy
from sep_ray.strategy.market import Pair


class Quiet(BaseStrategy):
    def watches(self):
        return (Pair(self.asset("1/WETH"), self.asset("1/USDC")),)
"""
QUIET = {"id": "quiet-1", "source": "quiet.py:Quiet", "code": CODE}


BODIES: dict[str, type[Body]] = {
    body.__name__: body for body in (IntentBody, BatchBody, AllocationBody, StrategyBody)
}


async def unharmed(_):
    """Stand for the trial process where a test is not about it."""


async def change(api, what, role=Role.RISK, name="quiet-1"):
    return await api.client.post(f"/v1/strategies/{name}/{what}", headers=api.auth(role))


async def test_a_strategy_starts_pauses_resumes_and_stops():
    nudged = []
    async with bench(trial=unharmed, nudge=lambda: nudged.append(1)) as api:
        answer = await api.client.post("/v1/strategies", json=QUIET, headers=api.auth(Role.ADMIN))
        assert answer.status_code == 201, answer.text
        assert answer.headers["location"] == "/v1/strategies/quiet-1"
        assert answer.json()["state"] == "RUNNING"
        assert "code" not in answer.json()
        for what, state in (
            ("pause", "PAUSED"),
            ("pause", "PAUSED"),
            ("resume", "RUNNING"),
            ("resume", "RUNNING"),
            ("stop", "STOPPED"),
            ("stop", "STOPPED"),
        ):
            answer = await change(api, what)
            assert (answer.status_code, answer.json()["state"]) == (200, state)
        kinds = [type(row.event).__name__ for row in await api.events()]
        assert kinds == ["StrategyStarted", "StrategyPaused", "StrategyResumed", "StrategyStopped"]
        problem_of(await change(api, "pause"), 409, "not_allowed_now")
        problem_of(await change(api, "pause", name="nobody"), 404, "not_found")
        listed = (await api.client.get("/v1/strategies", headers=api.auth(Role.VIEWER))).json()
        assert [each["id"] for each in listed["strategies"]] == ["quiet-1"]
        answer = await api.client.post("/v1/strategies", json=QUIET, headers=api.auth(Role.ADMIN))
        assert answer.json()["state"] == "RUNNING"
        assert len(nudged) == 8


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"code": "class Quiet: pass"}, "source"),
        ({"code": "import nothing_like_that"}, "source"),
        ({"code": "def ("}, "source"),
        ({"source": "quiet.py:Loud"}, "source"),
        ({"source": "nonsense", "code": ""}, "source"),
        ({"source": "a b:C"}, "source"),
        ({"params": {"lookback": 5}}, "params"),
        ({"id": "treasury"}, "id"),
        ({"id": "UPPER"}, "id"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_strategy_that_cannot_be_is_not_registered(changed, field):
    async with bench(trial=unharmed) as api:
        answer = await api.client.post(
            "/v1/strategies", json=QUIET | changed, headers=api.auth(Role.ADMIN)
        )
        assert answer.status_code == 422, answer.text
        assert answer.json()["field"].startswith(field)
        assert await api.events() == ()


async def test_a_running_strategy_is_not_started_again():
    async with bench(trial=unharmed) as api:
        await api.client.post("/v1/strategies", json=QUIET, headers=api.auth(Role.ADMIN))
        answer = await api.client.post("/v1/strategies", json=QUIET, headers=api.auth(Role.ADMIN))
        problem_of(answer, 409, "not_allowed_now")
        assert len(await api.events()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import os; os._exit(0)", "raise SystemExit", "while True: pass"])
async def test_a_text_that_does_not_end_well_ends_in_its_own_process(code, monkeypatch):
    monkeypatch.setattr("serve_app.strategies.TRIAL_S", 8.0)
    async with bench(trial=in_own_process) as api:
        body = QUIET | {"code": code}
        answer = await api.client.post("/v1/strategies", json=body, headers=api.auth(Role.ADMIN))
        assert problem_of(answer, 422, "invalid_field")["field"] == "code"
        assert await api.events() == ()


async def test_a_trial_that_nobody_waits_for_any_more_leaves_no_process(tmp_path):
    said = tmp_path / "pid"
    code = f"import os, time\nopen({str(said)!r}, 'w').write(f'{{os.getpid()}};')\ntime.sleep(60)"
    body = parse(StrategyBody, json.dumps(QUIET | {"code": code}).encode())
    trial = asyncio.create_task(in_own_process(body))
    await asyncio.to_thread(eventually, lambda: said.exists() and said.read_text().endswith(";"))
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text().rstrip(";")), 0)


async def test_a_good_text_passes_its_trial():
    async with bench() as api:
        answer = await api.client.post("/v1/strategies", json=QUIET, headers=api.auth(Role.ADMIN))
        assert answer.status_code == 201, answer.text
        (row,) = await api.events()
        assert isinstance(row.event, StrategyStarted)
        assert row.event.code == CODE


def fine(detail=""):
    async def ask():
        return detail

    return ask


def failing(error):
    async def ask():
        raise error

    return ask


async def stuck():
    await asyncio.sleep(60)
    return ""


@pytest.mark.parametrize(
    ("probes", "status", "state", "details"),
    [
        ({"a": Probe(ask=fine("block 7"))}, 200, "ok", {"a": "block 7"}),
        (
            {"a": Probe(ask=fine()), "redis": Probe(ask=failing(OSError("gone")), needed=False)},
            200,
            "degraded",
            {"a": "", "redis": "OSError"},
        ),
        ({"a": Probe(ask=failing(Transient("secret host")))}, 503, "down", {"a": "Transient"}),
        ({"a": Probe(ask=failing(Down("retrying")))}, 503, "down", {"a": "retrying"}),
        ({"a": Probe(ask=stuck)}, 503, "down", {"a": "TimeoutError"}),
    ],
)
async def test_health_asks_every_service(probes, status, state, details, monkeypatch):
    monkeypatch.setattr("serve_app.health.TIMEOUT_S", 0.05)
    async with bench(probes=probes) as api:
        answer = await api.client.get("/health")
        said = answer.json()
        assert (answer.status_code, said["state"]) == (status, state)
        assert {name: each["detail"] for name, each in said["services"].items()} == details


async def test_health_is_not_asked_of_the_services_too_often():
    asked = []

    async def ask():
        asked.append(1)
        return ""

    async with bench(probes={"a": Probe(ask=ask)}) as api:
        await asyncio.gather(*(api.client.get("/health") for _ in range(20)))
        assert len(asked) == 1
        api.clock.advance(500)
        await api.client.get("/health")
        assert len(asked) == 2


async def metric(api, name):
    text = (await api.client.get("/metrics")).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    return float(found[1]) if found else 0.0


async def test_metrics_have_the_names_that_dashboards_know():
    async with bench(limit=3) as api:
        name = 'intents_submitted_total{chain_id="1",type="ACQUIRE"}'
        before = await metric(api, name)
        for _ in range(5):
            await api.submit()
        assert await metric(api, name) == before + 3
        assert await metric(api, 'requests_refused_total{code="rate_limited"}') >= 2
        text = (await api.client.get("/metrics")).text
        for known in (
            "intents_submitted_total",
            "intents_completed_total",
            "intents_failed_total",
            "intent_processing_seconds",
            "redis_operations_total",
            "websocket_connections_active",
        ):
            assert f"# TYPE {known} " in text


async def described():
    async with bench() as api:
        answer = await api.client.get("/openapi.json")
        return answer.json()


async def test_every_documented_example_fits_its_schema():
    document = await described()
    count = 0
    for name, schema in document["components"]["schemas"].items():
        whole = schema | {"components": document["components"]}
        Draft202012Validator.check_schema(whole)
        for example in schema.get("examples", []):
            count += 1
            Draft202012Validator(whole).validate(example)
            if name in BODIES:
                parse(BODIES[name], json.dumps(example).encode())
    assert count >= 12


async def test_every_operation_is_described():
    document = await described()
    assert "/intents" not in document["paths"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            good = [status for status in operation["responses"] if status < "400"]
            assert good, (method, path)
            for status in good:
                content = operation["responses"][status]["content"]["application/json"]
                assert content["schema"], (method, path)
            assert operation["responses"]["401"]["content"]["application/problem+json"]
            if path != "/health":
                assert operation["security"] == [{"token": []}], (method, path)
            if method == "post" and "{" not in path:
                assert operation["requestBody"]["required"]


async def test_examples_of_intents_are_accepted():
    async with bench() as api:
        document = api.app.openapi()
        for example in document["components"]["schemas"]["IntentBody"]["examples"]:
            answer = await api.client.post("/v1/intents", json=example, headers=api.auth())
            assert answer.status_code == 202, answer.text


async def test_the_description_loads_nothing_from_elsewhere():
    async with bench() as api:
        answer = await api.client.get("/docs")
        assert answer.headers["content-type"].startswith("text/html")
        assert "/v1/intents/batch" in answer.text
        assert not re.search(r"(src|href)=.?(https?:)?//", answer.text)


async def test_assets_that_may_be_named():
    async with bench() as api:
        answer = await api.client.get("/v1/assets", headers=api.auth(Role.VIEWER))
        known = {(each["chain_id"], each["symbol"]) for each in answer.json()["assets"]}
        assert (1, "WETH") in known
        assert (42161, "USDC") in known
        assert not any(symbol == "ETH" for _, symbol in known)
        assert ACQUIRE["buy"] == "WETH"
