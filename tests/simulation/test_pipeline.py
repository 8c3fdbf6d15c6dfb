"""The whole flow in one process: accepted intents become swaps, ends and a ledger that agrees."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sep_ray.adapters.onnx.catalogue import SPECS, guarded
from sep_ray.engine.facts import FactSource
from sep_ray.engine.router import IntentRouter
from sep_ray.engine.slicing import ModelSlicer
from sep_ray.intent.intent import (
    Constraints,
    Intent,
    IntentType,
    Schedule,
    Side,
    Style,
    Target,
)
from sep_ray.intent.states import IntentRecord, Status
from sep_ray.journal.records import Submission
from sep_ray.kernel.units import ChainId, Ppm
from sep_ray.pipeline import Pipeline
from sep_ray.routing.snapshot import Snapshot
from sep_ray.simulation.market import ACCOUNT, CHAIN, DOLLAR, ETHER, USDC, WETH
from tests.fixtures.execution import Sim

MODELS = {name: guarded(spec, None, budget_s=5.0) for name, spec in SPECS.items()}
HALF = Ppm(500_000)


class SimMarket:
    def __init__(self, sim: Sim) -> None:
        self._sim = sim

    async def snapshot(self, chain_id: ChainId) -> Snapshot | None:
        return self._sim.executor.market.snapshot


def pipeline(sim: Sim) -> Pipeline:
    router = IntentRouter(
        store=sim.store,
        clock=sim.clock,
        facts=FactSource(sim.store, sim.store, SimMarket(sim), {CHAIN: USDC}),
        prioritizer=MODELS["prioritizer"],
        slicer=ModelSlicer(MODELS["slice"]),
        on_end=lambda record: None,
        on_ready=lambda chain_id: None,
        holder="router",
    )
    return Pipeline(store=sim.store, clock=sim.clock, router=router, executors=[sim.executor])


def wanted(sim: Sim) -> list[Intent]:
    acquire = Intent(
        id=sim.ids.next(),
        strategy_id="desk",
        type=IntentType.ACQUIRE,
        chain_id=CHAIN,
        sell=USDC,
        buy=WETH,
        amount=3 * ETHER,
        side=Side.BUY,
        constraints=Constraints(max_slippage=Ppm(20_000), time_window_ms=60_000),
        created_at=sim.clock.now(),
    )
    dispose = replace(
        acquire, type=IntentType.DISPOSE, sell=WETH, buy=USDC, amount=5 * ETHER, side=Side.SELL
    )
    twap = Schedule(slices=4)
    slow = replace(dispose.constraints, style=Style.TWAP, schedule=twap)
    adaptive = replace(dispose.constraints, style=Style.ADAPTIVE)
    targets = (Target(asset=WETH, weight=HALF), Target(asset=USDC, weight=HALF))
    rebalance = replace(
        dispose,
        type=IntentType.REBALANCE,
        sell=None,
        buy=None,
        amount=None,
        targets=targets,
        strategy_id="index",
    )
    liquidate = replace(
        dispose, type=IntentType.LIQUIDATE, sell=USDC, buy=WETH, amount=None, strategy_id="exit"
    )
    kinds = [
        *(acquire, dispose, rebalance, liquidate),
        replace(dispose, constraints=slow),
        replace(dispose, amount=40 * ETHER, constraints=adaptive),
    ]
    return [replace(intent, id=sim.ids.next()) for intent in kinds]


async def run(sim: Sim, platform: Pipeline, intents: Sequence[Intent]) -> list[IntentRecord]:
    await platform.submit([Submission(intent=intent, principal="p") for intent in intents])
    for _ in range(90):
        still_open = await platform.turn()
        await sim.tick()
        if not still_open:
            break
    await sim.settle()
    return [r for r in await sim.store.intents([i.id for i in intents]) if r is not None]


@pytest.fixture
async def sim() -> Sim:
    made = Sim()
    await made.ready()
    made.chain.fund(ACCOUNT, WETH.address, 70 * ETHER)
    made.chain.fund(ACCOUNT, USDC.address, 70_000 * DOLLAR)
    await made.tick(2)
    await made.allocate(WETH, 70 * ETHER, "index")
    await made.allocate(USDC, 60_000 * DOLLAR, "index")
    await made.allocate(USDC, 10_000 * DOLLAR, "exit")
    return made


async def test_p2_p8_every_kind_of_intent_ends_and_ledger_and_chain_agree(sim: Sim) -> None:
    platform = pipeline(sim)
    await platform.start()
    intents = wanted(sim)
    records = {record.intent.id: record for record in await run(sim, platform, intents)}
    assert {record.status for record in records.values()} == {Status.COMPLETED}
    acquire, dispose, rebalance, liquidate, twap, adaptive = (records[i.id] for i in intents)
    assert (acquire.bought, dispose.sold) == (3 * ETHER, 5 * ETHER)
    assert (twap.sold, adaptive.sold) == (5 * ETHER, 40 * ETHER)
    assert len(await sim.store.steps_of([twap.intent.id])) == 4
    assert liquidate.sold == 10_000 * DOLLAR
    assert await sim.available(USDC, "exit") == 0
    assert len(await sim.store.steps_of([rebalance.intent.id])) == 1
    assert all(record.score_source.startswith("model") for record in records.values())
    sim.steps = [step.id for step in await sim.store.steps_of([i.id for i in intents])]
    await sim.check()


async def test_p8_a_rebalance_ends_at_its_weights(sim: Sim) -> None:
    platform = pipeline(sim)
    await platform.start()
    rebalance = wanted(sim)[2]
    await run(sim, platform, [rebalance])
    ether = await sim.available(WETH, "index") * 2_000 * DOLLAR // ETHER
    dollars = await sim.available(USDC, "index")
    assert abs(ether - dollars) * 100 < ether + dollars


async def test_p11_a_new_process_goes_on_where_the_old_one_stopped(sim: Sim) -> None:
    platform = pipeline(sim)
    await platform.start()
    intents = wanted(sim)
    await platform.submit([Submission(intent=intent, principal="p") for intent in intents])
    for number in range(90):
        sim.clock.advance(3_000)  # the old lease runs out
        sim.executor = sim.new_executor(f"process {number}")
        platform = pipeline(sim)
        await platform.start()
        await platform.turn()
        await sim.tick()
        if not await platform.turn():
            break
    await sim.settle()
    records = await sim.store.intents([intent.id for intent in intents])
    assert {record.status for record in records} == {Status.COMPLETED}
    sim.steps = [step.id for step in await sim.store.steps_of([i.id for i in intents])]
    await sim.check()
