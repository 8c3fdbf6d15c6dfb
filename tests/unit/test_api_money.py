"""The portfolio, its check against the chains (P8), and moving money between strategies."""

import pytest

from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM
from sep_ray.execution.ports import AccountState, Head
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import NATIVE, Asset
from sep_ray.portfolio.events import FundsAllocated
from sep_ray.portfolio.ledger import Bucket
from serve_app.auth import Role
from serve_app.balances import ChainBalances
from tests.fixtures.api import ACQUIRE, bench, problem_of
from tests.fixtures.records import funding

USDC = BOOKS[ETHEREUM].token("USDC").asset
ETH = Asset(ETHEREUM, NATIVE)
MOVE = {"chain_id": 1, "asset": "USDC", "amount": "40.5", "target": "desk-1"}


async def funded(api, units=100_000_000):
    await api.store.commit(funding(USDC, units, "treasury", account="usdc"))
    await api.store.commit(funding(ETH, 10**18, "treasury", account="eth"))


async def available(api, strategy_id):
    holdings = await api.store.holdings(strategy_id)
    return {h.asset: h.units for h in holdings if h.bucket is Bucket.AVAILABLE}


async def test_the_portfolio_is_every_bucket_of_every_strategy():
    async with bench() as api:
        await funded(api)
        answer = await api.client.get("/v1/portfolio", headers=api.auth(Role.VIEWER))
        said = answer.json()
        (treasury,) = said["strategies"]
        by_symbol = {each["symbol"]: each["buckets"] for each in treasury["assets"]}
        assert by_symbol["USDC"]["available"]["amount"] == "100"
        assert by_symbol["USDC"]["funding"]["units"] == "-100000000"
        assert by_symbol["ETH"]["available"]["units"] == str(10**18)
        assert {each["symbol"]: each["amount"] for each in said["totals"]} == {
            "USDC": "100",
            "ETH": "1",
        }
        assert said["check"] is None


async def test_money_moves_once_per_key():
    async with bench() as api:
        await funded(api)
        admin = api.auth(Role.ADMIN) | {"Idempotency-Key": "monday"}
        for status in (201, 200):
            answer = await api.client.post("/v1/portfolio/allocations", json=MOVE, headers=admin)
            assert answer.status_code == status, answer.text
        assert await available(api, "treasury") == {USDC: 59_500_000, ETH: 10**18}
        assert await available(api, "desk-1") == {USDC: 40_500_000}
        (event,) = [
            row.event for row in await api.events() if isinstance(row.event, FundsAllocated)
        ]
        assert (event.principal, event.source, event.target) == ("alice", "treasury", "desk-1")
        other = MOVE | {"amount": "1"}
        answer = await api.client.post("/v1/portfolio/allocations", json=other, headers=admin)
        problem_of(answer, 409, "key_reused")
        answer = await api.client.post(
            "/v1/portfolio/allocations", json=other, headers=api.auth(Role.ADMIN)
        )
        assert answer.status_code == 201
        assert await available(api, "desk-1") == {USDC: 41_500_000}


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"amount": "100.000001"}, 409, "insufficient_balance", None),
        ({"source": "desk-9"}, 409, "insufficient_balance", None),
        ({"target": "treasury"}, 422, "invalid_field", "target"),
        ({"amount": "0"}, 422, "invalid_field", "amount"),
        ({"amount": "0.0000001"}, 422, "too_many_decimals", "amount"),
        ({"asset": "PEPE"}, 422, "unknown_asset", "asset"),
        ({"chain_id": 5}, 422, "unknown_chain", "chain_id"),
        ({"target": None}, 422, "invalid_field", "target"),
    ],
)
async def test_a_movement_that_cannot_be_leaves_nothing(change, status, code, field):
    async with bench() as api:
        await funded(api)
        before = await api.events()
        answer = await api.client.post(
            "/v1/portfolio/allocations", json=MOVE | change, headers=api.auth(Role.ADMIN)
        )
        assert problem_of(answer, status, code).get("field") == field
        assert await api.events() == before
        assert await available(api, "treasury") == {USDC: 100_000_000, ETH: 10**18}


async def test_a_token_for_one_strategy_sees_its_money_only():
    async with bench() as api:
        await funded(api)
        await api.client.post("/v1/portfolio/allocations", json=MOVE, headers=api.auth(Role.ADMIN))
        mine = api.auth(strategies=["desk-1"])
        said = (await api.client.get("/v1/portfolio", headers=mine)).json()
        assert [each["strategy_id"] for each in said["strategies"]] == ["desk-1"]
        assert [each["amount"] for each in said["totals"]] == ["40.5"]
        answer = await api.client.get("/v1/portfolio?strategy_id=treasury", headers=mine)
        problem_of(answer, 403, "out_of_scope")


