"""Reading back: one, lists and their cursors, cancelling, and why (P14)."""

import dataclasses
import json
from typing import get_args, get_type_hints
from uuid import UUID

import pytest

from sep_ray.adapters.evm.addresses import TOKENS
from sep_ray.decomposition.step import StepCreated, StepFilled, StepHeld, StepStarted, StepStatus
from sep_ray.execution.attempt import (
    AttemptBroadcast,
    AttemptFinalized,
    AttemptIncluded,
    AttemptPrepared,
    AttemptStatus,
    Inclusion,
)
from sep_ray.intent.intent import IntentType, Side
from sep_ray.intent.states import IntentCompleted, IntentDecomposed, Reason, Status
from sep_ray.journal.records import Event
from sep_ray.kernel.units import Asset
from sep_ray.policy.codes import Denial
from sep_ray.strategy.record import StrategyStarted
from serve_app.assets import AssetBook
from serve_app.auth import Role
from serve_app.explain import SENTENCES
from serve_app.wire import AMOUNTS, wire
from tests.fixtures.api import ACQUIRE, NOW, bench, problem_of
from tests.fixtures.records import a_step, an_attempt, commit, then

SMALL = {
    "arrived_at",
    "released_at",
    "at",
    "bridge_ms",
    "until",
    "window_ms",
    "departed_at",
    "expires_at",
    "planned_at",
    "updated_at",
    "claim_gas",
    "claims",
    "cost_ppm",
    "p50_ms",
    "p95_ms",
    "watch_from",
    "block_number",
    "burst_cap",
    "gas_limit",
    "gas_used",
    "index",
    "log_index",
    "max_gas",
    "nonce",
    "ordinal",
    "priority",
    "first_sent",
    "sent_block",
    "slices",
    "steps",
    "time_window_ms",
    "tries",
    "version",
    "chain_id",
    "max_slippage",
    "urgency",
    "weight",
    "tolerance",
    "due",
    "deadline",
    "created_at",
    "prepared_at",
    "score",
}
"""Numbers that any client's number type holds."""
TX = f"0x{'ab' * 32}"
PLAN = {
    "side": "sell",
    "amount_in": "3000000000",
    "amount_out": "1000000000000000000",
    "limit": "995000000000000000",
    "block_number": 8,
    "legs": [{"hops": [{"pool": f"0x{'e0' * 20}", "venue": "uniswap-v3", "fee_ppm": 500}]}],
    "gas_estimate": 120_000,
    "estimated_by": "formula",
    "considered": 9,
}


async def filled(api):
    """Submit an intent and let everything happen to it that happens to a good one."""
    answer = await api.submit(type="DISPOSE", sell="USDC", buy="WETH", amount="3000")
    name = UUID(answer.json()["id"])
    record = await api.store.intent(name)
    intent = record.intent
    step = a_step(name, sell=intent.sell, buy=intent.buy, amount=intent.amount, side=Side.SELL)
    step = dataclasses.replace(step, strategy_id=intent.strategy_id)
    attempt = dataclasses.replace(an_attempt(step_id=step.id), deadline=step.deadline)
    version = dataclasses.replace(attempt.signed[0], tx_hash=TX, raw="0x02f8secret")
    attempt = dataclasses.replace(attempt, signed=(version,))
    decomposed = IntentDecomposed(score=3.25, score_source="model", why="loses most", steps=1)
    await api.store.commit(
        commit(then(record, decomposed), (None, (StepCreated(step=step),)), correlation_id=name)
    )
    step = await api.store.step(step.id)
    started = StepStarted(
        attempt_id=attempt.id, reserved=intent.amount, quoted=10**18, plan=json.dumps(PLAN)
    )
    await api.store.commit(
        commit(
            then(step, started), (None, (AttemptPrepared(attempt=attempt),)), correlation_id=name
        )
    )
    landed = Inclusion(
        tx_hash=TX, block_number=9, block_hash="0xb9", gas_used=150_000, gas_price_wei=2 * 10**9
    )
    step, attempt = await api.store.step(step.id), await api.store.attempt(attempt.id)
    done = StepFilled(
        sold=intent.amount, bought=999 * 10**15, tx_hash=TX, block_number=9, block_hash="0xb9"
    )
    sent = AttemptBroadcast(tx_hash=TX, block_number=8, answer="accepted")
    await api.store.commit(
        commit(
            then(step, done),
            then(
                attempt, sent, AttemptIncluded(inclusion=landed), AttemptFinalized(block_number=11)
            ),
            correlation_id=name,
        )
    )
    record = await api.store.intent(name)
    ended = IntentCompleted(reason=Reason.FILLED, sold=intent.amount, bought=999 * 10**15)
    await api.store.commit(commit(then(record, ended), correlation_id=name))
    return name, step, attempt


