"""Submitting: 202 only after the commit (P1), and nothing is recorded of what is refused."""

import asyncio
import json
from decimal import Decimal
from uuid import UUID

import pytest

from sep_ray.adapters.memory import MemoryStore
from sep_ray.intent.intent import Limit, Side, Style
from sep_ray.intent.states import IntentAccepted
from sep_ray.kernel.clock import ManualClock
from sep_ray.kernel.errors import Indeterminate, Transient
from serve_app.auth import Role
from tests.fixtures.api import ACQUIRE, NOW, WETH_CAIP, bench, problem_of

USDC_CAIP = "eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
ARBITRUM_USDC = "eip155:42161/erc20:0xaf88d065e77c8cc2239327c5edb3a432268e5831"
VENUES, BRIDGES = "uniswap-v2, uniswap-v3", "across, arbitrum, cctp, hyperlane"


async def test_p1_accepted_means_recorded_with_everything_that_was_asked():
    async with bench() as api:
        body = {
            "strategy_id": "desk-1",
            "type": "DISPOSE",
            "sell": WETH_CAIP,
            "buy": USDC_CAIP,
            "units": "2000000000000000000",
            "note": "rebalancing by hand",
            "constraints": {
                "max_slippage": 0.0125,
                "time_window_ms": 90_000,
                "limit_price": "2900.5",
                "max_gas": 400_000,
                "venues": ["uniswap-v3"],
                "urgency": "0.75",
                "style": "twap",
                "schedule": {"slices": 4, "catch_up": "burst", "burst_cap": 3},
            },
        }
        answer = await api.client.post("/v1/intents", json=body, headers=api.auth())
        assert answer.status_code == 202
        said = answer.json()
        assert said["verdict"] == "accepted"
        assert answer.headers["location"] == said["href"] == f"/v1/intents/{said['id']}"
        (row,) = await api.events()
        assert isinstance(row.event, IntentAccepted)
        assert row.event.principal == "alice"
        intent = row.event.intent
        assert intent.id == UUID(said["id"])
        assert (intent.strategy_id, intent.created_at) == ("desk-1", NOW)
        assert (str(intent.sell), str(intent.buy)) == (WETH_CAIP, USDC_CAIP)
        assert (intent.amount, intent.side) == (2 * 10**18, Side.SELL)
        bounds = intent.constraints
        assert (bounds.max_slippage, bounds.time_window_ms) == (12_500, 90_000)
        assert (bounds.max_gas, bounds.venues, bounds.urgency) == (
            400_000,
            frozenset({"uniswap-v3"}),
            750_000,
        )
        assert (bounds.style, bounds.schedule.slices) == (Style.TWAP, 4)
        assert (bounds.schedule.catch_up, bounds.schedule.burst_cap) == ("burst", 3)
        assert intent.note == "rebalancing by hand"
        await asyncio.sleep(0)
        assert api.hinted == [intent.id]


@pytest.mark.parametrize(
    ("price", "sell", "buy", "decimals"),
    [
        ("2900.5", "WETH", "USDC", (18, 6)),
        ("0.000344827586206896", "USDC", "WETH", (6, 18)),
        ("1", "USDC", "USDT", (6, 6)),
        ("65000.12345678", "WBTC", "DAI", (8, 18)),
    ],
)
async def test_a_limit_price_is_exact_in_smallest_units(price, sell, buy, decimals):
    async with bench() as api:
        answer = await api.submit(
            type="DISPOSE", sell=sell, buy=buy, constraints={"limit_price": price}
        )
        assert answer.status_code == 202
        (intent,) = await api.intents()
        limit = intent.constraints.limit
        assert isinstance(limit, Limit)
        # p whole bought per whole sold: bought * 10^s / (sold * 10^b) >= p
        sold_decimals, bought_decimals = decimals
        exact = Decimal(limit.numerator * 10**sold_decimals) / (
            limit.denominator * 10**bought_decimals
        )
        assert exact == Decimal(price)
        shown = await api.client.get(answer.json()["href"], headers=api.auth())
        assert shown.json()["constraints"]["limit_price"] == price


