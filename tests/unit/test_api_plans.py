"""Dry runs: what an intent would lead to now, with nothing recorded."""

from dataclasses import replace

import pytest

from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM, TOKENS
from sep_ray.adapters.memory import MemoryStore
from sep_ray.adapters.memory.bridge import Family, Knobs
from sep_ray.engine.facts import FactSource
from sep_ray.engine.planning import Trade
from sep_ray.intent.intent import Constraints, Intent, IntentType, Target
from sep_ray.kernel.clock import ManualClock
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import Ppm, Token
from sep_ray.routing.planner import plan
from sep_ray.routing.snapshot import Snapshot
from serve_app.assets import AssetBook
from serve_app.dry_run import DryRun
from tests.fixtures.api import ACQUIRE, NOW, bench, problem_of
from tests.fixtures.bridging import DOLLAR, FAR, NEAR, assets
from tests.fixtures.market import v2_pool
from tests.fixtures.records import funding
from tests.fixtures.two_chains import TwoChains

BOOK = BOOKS[ETHEREUM]
USDC, WETH = BOOK.token("USDC"), BOOK.token("WETH")
SNAPSHOT = Snapshot(
    chain_id=ETHEREUM,
    block_number=100,
    block_hash="0x" + "ab" * 32,
    block_time_s=NOW // 1_000,
    base_fee_wei=10**9,
    pools=(v2_pool(3_000_000 * 10**6, 1_000 * 10**18, token0=BOOK.usdc, token1=BOOK.weth),),
    tokens=(USDC, WETH),
    wrapped_native=BOOK.weth,
)


class Market:
    """One chain that is read, and no other."""

    async def snapshot(self, chain_id):
        return SNAPSHOT if chain_id == ETHEREUM else None


async def quote(chain_id, trade):
    if chain_id != ETHEREUM:
        raise Transient("nobody works on the chain")
    assert isinstance(trade, Trade)
    request = trade.request(SNAPSHOT.block_time_s + 60, 10**9, mix_venues=False)
    return plan(SNAPSHOT, replace(request))


async def weigh(step):
    raise AssertionError("no step crosses chains")


async def asked(body, funds=10_000 * 10**6):
    """Ask for a plan with so much USDC in the treasury; returns the HTTP answer."""
    clock = ManualClock(NOW)
    store = MemoryStore(clock)
    if funds:
        await store.commit(funding(USDC.asset, funds, "treasury"))
    facts = FactSource(store, store, Market(), {ETHEREUM: USDC.asset})
    book = AssetBook(TOKENS.values(), [1, 42161])
    async with bench(store, planner=DryRun(facts, quote, weigh, book, clock)) as api:
        before = await api.events()
        answer = await api.client.post("/v1/plans", json=body, headers=api.auth())
        assert await api.events() == before
        return answer


async def test_a_plan_says_what_would_happen():
    answer = await asked(ACQUIRE | {"amount": "1"})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["block_number"], said["refused"]) == (100, None)
    assert said["wanted"] == "buy 1 WETH with USDC on chain 1"
    (step,) = said["steps"]
    assert step["buy"]["amount"] == "1"
    assert 3_000 < float(step["sell"]["amount"]) < 3_030
    assert float(step["limit"]["amount"]) > float(step["sell"]["amount"])
    assert step["limit"]["symbol"] == "USDC"
    assert step["path"] == [f"USDC to WETH by uniswap-v2 0.3 % 0x{'2' * 40}"]


async def test_a_schedule_is_quoted_slice_by_slice():
    body = ACQUIRE | {"constraints": {"style": "twap", "schedule": {"slices": 4}}}
    steps = (await asked(body)).json()["steps"]
    assert [step["buy"]["amount"] for step in steps] == ["0.375"] * 4
    assert [step["due"] - NOW for step in steps] == [0, 150_000, 300_000, 450_000]


async def test_a_rebalance_shows_its_trades():
    targets = [{"asset": "WETH", "weight": "0.5"}, {"asset": "USDC", "weight": "0.5"}]
    answer = await asked({"type": "REBALANCE", "chain_id": 1, "targets": targets})
    (step,) = answer.json()["steps"]
    assert step["sell"]["amount"] == "5000"