async def test_an_intent_shows_its_steps_and_transactions():
    async with bench() as api:
        name, step, attempt = await filled(api)
        shown = (await api.client.get(f"/v1/intents/{name}", headers=api.auth(Role.VIEWER))).json()
        assert (shown["state"], shown["reason"]) == ("COMPLETED", "filled")
        assert (shown["score"], shown["why"]) == (3.25, "loses most")
        assert shown["wanted"] == "sell 3000 USDC for WETH on chain 1"
        assert shown["sold"]["units"] == "3000000000"
        assert shown["bought"] == {
            "asset": shown["buy"],
            "symbol": "WETH",
            "units": "999000000000000000",
            "amount": "0.999",
        }
        assert shown["quoted"]["amount"] == "1"
        assert shown["slippage_bp"] == 10.0
        assert (shown["gas_used"], shown["tx_hashes"]) == (150_000, [TX])
        (shown_step,) = shown["steps"]
        assert (shown_step["id"], shown_step["state"]) == (str(step.id), "DONE")
        (transaction,) = shown_step["transactions"]
        assert transaction["id"] == str(attempt.id)
        assert (transaction["state"], transaction["tx_hashes"]) == ("FINAL", [TX])
        assert transaction["gas_cost_wei"] == str(150_000 * 2 * 10**9)


async def test_p14_why_is_the_journal_in_order_and_in_words():
    async with bench() as api:
        name, step, attempt = await filled(api)
        headers = api.auth(Role.VIEWER)
        story = (await api.client.get(f"/v1/intents/{name}/why", headers=headers)).json()
        assert [event["type"] for event in story["events"]] == [
            "IntentAccepted",
            "IntentDecomposed",
            "StepCreated",
            "StepStarted",
            "AttemptPrepared",
            "StepFilled",
            "AttemptBroadcast",
            "AttemptIncluded",
            "AttemptFinalized",
            "IntentCompleted",
        ]
        said = [event["words"] for event in story["events"]]
        assert "alice asked for strategy treasury to sell 3000 USDC for WETH" in said[0]
        assert "3.25 (by model): loses most" in said[1]
        assert said[3].endswith(
            "the plan: 3000 USDC for 1 WETH through uniswap-v3 0.05 % (0xe0e0e0e0), at least "
            "0.995 WETH, about 120000 gas; best of 9 paths at block 8, cost by formula"
        )
        assert said[5].startswith("Done in block 9")
        assert "3000 USDC sold, 0.999 WETH bought" in said[5]
        assert "secret" not in str(story)
        for reference in (name, step.id, attempt.id, TX, TX.upper().replace("0X", "0x")):
            answer = await api.client.get(f"/v1/why/{reference}", headers=headers)
            assert answer.json() == story


async def test_what_is_not_there_is_not_found():
    async with bench() as api:
        headers = api.auth(Role.VIEWER)
        nobody = "01990000-0000-7000-8000-000000000000"
        for path in (
            f"/v1/intents/{nobody}",
            "/v1/intents/nonsense",
            f"/v1/intents/{nobody}/why",
            f"/v1/why/{nobody}",
            f"/v1/why/0x{'1' * 64}",
            "/v1/why/nonsense",
            "/v1/strategies/nobody",
            "/v1/nothing",
            "/",
        ):
            problem_of(await api.client.get(path, headers=headers), 404, "not_found")
        problem_of(await api.client.put("/v1/intents", headers=headers), 405, "method_not_allowed")


async def pages(api, query, headers):
    found, cursor = [], None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        answer = await api.client.get("/v1/intents", params=query | more, headers=headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["intents"]) <= query["limit"]
        found += [each["id"] for each in page["intents"]]
        cursor = page["next"]
        if cursor is None:
            return found


