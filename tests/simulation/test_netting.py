"""Opposite sales of willing strategies meet before anything is routed; the ledger stays whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.netter import CHILD_ORDINAL
from sep_ray.engine.risk import RiskDesk
from sep_ray.execution.attempt import Purpose
from sep_ray.intent.states import Reason
from sep_ray.policy.limits import Kind, Measure
from sep_ray.portfolio.events import SalesNetted
from sep_ray.portfolio.ledger import HOLDINGS
from tests.fixtures.execution import DOLLAR, ETHER, RULES, USDC, WETH, Sim
from tests.fixtures.policy import a_limit

BOTH = frozenset({"desk", "fund"})


async def two_desks(netting: frozenset[str]) -> Sim:
    """Two strategies with coins and dollars each."""
    sim = Sim(replace(RULES, netting=netting))
    await sim.ready()
    for asset, units in ((WETH, 100 * ETHER), (USDC, 300_000 * DOLLAR)):
        sim.chain.fund(sim.accounts[0], asset.address, units)
        await sim.tick()
        await sim.allocate(asset, units, to="fund")
    await sim.tick()
    return sim


async def held(sim: Sim, strategy: str) -> dict[str, int]:
    lines = await sim.store.holdings(strategy)
    return {
        name: sum(h.units for h in lines if h.asset == asset and h.bucket in HOLDINGS)
        for name, asset in (("WETH", WETH), ("USDC", USDC))
    }


async def test_p8_equal_sales_are_crossed_without_the_chain():
    sim = await two_desks(BOTH)
    before = {name: await held(sim, name) for name in BOTH}
    down = await sim.add(2 * ETHER, sell=WETH, buy=USDC)
    up = await sim.add(10_000 * DOLLAR, sell=USDC, buy=WETH, strategy="fund")
    await sim.executor.turn()
    sold = await sim.step(down)
    assert (sold.status, sold.reason, sold.final) == (StepStatus.DONE, Reason.FILLED, True)
    assert sold.sold == 2 * ETHER
    after = {name: await held(sim, name) for name in BOTH}
    gained = {n: {k: after[n][k] - before[n][k] for k in ("WETH", "USDC")} for n in BOTH}
    assert gained["desk"] == {"WETH": -sold.sold, "USDC": sold.bought}
    assert gained["fund"]["WETH"] == sold.sold
    rows = await sim.store.tail(0, 10_000, 0.0)
    (said,) = [row.event for row in rows if isinstance(row.event, SalesNetted)]
    numerator, denominator = said.price
    bought = said.high_units if said.low == WETH else said.low_units
    assert bought == sold.bought
    assert min(numerator, denominator) > 0
    rest = await sim.step(up)
    assert rest.amount == 10_000 * DOLLAR - sold.bought
    await sim.settle()
    rest = await sim.step(up)
    assert (rest.status, rest.sold) == (StepStatus.DONE, rest.amount)
    parts = await sim.store.steps_of([rest.intent_id])
    child = next(part for part in parts if part.ordinal >= CHILD_ORDINAL)
    assert (child.status, child.sold, child.bought) == (StepStatus.DONE, sold.bought, sold.sold)
    swaps = [a for a in await sim.attempts() if a.purpose is Purpose.SWAP]
    assert [a.step_id for a in swaps] == [up]
    sim.steps.remove(down)  # the only step that is done without a transaction
    await sim.check()


@pytest.mark.parametrize("willing", [frozenset(), frozenset({"desk"})])
async def test_nobody_is_crossed_who_was_not_named(willing):
    sim = await two_desks(willing)
    steps = [
        await sim.add(2 * ETHER, sell=WETH, buy=USDC),
        await sim.add(4_000 * DOLLAR, sell=USDC, buy=WETH, strategy="fund"),
    ]
    await sim.settle()
    assert {(await sim.step(each)).status for each in steps} == {StepStatus.DONE}
    assert len([a for a in await sim.attempts() if a.purpose is Purpose.SWAP]) == 2
    await sim.check()


async def test_both_do_better_than_alone():
    outcomes = {}
    for willing in (frozenset(), BOTH):
        sim = await two_desks(willing)
        down = await sim.add(2 * ETHER, sell=WETH, buy=USDC)
        up = await sim.add(4_000 * DOLLAR, sell=USDC, buy=WETH, strategy="fund")
        await sim.settle()
        parts = {}
        for each in (down, up):
            first = await sim.step(each)
            its = await sim.store.steps_of([first.intent_id])
            parts[each is down] = sum(part.bought for part in its)
            if max(part.ordinal for part in its) < CHILD_ORDINAL and willing:
                sim.steps.remove(each)
        outcomes[willing] = parts
        await sim.check()
    assert outcomes[BOTH][True] > outcomes[frozenset()][True]
    assert outcomes[BOTH][False] > outcomes[frozenset()][False]


async def crossed(sim: Sim) -> int:
    rows = await sim.store.tail(0, 10_000, 0.0)
    return sum(isinstance(row.event, SalesNetted) for row in rows)


async def opposite(sim: Sim, ether: int) -> list[UUID]:
    """A sale of so many coins by "desk" and one back by "fund", and a turn."""
    steps = [
        await sim.add(ether * ETHER, sell=WETH, buy=USDC),
        await sim.add(ether * 5_000 * DOLLAR, sell=USDC, buy=WETH, strategy="fund"),
    ]
    await sim.executor.turn()
    return steps


async def limited(**fields: Any) -> Sim:
    sim = await two_desks(BOTH)
    await RiskDesk(sim.store, sim.clock).set_limit(a_limit(**fields), "rita")
    await sim.tick()
    return sim


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": Kind.TRANSACTION, "amount": ETHER, "measure": Measure.UNITS, "asset": WETH},
        {"kind": Kind.TOTAL, "amount": 1_000 * DOLLAR, "strategy_id": "fund"},
        {
            "kind": Kind.POSITION,
            "amount": 101 * ETHER,
            "measure": Measure.UNITS,
            "asset": WETH,
            "strategy_id": "fund",
        },
    ],
)
async def test_p9_a_sale_that_policy_denies_is_not_crossed(fields):
    sim = await limited(**fields)
    await opposite(sim, 2)
    assert await crossed(sim) == 0


async def test_p9_what_is_crossed_counts_in_windows_and_totals():
    most = 5 * ETHER
    fields = {"kind": Kind.TOTAL, "amount": most, "measure": Measure.UNITS, "asset": WETH}
    sim = await limited(**fields, strategy_id="desk")
    for count in (1, 2, 2):
        await opposite(sim, 2)
        assert await crossed(sim) == count
    (slot,) = (await sim.store.limit_usage(["one"]))["one"]
    assert slot.amount == 4 * ETHER


async def test_a_denied_sale_leaves_the_others_to_cross():
    fields = {"amount": 3 * ETHER, "measure": Measure.UNITS, "asset": WETH, "strategy_id": "desk"}
    sim = await limited(**fields)
    large = await sim.add(4 * ETHER, sell=WETH, buy=USDC)
    small = await sim.add(ETHER, sell=WETH, buy=USDC)
    await sim.add(20_000 * DOLLAR, sell=USDC, buy=WETH, strategy="fund")
    await sim.executor.turn()
    assert (await sim.step(small)).status is StepStatus.DONE
    assert (await sim.step(large)).reason is Reason.POLICY_DENIED
    assert await crossed(sim) == 1