@pytest.mark.parametrize(
    ("kind", "side", "meant"),
    [
        ("ACQUIRE", None, Side.BUY),
        ("ACQUIRE", "sell", Side.SELL),
        ("DISPOSE", None, Side.SELL),
        ("DISPOSE", "buy", Side.BUY),
    ],
)
async def test_an_amount_is_of_what_is_acquired_or_disposed_of(kind, side, meant):
    async with bench() as api:
        more = {} if side is None else {"side": side}
        assert (await api.submit(type=kind, amount="2", **more)).status_code == 202
        (intent,) = await api.intents()
        assert intent.side is meant
        assert intent.amount == (2 * 10**18 if meant is Side.BUY else 2 * 10**6)


async def test_liquidate_and_rebalance():
    async with bench() as api:
        for body in (
            {"type": "LIQUIDATE", "chain_id": 42161, "sell": "WBTC", "buy": "USDC"},
            {
                "type": "REBALANCE",
                "chain_id": 1,
                "targets": [
                    {"asset": "WETH", "weight": "0.4"},
                    {"asset": USDC_CAIP, "weight": 0.6},
                ],
                "tolerance": "0.02",
            },
        ):
            answer = await api.client.post("/v1/intents", json=body, headers=api.auth())
            assert answer.status_code == 202, answer.text
        liquidate, rebalance = await api.intents()
        assert liquidate.amount is None
        assert [target.weight for target in rebalance.targets] == [400_000, 600_000]
        assert rebalance.tolerance == 20_000