async def test_pages_hold_everything_once_newest_first():
    async with bench() as api:
        names = []
        for number in range(25):
            api.clock.advance(1)
            answer = await api.submit(strategy_id=f"s-{number % 2}")
            names.append(answer.json()["id"])
        newest_first = names[::-1]
        headers = api.auth(Role.VIEWER)
        assert await pages(api, {"limit": 7}, headers) == newest_first
        assert await pages(api, {"limit": 25}, headers) == newest_first
        assert await pages(api, {"limit": 5, "strategy_id": "s-1"}, headers) == newest_first[1::2]
        assert await pages(api, {"limit": 5, "state": "ACCEPTED"}, headers) == newest_first
        assert await pages(api, {"limit": 5, "state": "FAILED"}, headers) == []
        assert await pages(api, {"limit": 5, "type": "LIQUIDATE"}, headers) == []
        assert await pages(api, {"limit": 5, "chain_id": 1}, headers) == newest_first


async def test_a_cursor_belongs_to_its_query():
    async with bench() as api:
        for _ in range(3):
            await api.submit()
        headers = api.auth(Role.VIEWER)
        page = (await api.client.get("/v1/intents?limit=1", headers=headers)).json()
        cursor = page["next"]
        other_secret = (
            "AZkAAAAAcACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="  # the right length, made by nobody
        )
        for query in (
            {"cursor": cursor, "strategy_id": "treasury"},
            {"cursor": cursor, "state": "ACCEPTED"},
            {"cursor": cursor[:-4] + "AAA="},
            {"cursor": cursor[4:]},
            {"cursor": "nonsense!"},
            {"cursor": other_secret},
        ):
            answer = await api.client.get("/v1/intents", params=query, headers=headers)
            assert problem_of(answer, 400, "invalid_cursor")["field"] == "cursor"
        answer = await api.client.get(
            "/v1/intents", params={"cursor": cursor, "limit": 2}, headers=headers
        )
        assert len(answer.json()["intents"]) == 2  # the size of a page is no part of the query


@pytest.mark.parametrize(
    ("query", "field", "allowed"),
    [
        ("limit=0", "limit", "1..200"),
        ("limit=201", "limit", "1..200"),
        ("limit=x", "limit", "1..200"),
        ("limit=1&limit=2", "limit", "one value"),
        ("state=NOPE", "state", ", ".join(Status)),
        ("type=TRADE", "type", ", ".join(IntentType)),
        ("strategy_id=%00", "strategy_id", "no control characters"),
        ("chain_id=0", "chain_id", None),
        ("stat=ACCEPTED", "stat", None),
    ],
)
async def test_a_parameter_that_is_wrong_is_not_ignored(query, field, allowed):
    async with bench() as api:
        answer = await api.client.get(f"/v1/intents?{query}", headers=api.auth(Role.VIEWER))
        found = problem_of(answer, 422, "invalid_field")
        assert found["field"] == field
        assert found["allowed"]
        if allowed:
            assert found["allowed"] == allowed


@pytest.mark.parametrize(
    ("query", "field", "allowed"),
    [
        ("/v1/attempts?state=ACTIVE", "state", ", ".join(AttemptStatus)),
        ("/v1/transfers?bridge=%1b", "bridge", "no control characters"),
        ("/v1/transfers?limit=-1", "limit", "1..200"),
        ("/v1/strategies/a%00b", "strategy_id", "no control characters"),
        ("/v1/limits?page=2", "page", "none"),
        ("/v1/whoami?role=admin", "role", "none"),
    ],
)
async def test_every_list_knows_its_parameters(query, field, allowed):
    async with bench() as api:
        answer = await api.client.get(query, headers=api.auth(Role.VIEWER))
        found = problem_of(answer, 422, "invalid_field")
        assert (found["field"], found["allowed"]) == (field, allowed)


@pytest.mark.parametrize("path", ["/v1/intents", "/v1/transfers"])
async def test_a_chain_that_is_not_known_is_said_to_be(path):
    async with bench() as api:
        for chain_id in (7, 2**63, 10**30):
            answer = await api.client.get(
                f"{path}?chain_id={chain_id}", headers=api.auth(Role.VIEWER)
            )
            assert problem_of(answer, 422, "unknown_chain")["allowed"] == "1, 42161"


async def test_what_may_be_done_at_a_path_is_said():
    async with bench() as api:
        for path, methods in (("/v1/intents", "GET, POST"), ("/v1/intents/x", "DELETE, GET")):
            for method in ("PUT", "HEAD", "OPTIONS"):
                answer = await api.client.request(method, path, headers=api.auth())
                assert (answer.status_code, answer.headers["allow"]) == (405, methods)