@pytest.mark.parametrize(
    ("body", "funds", "refused"),
    [
        (ACQUIRE | {"amount": "100"}, 10**6, "insufficient_balance"),
        ({"type": "LIQUIDATE", "chain_id": 1, "sell": "WETH", "buy": "USDC"}, 0, "nothing_to_sell"),
        (ACQUIRE | {"constraints": {"limit_price": "9"}}, 10**11, "no_route: below_limit"),
        (
            ACQUIRE | {"buy": "WBTC", "amount": "0.0001"},
            10**11,
            "no_route: unknown_token",
        ),
    ],
)
async def test_a_plan_that_would_be_refused_says_why(body, funds, refused):
    answer = await asked(body, funds)
    assert answer.status_code == 200
    assert answer.json()["refused"].startswith(refused)


async def test_a_chain_that_is_not_read_cannot_be_planned_for():
    body = ACQUIRE | {"chain_id": 42161, "type": "DISPOSE", "side": "buy", "amount": "0.000001"}
    answer = await asked(body)
    assert answer.json()["refused"].startswith("insufficient_balance")
    answer = await asked(ACQUIRE | {"chain_id": 7})
    problem_of(answer, 422, "unknown_chain")


NEAR_USDC, FAR_USDC = assets(NEAR)[2], assets(FAR)[2]
TWO_CHAINS = AssetBook(
    [
        Token(asset, symbol, 18 if symbol == "WETH" else 6)
        for chain_id in (NEAR, FAR)
        for asset, symbol in zip(assets(chain_id)[1:], ("WETH", "USDC"), strict=True)
    ],
    [NEAR, FAR],
)


async def crossing_plan(body, **knobs):
    """Ask two chains with two bridges between them; nothing may be recorded."""
    world = TwoChains(
        {"quick": (Family.FILL, Knobs(**knobs)), "slow": (Family.ATTESTED, Knobs(latency_s=40))}
    )
    await world.ready({NEAR: {"USDC": 100_000 * DOLLAR}, FAR: {"USDC": 20_000 * DOLLAR}})
    facts = FactSource(
        *(world.store, world.store, world, {c: assets(c)[2] for c in (NEAR, FAR)}),
        underway=world.store,
        crossings=world.crossings,
    )
    dry = DryRun(
        facts,
        lambda chain_id, trade: world.executors[chain_id].quote(trade),
        lambda step: world.executors[step.chain_id].weigh(step),
        TWO_CHAINS,
        world.clock,
    )
    before = await world.store.newest()
    intent = Intent(
        id=world.ids.next(),
        strategy_id="desk",
        chain_id=NEAR,
        constraints=Constraints(max_slippage=Ppm(20_000), time_window_ms=600_000),
        created_at=world.clock.now(),
        **body,
    )
    answer = await dry.plan(intent)
    assert await world.store.newest() == before
    return answer


HALF_EACH = {
    "type": IntentType.REBALANCE,
    "targets": tuple(Target(asset=a, weight=Ppm(500_000)) for a in (NEAR_USDC, FAR_USDC)),
}


async def test_a_rebalance_over_chains_shows_the_bridge_and_why():
    said = await crossing_plan(HALF_EACH)
    (step,) = said.steps
    assert (said.refused, step.kind, step.after) == (None, "bridge", [])
    assert step.sell.amount == "40000"
    assert 39_900 < float(step.limit.amount) <= float(step.buy.amount) < 40_000
    first, second = step.bridge.alternatives
    assert (first.bridge, first.verdict) == ("quick", "taken")
    assert (second.bridge, second.cost_ppm is not None) == ("slow", True)
    assert "quick" in step.bridge.reason
    assert second.verdict


async def test_a_bridge_shows_what_it_would_do():
    body = {
        "type": IntentType.BRIDGE,
        "sell": NEAR_USDC,
        "buy": FAR_USDC,
        "amount": 1_000 * DOLLAR,
    }
    (step,) = (await crossing_plan(body)).steps
    assert (step.kind, step.sell.amount) == ("bridge", "1000")


async def test_a_bridge_that_none_takes_says_what_each_said():
    body = {
        "type": IntentType.BRIDGE,
        "sell": NEAR_USDC,
        "buy": assets(FAR)[1],
        "amount": 1_000 * DOLLAR,
    }
    said = await crossing_plan(body)
    assert said.refused == "no_bridge: quick: no offer: pair; slow: no offer: pair"
    assert said.steps[0].bridge.alternatives[0].verdict == "no offer: pair"