BAD = [
    # unknown asset or chain
    ({"buy": "PEPE"}, "unknown_asset", "buy", "WETH, USDC, USDT, WBTC, DAI"),
    ({"buy": f"eip155:1/erc20:0x{'1' * 40}"}, "unknown_asset", "buy", None),
    ({"buy": "eip155:1/slip44:60"}, "unknown_asset", "buy", None),
    ({"buy": "not an asset"}, "unknown_asset", "buy", None),
    ({"chain_id": 10}, "unknown_chain", "chain_id", "1, 42161"),
    ({"chain_id": None}, "missing_field", "chain_id", None),
    ({"chain_id": "1"}, "invalid_field", "chain_id", None),
    ({"buy": ARBITRUM_USDC}, "invalid_field", "buy", "an asset of 1"),
    # amounts
    ({"amount": "0"}, "invalid_field", "amount", None),
    ({"amount": "0.000"}, "invalid_field", "amount", None),
    ({"amount": "-1"}, "invalid_field", "amount", None),
    ({"amount": "1e3"}, "invalid_field", "amount", None),
    ({"amount": "NaN"}, "invalid_field", "amount", None),
    ({"amount": ""}, "invalid_field", "amount", None),
    ({"amount": 1.5}, "invalid_field", "amount", None),
    ({"amount": "\u0661\u0662"}, "invalid_field", "amount", None),
    ({"amount": "1" + "0" * 60}, "invalid_field", "amount", None),
    ({"amount": "9" * 100}, "invalid_field", "amount", None),
    ({"amount": None}, "missing_field", "amount", None),
    ({"units": 5}, "invalid_field", "units", "amount or units, not both"),
    ({"amount": None, "units": 0}, "invalid_field", "units", "1..2^256-1"),
    ({"amount": None, "units": -5}, "invalid_field", "units", "1..2^256-1"),
    ({"amount": None, "units": 2**256}, "invalid_field", "units", "1..2^256-1"),
    ({"amount": None, "units": "9" * 5_000}, "invalid_field", "units", "1..2^256-1"),
    ({"amount": None, "units": 1.5}, "invalid_field", "units", "1..2^256-1"),
    # more decimals than the token has
    ({"amount": "0.1234567890123456789"}, "too_many_decimals", "amount", None),
    ({"amount": "1.0000001", "side": "sell"}, "too_many_decimals", "amount", None),
    # bounds
    ({"constraints": {"max_slippage": "0.0009"}}, None, "constraints.max_slippage", "0.001..0.1"),
    ({"constraints": {"max_slippage": "0.11"}}, None, "constraints.max_slippage", "0.001..0.1"),
    ({"constraints": {"max_slippage": "0.0050001"}}, None, "constraints.max_slippage", None),
    ({"constraints": {"max_slippage": "NaN"}}, None, "constraints.max_slippage", "0.001..0.1"),
    ({"constraints": {"max_slippage": True}}, None, "constraints.max_slippage", "0.001..0.1"),
    (
        {"constraints": {"time_window_ms": 59_999}},
        None,
        "constraints.time_window_ms",
        "60000..3600000",
    ),
    (
        {"constraints": {"time_window_ms": 3_600_001}},
        None,
        "constraints.time_window_ms",
        "60000..3600000",
    ),
    ({"constraints": {"max_gas": 20_999}}, None, "constraints.max_gas", "21000..30000000"),
    ({"constraints": {"urgency": "1.1"}}, None, "constraints.urgency", "0..1"),
    ({"constraints": {"limit_price": "0"}}, None, "constraints.limit_price", None),
    ({"constraints": {"limit_price": "-3"}}, None, "constraints.limit_price", None),
    ({"constraints": {"venues": ["uniswap-v3", "x"]}}, None, "constraints.venues[1]", VENUES),
    ({"constraints": {"bridges": ["across", "x"]}}, None, "constraints.bridges[1]", BRIDGES),
    ({"constraints": {"style": "slowly"}}, None, "constraints.style", "immediate, twap, adaptive"),
    ({"constraints": {"style": "twap"}}, "missing_field", "constraints.schedule", None),
    ({"constraints": {"schedule": {"slices": 4}}}, None, "constraints.schedule", None),
    (
        {"constraints": {"style": "twap", "schedule": {"slices": 101}}},
        None,
        "constraints.schedule.slices",
        "2..100",
    ),
    ({"constraints": {"slipage": "0.01"}}, "unknown_field", "constraints.slipage", None),
    # same asset in and out
    ({"sell": "WETH"}, "invalid_field", "buy", "another asset than sell"),
    ({"sell": WETH_CAIP}, "invalid_field", "buy", "another asset than sell"),
    # shapes
    ({"type": "TRADE"}, "invalid_field", "type", "ACQUIRE, DISPOSE, REBALANCE, LIQUIDATE, BRIDGE"),
    ({"type": "BRIDGE"}, "missing_field", "to_chain_id", "a chain"),
    ({"to_chain_id": 42161}, "invalid_field", "to_chain_id", "none"),
    ({"type": None}, "invalid_field", "type", None),
    ({"sell": None}, "missing_field", "sell", None),
    ({"sell": 5}, "invalid_field", "sell", None),
    ({"type": "LIQUIDATE"}, "invalid_field", "amount", "none: all is sold"),
    ({"type": "REBALANCE"}, "invalid_field", "sell", None),
    ({"targets": [{"asset": "WETH", "weight": 1}]}, "invalid_field", "targets", "none"),
    ({"strategy_id": "no spaces"}, "invalid_field", "strategy_id", None),
    ({"strategy_id": ""}, "invalid_field", "strategy_id", None),
    ({"note": "n" * 501}, "invalid_field", "note", "0..500 characters"),
    ({"note": "\x1b[2J"}, "invalid_field", "note", "0..500 characters"),
    ({"note": "a\0b"}, "invalid_field", "note", "0..500 characters"),
    ({"chain_id": 0}, "invalid_field", "chain_id", "1 or more"),
    ({"chain_id": 10**30}, "unknown_chain", "chain_id", "1, 42161"),
    ({"colour": "red"}, "unknown_field", "colour", None),
]