async def test_cancelling_is_asked_for_once_and_ends_with_the_intent():
    async with bench() as api:
        name = (await api.submit()).json()["id"]
        first = await api.client.delete(f"/v1/intents/{name}", headers=api.auth())
        assert (first.status_code, first.json()["state"]) == (202, "CANCELLING")
        assert first.headers["location"] == f"/v1/intents/{name}"
        again = await api.client.delete(f"/intents/{name}", headers=api.auth())
        assert (again.status_code, again.json()) == (202, first.json())
        assert len(await api.events()) == 2
        done, _, _ = await filled(api)
        before = await api.events()
        answer = await api.client.delete(f"/v1/intents/{done}", headers=api.auth())
        assert "COMPLETED" in problem_of(answer, 409, "already_ended")["detail"]
        assert await api.events() == before


async def test_a_token_for_one_strategy_sees_that_one_only():
    async with bench() as api:
        mine = (await api.submit(strategy_id="mine")).json()["id"]
        other = (await api.submit(strategy_id="other")).json()["id"]
        scoped = api.auth(Role.ADMIN, strategies=["mine"])
        listed = (await api.client.get("/v1/intents", headers=scoped)).json()
        assert [each["id"] for each in listed["intents"]] == [mine]
        for path in (f"/v1/intents/{other}", f"/v1/intents/{other}/why", f"/v1/why/{other}"):
            problem_of(await api.client.get(path, headers=scoped), 404, "not_found")
        problem_of(
            await api.client.delete(f"/v1/intents/{other}", headers=scoped), 404, "not_found"
        )
        answer = await api.client.get("/v1/intents?strategy_id=other", headers=scoped)
        problem_of(answer, 403, "out_of_scope")
        several = api.auth(strategies=["mine", "other"])
        answer = await api.client.get("/v1/intents", headers=several)
        assert problem_of(answer, 422, "missing_field")["allowed"] == "mine, other"


def events():
    return [cls for union in get_args(Event) for cls in (get_args(union) or (union,))]


def test_every_event_has_its_sentence():
    assert set(SENTENCES) == set(events())


def number_fields(cls, seen=None):
    """Yield the names of all integer fields below a dataclass."""
    seen = seen if seen is not None else set()
    if cls in seen or not dataclasses.is_dataclass(cls) or cls is Asset:
        return
    seen.add(cls)
    for name, found in get_type_hints(cls).items():
        for inner in (found, *get_args(found)):
            supertype = getattr(inner, "__supertype__", inner)
            if supertype is int:
                yield name
            yield from number_fields(inner, seen)


@pytest.mark.parametrize("cls", events(), ids=lambda cls: cls.__name__)
def test_every_amount_of_every_event_is_a_string(cls):
    """A new integer field is an amount (serve_app/wire.py) or small (SMALL above): say which."""
    assert set(number_fields(cls)) <= AMOUNTS | SMALL


def test_which_limit_holds_a_step_is_shown():
    held = StepHeld(code=Denial.WINDOW_LIMIT.value, detail="too many", until=NOW)
    assert wire(held)["code"] == Denial.WINDOW_LIMIT.value


async def test_nothing_that_can_be_sent_or_run_is_shown():
    attempt = an_attempt()
    shown = wire(AttemptPrepared(attempt=attempt))
    assert shown["attempt"]["signed"][0]["raw"] == "[not shown]"
    assert shown["attempt"]["signed"][0]["max_fee_wei"] == "2"
    assert attempt.signed[0].raw == "0x02"
    started = StrategyStarted(source="x.py", code="print(1)", params="{}", principal="alice")
    assert wire(started)["code"] == "[not shown]"
    assert wire(StepCreated(step=a_step(status=StepStatus.PENDING)))["step"]["amount"] == "500"


def test_every_token_is_found_by_each_of_its_names():
    book = AssetBook(TOKENS.values(), [1, 42161])
    for token in TOKENS.values():
        chain = token.asset.chain_id
        for text, where in (
            (str(token.asset), None),
            (str(token.asset).upper().replace("EIP155", "eip155"), None),
            (f"{chain}/{token.symbol}", None),
            (token.symbol, chain),
            (token.symbol.lower(), chain),
        ):
            assert book.find(text, where, "sell", coin=True) == token
    assert ACQUIRE["sell"] == "USDC"