@pytest.mark.parametrize("change", [{}, {"source": "desk-1", "target": "treasury"}])
async def test_a_token_for_one_strategy_moves_no_money_of_another(change):
    async with bench() as api:
        await funded(api)
        mine = api.auth(Role.ADMIN, strategies=["desk-1"])
        answer = await api.client.post(
            "/v1/portfolio/allocations", json=MOVE | change, headers=mine
        )
        problem_of(answer, 403, "out_of_scope")
        assert await available(api, "treasury") == {USDC: 100_000_000, ETH: 10**18}


@pytest.mark.parametrize("path", ["portfolio", "intents", "transfers"])
async def test_a_strategy_that_nothing_is_known_of_is_no_empty_answer(path):
    async with bench() as api:
        answer = await api.client.get(f"/v1/{path}?strategy_id=nosuch", headers=api.auth())
        said = problem_of(answer, 422, "unknown_strategy")
        assert (said["field"], said["detail"]) == ("strategy_id", "strategy_id is not known")


@pytest.mark.parametrize("path", ["portfolio", "intents", "transfers"])
async def test_a_strategy_is_known_by_any_trace_it_left(path):
    async with bench() as api:
        await funded(api)
        admin = api.auth(Role.ADMIN)
        await api.client.post("/v1/portfolio/allocations", json=MOVE, headers=admin)
        back = MOVE | {"source": "desk-1", "target": "treasury"}
        await api.client.post("/v1/portfolio/allocations", json=back, headers=admin)
        await api.submit(strategy_id="asked-only")
        mine = api.auth(strategies=["new-desk"])
        for name, headers in (
            ("treasury", admin),
            ("desk-1", admin),
            ("asked-only", admin),
            ("new-desk", mine),
        ):
            answer = await api.client.get(f"/v1/{path}?strategy_id={name}", headers=headers)
            assert answer.status_code == 200, (name, answer.text)


class Node:
    """A chain whose accounts hold what it is told, one answer after the other."""

    def __init__(self, *held):
        self._held = list(held)

    async def head(self):
        return Head(
            number=1,
            hash="0x1",
            parent_hash="0x0",
            timestamp=1,
            base_fee_wei=1,
            gas_used=0,
            gas_limit=1,
        )

    async def state(self, account, assets, at):
        held = self._held.pop(0) if len(self._held) > 1 else self._held[0]
        return AccountState(nonce=0, units={asset: held.get(asset, 0) for asset in assets})


async def accounts(_):
    return ["0xdesk"]


async def checked(node, chains=(ETHEREUM,)):
    async with bench() as api:
        await funded(api)
        balances = ChainBalances(api.store, dict.fromkeys(chains, node), accounts, [USDC, ETH])
        pairs = await balances.compare(ETHEREUM)
        return {asset: pair for asset, pair in pairs.items() if pair[0] != pair[1]}


async def test_p8_books_that_agree_with_the_chain():
    assert await checked(Node({USDC: 100_000_000, ETH: 10**18})) == {}


async def test_p8_a_booking_under_way_is_waited_for():
    late, now = {USDC: 99_000_000, ETH: 10**18}, {USDC: 100_000_000, ETH: 10**18}
    assert await checked(Node(late, late, now)) == {}


async def test_p8_what_stays_different_is_shown(monkeypatch):
    monkeypatch.setattr("serve_app.balances.TRIES", 3)
    off = await checked(Node({USDC: 99_999_999, ETH: 10**18}))
    assert off == {USDC: (100_000_000, 99_999_999)}


async def test_a_chain_nobody_reads_cannot_be_checked():
    with pytest.raises(Transient):
        await checked(Node({}), chains=())


class Balances:
    """Compares as it is told; chain 42161 cannot be read."""

    def __init__(self, pairs):
        self._pairs = pairs

    async def compare(self, chain_id):
        if chain_id != ETHEREUM:
            raise Transient("the node is away")
        return self._pairs


async def test_p8_the_check_names_what_differs_and_what_was_not_read():
    pairs = {USDC: (100, 99), ETH: (5, 5)}
    async with bench(balances=Balances(pairs)) as api:
        answer = await api.client.get("/v1/portfolio?check=true", headers=api.auth(Role.VIEWER))
        check = answer.json()["check"]
        assert check["assets"] == 2
        assert [
            (m["symbol"], m["ledger_units"], m["chain_units"]) for m in check["mismatches"]
        ] == [("USDC", "100", "99")]
        assert check["unread"] == ["42161: the node is away"]


async def test_a_plan_is_refused_while_no_chain_is_read():
    async with bench() as api:
        answer = await api.client.post("/v1/plans", json=ACQUIRE, headers=api.auth())
        problem_of(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        answer = await api.client.post(
            "/v1/plans", json=ACQUIRE | {"amount": "0"}, headers=api.auth()
        )
        problem_of(answer, 422, "invalid_field")
        assert await api.events() == ()