@pytest.mark.parametrize(("change", "code", "field", "allowed"), BAD)
async def test_bad_input_names_the_field_and_the_range_and_records_nothing(
    change, code, field, allowed
):
    async with bench() as api:
        answer = await api.submit(**change)
        found = problem_of(answer, 422, code or "invalid_field")
        assert found["field"] == field
        assert field in found["detail"]
        if allowed is not None:
            assert found["allowed"] == allowed
        assert await api.events() == ()
        batch = {"intents": [ACQUIRE | change, ACQUIRE]}
        answer = await api.client.post("/v1/intents/batch", json=batch, headers=api.auth())
        assert answer.status_code == 207
        refused, accepted = answer.json()["verdicts"]
        assert (refused["verdict"], refused["status"]) == ("refused", 422)
        assert refused["problem"]["field"] == f"intents[0].{field}"
        assert accepted["verdict"] == "accepted"
        assert len(await api.events()) == 1


REBALANCE = {"type": "REBALANCE", "chain_id": 1}


@pytest.mark.parametrize(
    ("targets", "field"),
    [
        ([], "targets"),
        ([{"asset": "WETH", "weight": 1}], "targets"),
        ([{"asset": "WETH", "weight": "0.5"}, {"asset": "USDC", "weight": "0.4"}], "targets"),
        ([{"asset": "WETH", "weight": "0.5"}, {"asset": "WETH", "weight": "0.5"}], "targets"),
        ([{"asset": "X", "weight": "0.5"}, {"asset": "USDC", "weight": 0.5}], "targets[0].asset"),
        ([{"asset": "WETH", "weight": 2}, {"asset": "USDC", "weight": 0}], "targets[0].weight"),
        ([{"asset": "WETH"}, {"asset": "USDC", "weight": 0}], "targets[0].weight"),
    ],
)
async def test_bad_targets(targets, field):
    async with bench() as api:
        body = REBALANCE | {"targets": targets}
        answer = await api.client.post("/v1/intents", json=body, headers=api.auth())
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        assert await api.events() == ()


@pytest.mark.parametrize("path", ["/v1/intents", "/v1/intents/batch", "/intents"])
@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {}, 400, "invalid_json"),
        (b"", {}, 400, "invalid_json"),
        (b"\xff\xfe", {}, 400, "invalid_json"),
        (b'{"type": "ACQUIRE", "units": NaN}', {}, 422, None),
        (b'{"intents":' * 5_000, {}, 400, "invalid_json"),
        (b"[]", {}, 422, "invalid_field"),
        (b'"text"', {}, 422, "invalid_field"),
        (b"null", {}, 422, "invalid_field"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415, None),
        (b"{}", {"content-type": ""}, 415, "unsupported_media_type"),
        (b" " * 100_001, {}, 413, "body_too_large"),
    ],
)
async def test_bodies_that_are_no_submission(path, content, headers, status, code):
    async with bench() as api:
        sent = api.auth() | {"content-type": "application/json"} | headers
        answer = await api.client.post(path, content=content, headers=sent)
        problem_of(answer, status, code or answer.json()["code"])
        assert await api.events() == ()


async def test_p12_a_body_without_a_length_is_cut_off_at_the_limit():
    async def endless():
        for _ in range(200):
            yield b" " * 1_000

    async with bench() as api:
        sent = api.auth() | {"content-type": "application/json"}
        answer = await api.client.post("/v1/intents", content=endless(), headers=sent)
        problem_of(answer, 413, "body_too_large")
        assert await api.events() == ()


async def test_the_same_key_with_the_same_body_is_done_once():
    async with bench() as api:
        sent = api.auth() | {"Idempotency-Key": "order-1"}
        first = await api.client.post("/v1/intents", json=ACQUIRE, headers=sent)
        spelled_otherwise = json.dumps(dict(reversed(ACQUIRE.items())), indent=3)
        again = await api.client.post(
            "/v1/intents",
            content=spelled_otherwise,
            headers=sent | {"content-type": "application/json"},
        )
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.json() == first.json() | {"verdict": "repeated"}
        assert len(await api.events()) == 1


