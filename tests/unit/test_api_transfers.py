"""Money on its way between chains, as clients see it and as they ask for it."""

from dataclasses import replace
from uuid import uuid4

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM, TOKENS
from sep_ray.intent.intent import BridgeBy, IntentType
from sep_ray.kernel.units import ChainId
from sep_ray.settlement.transfer import (
    DepartureFinalized,
    DepartureIncluded,
    DepartureSigned,
    OperatorNeeded,
    Proof,
    TransferReserved,
    TransferUnderWay,
    Waiting,
)
from sep_ray.settlement.weighed import Alternative, Choice
from serve_app.assets import AssetBook
from serve_app.auth import Role
from serve_app.explain import readable
from tests.fixtures.api import NOW, bench, problem_of
from tests.fixtures.records import a_transfer, begin, commit, fold, then

USDC, FAR_USDC = (BOOKS[c].token("USDC").asset for c in (ETHEREUM, ARBITRUM))
WETH, FAR_WETH = (BOOKS[c].token("WETH").asset for c in (ETHEREUM, ARBITRUM))
PROOF = Proof(
    chain_id=ChainId(1), block_number=7, block_hash="0x07", tx_hash="0x" + "5e" * 32, log_index=3
)
CHOICE = Choice(
    reason="best of 2 that can",
    alternatives=(
        Alternative(bridge="twin", units_out=499, cost_ppm=10, verdict="taken"),
        Alternative(bridge="other", verdict="no offer: liquidity"),
    ),
)


async def under_way(api, **changes):
    transfer = a_transfer(source=USDC, target=FAR_USDC, units=5_000_000)
    transfer = replace(transfer, choice=CHOICE, **changes)
    first = begin(transfer)
    await api.store.commit(first)
    stands = fold(None, first.appends[0].events, NOW)
    events = (
        TransferReserved(units=5_000_000),
        DepartureSigned(departure_id=uuid4()),
        DepartureIncluded(departed=5_000_000, departure=PROOF),
        DepartureFinalized(block_number=9),
        TransferUnderWay(waiting=Waiting.FILL, reference="0x77", detail=""),
    )
    await api.store.commit(commit(then(stands, *events)))
    return transfer


async def test_a_transfer_is_shown_with_its_choice_and_its_timeline():
    async with bench() as api:
        transfer = await under_way(api)
        viewer = api.auth(Role.VIEWER)
        listed = (await api.client.get("/v1/transfers?chain_id=42161", headers=viewer)).json()
        (summary,) = listed["transfers"]
        assert (summary["state"], summary["waiting"]) == ("IN_FLIGHT", "fill")
        assert summary["departed"]["amount"] == "5"
        assert summary["timeline"] is None
        shown = (await api.client.get(f"/v1/transfers/{transfer.id}", headers=viewer)).json()
        assert shown["departure"]["tx_hash"] == PROOF.tx_hash
        assert [each["verdict"] for each in shown["choice"]["alternatives"]] == [
            "taken",
            "no offer: liquidity",
        ]
        words = [each["words"] for each in shown["timeline"]]
        assert len(words) == 6
        assert words[1] == "5 USDC are set aside for it"
        assert words[3].startswith("5 USDC left the account")
        assert "waiting: fill" in words[-1]


async def test_p14_why_of_a_transfer_is_its_intents_story():
    asked = {"type": "BRIDGE", "chain_id": 1, "to_chain_id": 42161, "sell": "USDC", "amount": "5"}
    async with bench() as api:
        intent = await submitted(api, asked)
        transfer = await under_way(api, intent_id=intent.id)
        story = await api.client.get(f"/v1/why/{transfer.id}", headers=api.auth(Role.VIEWER))
        assert story.json()["id"] == str(intent.id)
        assert story.json()["wanted"] == "move 5 USDC from chain 1 to 42161"


def test_a_refusal_speaks_of_whole_tokens():
    book = AssetBook(TOKENS.values(), [1, 42161])
    said = f"needs 2500000 of {USDC}; there are 0 of {USDC}"
    assert readable(said, book) == "needs 2.5 USDC; there are 0 USDC"
    for other in ("3 of eip155:9/erc20:0x00", "2 of 3 endpoints"):
        assert readable(other, book) == other


async def test_transfers_outside_the_scope_are_not_there():
    async with bench() as api:
        transfer = await under_way(api)
        scoped = api.auth(strategies=["mine"])
        path = f"/v1/transfers/{transfer.id}"
        problem_of(await api.client.get(path, headers=scoped), 404, "not_found")
        listed = await api.client.get("/v1/transfers", headers=scoped)
        assert listed.json()["transfers"] == []


async def test_a_person_lets_a_transfer_go_on():
    async with bench() as api:
        transfer = await under_way(api)
        path, body = f"/v1/transfers/{transfer.id}/release", {"why": "not paused any more"}
        risk = api.auth(Role.RISK)
        problem_of(await api.client.post(path, json=body, headers=risk), 409, "not_allowed_now")
        stands = await api.store.transfer(transfer.id)
        await api.store.commit(commit(then(stands, OperatorNeeded(detail="paused"))))
        answer = await api.client.post(path, json=body, headers=risk)
        assert (answer.status_code, answer.json()["state"]) == (200, "IN_FLIGHT"), answer.text
        after = await api.store.transfer(transfer.id)
        assert (after.claims, after.released_at) == (0, NOW)


async def submitted(api, body):
    answer = await api.client.post("/v1/intents", json=body, headers=api.auth())
    assert answer.status_code == 202, answer.text
    (record,) = await api.store.open_intents(None, 10)
    return record.intent


async def test_a_bridge_is_asked_for_by_symbol_and_chain():
    body = {"type": "BRIDGE", "chain_id": 1, "to_chain_id": 42161, "sell": "USDC", "amount": "3"}
    async with bench() as api:
        intent = await submitted(api, body | {"constraints": {"bridge_by": "fastest"}})
        assert (intent.type, intent.sell, intent.buy) == (IntentType.BRIDGE, USDC, FAR_USDC)
        assert intent.amount == 3_000_000
        assert intent.constraints.bridge_by is BridgeBy.FASTEST


@pytest.mark.parametrize("pooled", [True, False])
async def test_targets_are_asked_for_over_chains(pooled):
    wide = {"asset": "WETH", "weight": 0.5, "chains": [1, 42161]}
    apart = [{"asset": "WETH", "weight": 0.25, "chain_id": c} for c in (1, 42161)]
    targets = [*([wide] if pooled else apart), {"asset": "USDC", "weight": 0.5}]
    async with bench() as api:
        intent = await submitted(api, {"type": "REBALANCE", "chain_id": 1, "targets": targets})
        assert intent.chains == (ETHEREUM, ARBITRUM)
        named = [(t.asset, t.pooled) for t in intent.targets]
        expected = [(WETH, (FAR_WETH,))] if pooled else [(WETH, ()), (FAR_WETH, ())]
        assert named == [*expected, (USDC, ())]
