"""Accounts that trade and transactions that wait for a person: who may see them, who may decide."""

import pytest

from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM
from sep_ray.execution.attempt import (
    AttemptBroadcast,
    AttemptPrepared,
    AttemptStatus,
    AttemptUndecided,
)
from sep_ray.kernel.errors import Transient
from sep_ray.portfolio.events import LaneResumed, LedgerBreached
from sep_ray.portfolio.ledger import Bucket
from serve_app.auth import Role
from tests.fixtures.api import bench, problem_of
from tests.fixtures.records import an_attempt, begin, booked, commit, fold, funding, then

USDC = BOOKS[ETHEREUM].token("USDC").asset
ACCOUNT = "0x" + "ac" * 20
NOTE = {"note": "the node was restored from a backup"}


async def lanes(chain_id):
    if chain_id != ETHEREUM:
        raise Transient("nobody works on the chain")
    lane = {"account": ACCOUNT, "state": "breached", "in_flight": 1, "next_nonce": 8, "epoch": 3}
    return [lane | {"coin_wei": 3 * 10**16, "refuel_wei": 17 * 10**16, "short": True}]


async def breached(api):
    await api.store.commit(funding(USDC, 100, "treasury", account=ACCOUNT))
    breach = LedgerBreached(
        asset=USDC,
        ledger_units=100,
        chain_units=70,
        block_number=9,
        block_hash="0x09",
        detail="it lasted from block 5",
    )
    await api.store.commit(booked((), breach, 1, ACCOUNT))


async def undecided(api):
    made = an_attempt(account=ACCOUNT)
    sent = AttemptBroadcast(tx_hash=made.newest.tx_hash, block_number=1, answer="accepted")
    lost = AttemptUndecided(detail="nonce 7 is used, and nothing shows by what")
    await api.store.commit(begin(made))
    stands = fold(None, (AttemptPrepared(attempt=made),))
    await api.store.commit(commit(then(stands, sent, lost)))
    return made.id


async def test_the_accounts_are_shown_with_what_does_not_add_up():
    async with bench(lanes=lanes) as api:
        await breached(api)
        said = (await api.client.get("/v1/lanes", headers=api.auth(Role.VIEWER))).json()
        (lane,) = said["lanes"]
        assert (lane["account"], lane["state"], lane["epoch"]) == (ACCOUNT, "breached", 3)
        assert (lane["coin"]["amount"], lane["refuelling"]["amount"]) == ("0.03", "0.17")
        assert lane["short"]
        (breach,) = lane["breaches"]
        assert (breach["booked"]["units"], breach["held"]["units"]) == ("100", "70")
        assert breach["detail"] == "it lasted from block 5"
        assert len(said["unread"]) == 1


async def test_a_named_risk_officer_resumes_a_breached_account():
    path = f"/v1/lanes/1/{ACCOUNT}/resume"
    async with bench(lanes=lanes) as api:
        await breached(api)
        answer = await api.client.post(path, json=NOTE, headers=api.auth(Role.RISK, "ann"))
        assert answer.status_code == 200, answer.text
        assert [each["units"] for each in answer.json()["corrections"]] == ["-30"]
        last = (await api.events())[-1].event
        assert isinstance(last, LaneResumed)
        assert (last.principal, last.note) == ("ann", NOTE["note"])
        assert await api.store.account_units(ETHEREUM, ACCOUNT) == {USDC: 70}
        (held,) = [h for h in await api.store.holdings("treasury") if h.bucket is Bucket.AVAILABLE]
        assert held.units == 70
        again = await api.client.post(path, json=NOTE, headers=api.auth(Role.RISK))
        problem_of(again, 409, "not_allowed_now")


async def test_who_cannot_bear_the_difference_is_not_charged():
    async with bench(lanes=lanes) as api:
        await breached(api)
        answer = await api.client.post(
            f"/v1/lanes/1/{ACCOUNT}/resume",
            json=NOTE | {"strategy_id": "poor"},
            headers=api.auth(Role.RISK),
        )
        problem_of(answer, 409, "insufficient_balance")


async def test_a_lost_transaction_is_shown_with_its_evidence_and_decided_on():
    async with bench(lanes=lanes) as api:
        name = await undecided(api)
        viewer = api.auth(Role.VIEWER)
        listed = await api.client.get("/v1/attempts?state=NEEDS_OPERATOR", headers=viewer)
        (shown,) = listed.json()["attempts"]
        assert (shown["id"], shown["state"]) == (str(name), "NEEDS_OPERATOR")
        assert "nothing shows by what" in shown["detail"]
        story = (await api.client.get(f"/v1/attempts/{name}", headers=viewer)).json()
        kinds = [event["type"] for event in story["events"]]
        assert kinds == ["AttemptPrepared", "AttemptBroadcast", "AttemptUndecided"]
        path, risk = f"/v1/attempts/{name}/resolve", api.auth(Role.RISK, "ann")
        look = {"decision": "look_again", "note": "the node is in sync again"}
        answer = await api.client.post(path, json=look, headers=risk)
        assert answer.json()["state"] == "BROADCAST"
        problem_of(await api.client.post(path, json=look, headers=risk), 409, "not_allowed_now")


async def test_given_up_it_is_over():
    async with bench(lanes=lanes) as api:
        name = await undecided(api)
        body = {"decision": "never_landed", "note": "the node was cut off"}
        answer = await api.client.post(
            f"/v1/attempts/{name}/resolve", json=body, headers=api.auth(Role.RISK, "ann")
        )
        assert answer.json()["state"] == "DROPPED"
        assert (await api.store.attempt(name)).status is AttemptStatus.DROPPED
        nobody = "/v1/attempts/01990000-0000-7000-8000-000000000000/resolve"
        answer = await api.client.post(nobody, json=body, headers=api.auth(Role.RISK))
        problem_of(answer, 404, "not_found")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.TRADER])
async def test_p9_only_the_risk_role_decides(role):
    async with bench(lanes=lanes) as api:
        await breached(api)
        name = await undecided(api)
        body = {"decision": "never_landed", "note": "let me"}
        for path, said in (
            (f"/v1/attempts/{name}/resolve", body),
            (f"/v1/lanes/1/{ACCOUNT}/resume", NOTE),
        ):
            problem_of(
                await api.client.post(path, json=said, headers=api.auth(role)), 403, "forbidden"
            )
        assert (await api.store.attempt(name)).status is AttemptStatus.NEEDS_OPERATOR


@pytest.mark.parametrize("path", ["/v1/lanes", "/v1/attempts"])
async def test_a_token_for_one_strategy_sees_no_accounts(path):
    async with bench(lanes=lanes) as api:
        answer = await api.client.get(path, headers=api.auth(strategies=["desk-1"]))
        problem_of(answer, 403, "out_of_scope")


@pytest.mark.parametrize(
    ("body", "field"), [({}, "note"), ({"note": "x"}, "note"), (NOTE | {"more": 1}, "more")]
)
async def test_a_decision_needs_its_reason(body, field):
    async with bench(lanes=lanes) as api:
        await breached(api)
        answer = await api.client.post(
            f"/v1/lanes/1/{ACCOUNT}/resume", json=body, headers=api.auth(Role.RISK)
        )
        assert answer.status_code == 422
        assert field in answer.text