async def test_the_same_key_with_another_body_is_a_conflict():
    async with bench() as api:
        sent = api.auth() | {"Idempotency-Key": "order-1"}
        await api.client.post("/v1/intents", json=ACQUIRE, headers=sent)
        other = ACQUIRE | {"amount": "2"}
        answer = await api.client.post("/v1/intents", json=other, headers=sent)
        problem_of(answer, 409, "key_reused")
        assert len(await api.events()) == 1
        somebody_else = api.auth(name="bob") | {"Idempotency-Key": "order-1"}
        answer = await api.client.post("/v1/intents", json=other, headers=somebody_else)
        assert answer.status_code == 202


@pytest.mark.parametrize("key", ["", "with space", "k" * 201, "\x01"])
async def test_a_key_that_is_not_acceptable(key):
    async with bench() as api:
        sent = api.auth() | {"Idempotency-Key": key}
        answer = await api.client.post("/v1/intents", json=ACQUIRE, headers=sent)
        assert problem_of(answer, 422, "invalid_field")["field"] == "Idempotency-Key"
        assert await api.events() == ()


async def test_a_batch_has_a_verdict_for_each_intent():
    async with bench() as api:
        bodies = [ACQUIRE | {"amount": str(n)} for n in range(1, 1_001)]
        bodies[7] = {"type": "ACQUIRE"}
        bodies[500] = ACQUIRE | {"amount": "0"}
        answer = await api.client.post(
            "/v1/intents/batch", json={"intents": bodies}, headers=api.auth()
        )
        assert answer.status_code == 207
        said = answer.json()
        assert (said["accepted"], said["repeated"], said["refused"]) == (998, 0, 2)
        assert [each["index"] for each in said["verdicts"]] == list(range(1_000))
        assert {e["index"] for e in said["verdicts"] if e["verdict"] == "refused"} == {7, 500}
        ids = [UUID(e["id"]) for e in said["verdicts"] if e["verdict"] == "accepted"]
        assert [intent.id for intent in await api.intents()] == ids


async def test_a_batch_is_repeated_under_its_key():
    async with bench() as api:
        sent = api.auth() | {"Idempotency-Key": "batch-1"}
        batch = {"intents": [ACQUIRE, ACQUIRE | {"amount": "2"}]}
        first = await api.client.post("/v1/intents/batch", json=batch, headers=sent)
        assert first.status_code == 202
        again = await api.client.post("/v1/intents/batch", json=batch, headers=sent)
        assert (again.status_code, again.json()["repeated"]) == (202, 2)
        batch["intents"][1]["amount"] = "3"
        changed = await api.client.post("/v1/intents/batch", json=batch, headers=sent)
        assert changed.status_code == 207
        kept, reused = changed.json()["verdicts"]
        assert (kept["verdict"], reused["problem"]["code"]) == ("repeated", "key_reused")
        assert len(await api.events()) == 2


@pytest.mark.parametrize("count", [0, 1_001])
async def test_p12_a_batch_has_bounds(count):
    async with bench(max_body_bytes=1_000_000) as api:
        batch = {"intents": [ACQUIRE] * count}
        answer = await api.client.post("/v1/intents/batch", json=batch, headers=api.auth())
        found = problem_of(answer, 422, "invalid_field")
        assert (found["field"], found["allowed"]) == ("intents", "1..1000 entries")
        assert await api.events() == ()


