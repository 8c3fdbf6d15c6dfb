"""Halts and limits over HTTP: who may, what is recorded, what is refused (P9, P10)."""

from typing import Any

import pytest

from sep_ray.policy.codes import MEANING, Denial
from serve_app.auth import Role
from tests.fixtures.api import NOW, bench, problem_of

LIMIT = {"id": "hourly", "kind": "window", "measure": "value", "amount": "50", "window_ms": 60_000}


class Line:
    """Notes what the executors are told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def tell(self, halt):
        self.told.append(halt)
        return {"1": True, "42161": False}

    async def untell(self, halt_id):
        self.told.append(halt_id)


async def halt(api, headers=None, **body):
    body = {"scope": "all", "why": "test", **body}
    headers = (headers or {}) | api.auth(Role.RISK, "rita")
    return await api.client.post("/v1/halts", json=body, headers=headers)


async def test_p10_a_halt_is_told_durable_and_released_by_name():
    line = Line()
    async with bench(line=line) as api:
        placed = (await halt(api, scope="chain", target="42161", mode="reducing")).json()
        assert placed["told"] == {"1": True, "42161": False}
        assert (placed["principal"], placed["at"], placed["state"]) == ("rita", NOW, "ACTIVE")
        assert str(line.told[0].id) == placed["id"]
        (stands,) = await api.store.active_halts()
        assert stands.target == "42161"
        listed = (await api.client.get("/v1/halts", headers=api.auth(Role.VIEWER))).json()
        assert [each["id"] for each in listed["halts"]] == [placed["id"]]
        where = f"/v1/halts/{placed['id']}"
        refused = await api.client.delete(where, headers=api.auth(Role.TRADER))
        problem_of(refused, 403, "forbidden")
        over = await api.client.delete(f"{where}?why=fine", headers=api.auth(Role.RISK, "ruth"))
        assert (over.json()["state"], over.json()["released_by"]) == ("RELEASED", "ruth")
        assert line.told[-1] == stands.id
        assert await api.store.active_halts() == ()
        old = (await api.client.get("/v1/halts?released=true", headers=api.auth())).json()
        assert [each["state"] for each in old["halts"]] == ["RELEASED"]
        assert [type(row.event).__name__ for row in await api.events()] == [
            "HaltPlaced",
            "HaltReleased",
        ]


async def test_a_halt_is_placed_once_per_key():
    async with bench() as api:
        first, again = [await halt(api, {"Idempotency-Key": "k"}) for _ in range(2)]
        assert first.json()["id"] == again.json()["id"]
        assert len(await api.events()) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"scope": "intent", "target": "x"}, 404, "not_found"),
        ({"scope": "intent", "target": "01990000-0000-7000-8000-000000000000"}, 404, "not_found"),
        ({"scope": "chain", "target": "5"}, 422, "unknown_chain"),
        ({"scope": "chain", "target": "one"}, 422, "unknown_chain"),
        ({"scope": "chain", "target": "9" * 64}, 422, "unknown_chain"),
        ({"scope": "strategy"}, 422, "invalid_field"),
        ({"scope": "strategy", "target": "desk\u202e"}, 422, "invalid_field"),
        ({"why": "\x1b[2J"}, 422, "invalid_field"),
        ({"scope": "all", "target": "1"}, 422, "invalid_field"),
        ({"scope": "planet"}, 422, "invalid_field"),
        ({"why": ""}, 422, "invalid_field"),
    ],
)
async def test_nonsense_stops_nothing(body, status, code):
    line = Line()
    async with bench(line=line) as api:
        problem_of(await halt(api, **body), status, code)
        assert await api.events() == ()
        assert line.told == []


async def test_p10_an_intent_is_halted_by_its_id():
    async with bench() as api:
        name = (await api.submit()).json()["id"]
        assert (await halt(api, scope="intent", target=name)).status_code == 201
        story = await api.client.get(f"/v1/intents/{name}/why", headers=api.auth())
        assert story.json()["halted"] == [f"rita halted intent {name}: test"]


async def set_limit(api, **body):
    return await api.client.post("/v1/limits", json=LIMIT | body, headers=api.auth(Role.RISK))


async def test_p9_limits_are_set_shown_and_removed():
    async with bench() as api:
        assert (await set_limit(api)).status_code == 201
        listing = {
            "id": "tokens",
            "kind": "list",
            "measure": "members",
            "amount": 0,
            "window_ms": None,
            "chain_id": 1,
            "listed": "assets",
            "members": ["USDC", "WETH"],
        }
        assert (await set_limit(api, **listing)).status_code == 201
        shown = (await api.client.get("/v1/limits", headers=api.auth(Role.VIEWER))).json()
        assert shown["version"] == 2
        first, second = shown["limits"]
        assert (first["amount"], first["used"]) == ("50", "0")
        assert all(each.startswith("eip155:1/erc20:0x") for each in second["members"])
        assert shown["codes"] == {code.value: words for code, words in MEANING.items()}
        gone = await api.client.delete("/v1/limits/hourly", headers=api.auth(Role.RISK))
        assert gone.status_code == 200
        again = await api.client.delete("/v1/limits/hourly", headers=api.auth(Role.RISK))
        problem_of(again, 404, "not_found")
        assert len((await api.store.limits()).limits) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"window_ms": 1}, "window_ms"),
        ({"kind": "total"}, "window_ms"),
        ({"measure": "ppm"}, "measure"),
        ({"measure": "units"}, "asset"),
        ({"kind": "daily_loss", "window_ms": None}, "strategy_id"),
        ({"members": ["0x" + "00" * 20]}, "members"),
        ({"asset": "NOPE", "chain_id": 1}, "asset"),
        ({"id": "No"}, "id"),
        ({"amount": -1}, "amount"),
    ],
)
async def test_a_limit_that_says_nothing_sensible_is_refused(body, field):
    async with bench() as api:
        answer = await set_limit(api, **body)
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        assert await api.events() == ()


def test_every_code_has_its_meaning():
    assert set(MEANING) == set(Denial)


async def test_a_token_for_one_strategy_lifts_no_halt_of_the_platform():
    async with bench() as api:
        mine = api.auth(Role.RISK, "rosa", strategies=["desk-1"])
        foreign = (await api.submit(strategy_id="desk-2")).json()["id"]
        for body in (
            {},
            {"scope": "chain", "target": "1"},
            {"scope": "strategy", "target": "desk-2"},
            {"scope": "intent", "target": foreign},
        ):
            placed = (await halt(api, **body)).json()["id"]
            answer = await api.client.delete(f"/v1/halts/{placed}", headers=mine)
            problem_of(answer, 403, "out_of_scope")
        assert len(await api.store.active_halts()) == 4
        own = (await api.submit(strategy_id="desk-1")).json()["id"]
        for body in (
            {"scope": "strategy", "target": "desk-1"},
            {"scope": "intent", "target": own},
        ):
            placed = (await halt(api, **body)).json()["id"]
            answer = await api.client.delete(f"/v1/halts/{placed}", headers=mine)
            assert answer.json()["state"] == "RELEASED"


async def test_a_token_for_one_strategy_touches_its_own_limits_only():
    async with bench() as api:
        everywhere, mine = api.auth(Role.RISK), api.auth(Role.RISK, strategies=["desk-1"])
        own = LIMIT | {"strategy_id": "desk-1"}
        answer = await api.client.post("/v1/limits", json=LIMIT, headers=everywhere)
        assert answer.status_code == 201, answer.text
        for body in (LIMIT, own, LIMIT | {"id": "new"}):
            answer = await api.client.post("/v1/limits", json=body, headers=mine)
            problem_of(answer, 403, "out_of_scope")
        problem_of(await api.client.delete("/v1/limits/hourly", headers=mine), 403, "out_of_scope")
        (kept,) = (await api.store.limits()).limits
        assert kept.subject.strategy_id is None
        answer = await api.client.post("/v1/limits", json=own | {"id": "own"}, headers=mine)
        assert answer.status_code == 201, answer.text
        assert (await api.client.delete("/v1/limits/own", headers=mine)).status_code == 200