async def test_p12_the_limit_counts_every_submission():
    async with bench(limit=10) as api:
        for _ in range(8):
            assert (await api.submit()).status_code == 202
        batch = {"intents": [ACQUIRE] * 3}
        answer = await api.client.post("/v1/intents/batch", json=batch, headers=api.auth())
        found = problem_of(answer, 429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
        assert "10 submissions a minute" in found["detail"]
        assert len(await api.events()) == 8
        batch = {"intents": [ACQUIRE] * 2}
        answer = await api.client.post("/v1/intents/batch", json=batch, headers=api.auth())
        assert answer.status_code == 202
        problem_of(await api.submit(), 429, "rate_limited")
        answer = await api.client.post(
            "/v1/intents", json=ACQUIRE, headers=api.auth(name="somebody else")
        )
        assert answer.status_code == 202
        api.clock.advance(63_000)
        assert (await api.submit()).status_code == 202


async def test_what_is_refused_does_not_count():
    async with bench(limit=1) as api:
        for _ in range(5):
            assert (await api.submit(amount="0")).status_code == 422
        assert (await api.submit()).status_code == 202


async def test_a_batch_beyond_the_limit_says_so():
    async with bench(limit=10) as api:
        batch = {"intents": [ACQUIRE] * 11}
        answer = await api.client.post("/v1/intents/batch", json=batch, headers=api.auth())
        assert problem_of(answer, 429, "rate_limited")["allowed"] == "1..10"
        assert await api.events() == ()


class Broken(MemoryStore):
    """A store whose commit does not come through."""

    error: Exception

    async def accept(self, batch, at):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Transient("the database restarts"), 503, "unavailable"),
        (Indeterminate("the connection broke while committing"), 503, "unknown_outcome"),
        (ZeroDivisionError("our bug"), 500, "internal"),
    ],
)
async def test_p1_no_202_without_a_commit(error, status, code):
    store = Broken(ManualClock(NOW))
    store.error = error
    async with bench(store) as api:
        for path, body in (("/v1/intents", ACQUIRE), ("/v1/intents/batch", {"intents": [ACQUIRE]})):
            answer = await api.client.post(path, json=body, headers=api.auth())
            found = problem_of(answer, status, code)
            assert str(error) not in found["detail"]
            if status == 503:
                assert answer.headers["retry-after"] == "1"
        await asyncio.sleep(0)
        assert api.hinted == []


async def test_a_token_for_one_strategy_submits_for_that_one_only():
    async with bench() as api:
        mine = api.auth(strategies=["desk-1"])
        answer = await api.client.post("/v1/intents", json=ACQUIRE, headers=mine)
        problem_of(answer, 403, "out_of_scope")
        batch = {"intents": [ACQUIRE, ACQUIRE | {"strategy_id": "desk-1"}]}
        answer = await api.client.post("/v1/intents/batch", json=batch, headers=mine)
        refused, accepted = answer.json()["verdicts"]
        assert refused["problem"]["code"] == "out_of_scope"
        assert accepted["verdict"] == "accepted"
        assert len(await api.events()) == 1


async def test_a_router_that_is_away_does_not_fail_a_submission():
    from serve_app.hints import Hints

    async def nobody_there(_):
        raise Transient("the actor is not there")

    async with bench(hints=Hints(nobody_there)) as api:
        assert (await api.submit()).status_code == 202
        await asyncio.sleep(0)
        assert (await api.submit()).status_code == 202


@pytest.mark.parametrize("path", ["/v1/bench/noop", "/v1/bench/route"])
async def test_the_noop_routes_are_there_for_benchmarks_only(path):
    async with bench() as api:
        answer = await api.client.post(path, json=ACQUIRE, headers=api.auth())
        assert (answer.status_code, answer.json()["verdict"]) == (202, "accepted")
        assert await api.events() == ()
        assert path not in api.app.openapi()["paths"]


async def test_everybody_who_may_trade_may_submit():
    async with bench() as api:
        for role in (Role.TRADER, Role.RISK, Role.ADMIN):
            answer = await api.client.post("/v1/intents", json=ACQUIRE, headers=api.auth(role))
            assert answer.status_code == 202
