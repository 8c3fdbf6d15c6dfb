"""REBALANCE over two chains, from the intent to the weights on the chains themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from sep_ray.adapters.memory.bridge import Family, Knobs
from sep_ray.adapters.onnx.catalogue import SPECS, guarded
from sep_ray.decomposition.step import StepKind, StepStatus
from sep_ray.engine.facts import FactSource
from sep_ray.engine.router import IntentRouter
from sep_ray.engine.slicing import ModelSlicer
from sep_ray.engine.turnstile import TTL_MS
from sep_ray.intent.intent import Constraints, Intent, IntentType, Target
from sep_ray.intent.states import IntentRecord, Reason, Status
from sep_ray.journal.records import Commit, Submission
from sep_ray.kernel.units import PPM, Asset, Ppm
from sep_ray.pipeline import Pipeline
from sep_ray.portfolio.ledger import Bucket
from tests.fixtures.bridging import DOLLAR, ETHER, FAR, NEAR, assets
from tests.fixtures.two_chains import TwoChains

MODELS = {name: guarded(spec, None, budget_s=5.0) for name, spec in SPECS.items()}
_, WETH, USDC = assets(NEAR)
_, FAR_WETH, FAR_USDC = assets(FAR)
PRICE = 2_000 * DOLLAR
WALKTHROUGH = {
    NEAR: {"WETH": 35 * ETHER, "USDC": 30_000 * DOLLAR},
    FAR: {"WETH": 8 * ETHER, "USDC": 24_000 * DOLLAR},
}
"""Ethereum 70 % WETH and 30 % USDC of 100,000 dollars, Arbitrum 40 % and 60 % of 40,000."""
TOLERANCE = Ppm(10_000)


class World(TwoChains):
    """Two chains, and the router that decides for them."""

    def __init__(self, bridges: Mapping[str, tuple[Family, Knobs]]) -> None:
        super().__init__(bridges)
        self.router = self.router_of("router")
        self.platform = Pipeline(
            store=self.store,
            clock=self.clock,
            router=self.router,
            executors=list(self.executors.values()),
        )

    def router_of(self, holder: str) -> IntentRouter:
        """Return a router of another process."""
        return IntentRouter(
            store=self.store,
            clock=self.clock,
            facts=FactSource(
                *(self.store, self.store, self, {NEAR: USDC, FAR: FAR_USDC}),
                underway=self.store,
                crossings=self.crossings,
            ),
            prioritizer=MODELS["prioritizer"],
            slicer=ModelSlicer(MODELS["slice"]),
            on_end=lambda record: None,
            on_ready=lambda chain_id: None,
            holder=holder,
        )

    def overlap(self) -> list[int]:
        """Let facts take a while, so that routers overlap; count the gatherings of a rebalance."""
        found: list[int] = []
        read = self.store.page_of_intents

        async def slowly(*asked: Any) -> Any:
            answer = await read(*asked)
            found.append(len(answer))
            for _ in range(20):
                await asyncio.sleep(0)
            return answer

        self.store.page_of_intents = slowly
        return found

    async def ask(self, targets: tuple[Target, ...], **more: Any) -> IntentRecord:
        """Submit a rebalance and let the router decide."""
        intent = Intent(
            id=self.ids.next(),
            strategy_id="desk",
            type=IntentType.REBALANCE,
            chain_id=NEAR,
            targets=targets,
            tolerance=TOLERANCE,
            constraints=Constraints(max_slippage=Ppm(20_000), time_window_ms=600_000),
            created_at=self.clock.now(),
            **more,
        )
        await self.platform.submit([Submission(intent=intent, principal="p")])
        return await self.record(intent)

    async def record(self, intent: Intent) -> IntentRecord:
        found = await self.store.intent(intent.id)
        assert found is not None
        record: IntentRecord = found
        return record

    async def end(self, intent: Intent, seconds: int = 90) -> IntentRecord:
        """Let time pass until an intent has ended."""
        for _ in range(seconds):
            await self.platform.turn()
            record = await self.record(intent)
            if record.status not in (Status.ACCEPTED, Status.ACTIVE, Status.CANCELLING):
                return record
            await self.tick()
        raise AssertionError(await self.store.steps_of([intent.id]))

    async def weights(self) -> dict[Asset, int]:
        """Return the shares (ppm) of what the accounts hold, as the chains say."""
        worth = {}
        for chain_id, chain in self.chains.items():
            _, weth, usdc = assets(chain_id)
            owned = chain.newest.after.owned
            account = "0x" + "ac" * 20
            worth[weth] = owned.get((weth.address, account), 0) * PRICE // ETHER
            worth[usdc] = owned.get((usdc.address, account), 0)
        total = sum(worth.values())
        return {asset: value * PPM // total for asset, value in worth.items()}


def quarters() -> tuple[Target, ...]:
    return tuple(
        Target(asset=asset, weight=Ppm(250_000)) for asset in (WETH, USDC, FAR_WETH, FAR_USDC)
    )


def halves() -> tuple[Target, ...]:
    return (
        Target(asset=WETH, weight=Ppm(500_000), pooled=(FAR_WETH,)),
        Target(asset=USDC, weight=Ppm(500_000), pooled=(FAR_USDC,)),
    )


@pytest.mark.parametrize("family", Family)
async def test_the_walkthrough_ends_on_its_weights(family: Family) -> None:
    """P8: sells here, bridges, buys there; each chain ends with half of each, to the unit."""
    world = World({"twin": (family, Knobs())})
    await world.ready(WALKTHROUGH)
    record = await world.ask(quarters())
    record = await world.end(record.intent)
    steps = await world.store.steps_of([record.intent.id])
    assert (record.status, record.reason) == (Status.COMPLETED, Reason.FILLED), steps
    assert {step.kind for step in steps} == {StepKind.SWAP, StepKind.BRIDGE}
    for weight in (await world.weights()).values():
        assert abs(weight - 250_000) <= TOLERANCE
    await world.tick(6)
    await world.check()
    again = await world.ask(quarters())
    again = await world.end(again.intent)
    assert again.reason is Reason.ALREADY_ON_TARGET


async def test_what_may_stand_anywhere_needs_no_bridge() -> None:
    world = World({"twin": (Family.FILL, Knobs())})
    await world.ready(WALKTHROUGH)
    record = await world.end((await world.ask(halves())).intent)
    steps = await world.store.steps_of([record.intent.id])
    assert record.status is Status.COMPLETED
    assert {step.kind for step in steps} == {StepKind.SWAP}
    weights = await world.weights()
    assert abs(weights[WETH] + weights[FAR_WETH] - 500_000) <= TOLERANCE


async def test_a_second_rebalance_while_one_is_in_flight_bridges_nothing() -> None:
    """A bridge that takes three seconds, a rebalance asked every 200 ms: exactly one transfer."""
    world = World({"twin": (Family.FILL, Knobs(latency_s=3))})
    await world.ready({NEAR: {"USDC": 100_000 * DOLLAR}, FAR: {"USDC": 20_000 * DOLLAR}})
    targets = (
        Target(asset=USDC, weight=Ppm(500_000)),
        Target(asset=FAR_USDC, weight=Ppm(500_000)),
    )
    asked = []
    for turn in range(40):
        asked.append((await world.ask(targets)).intent)
        await world.platform.turn()
        if turn % 5 == 4:
            await world.tick()
        else:
            world.clock.advance(200)
    for intent in asked:
        await world.end(intent)
    transfers = await world.transfers()
    assert len(transfers) == 1
    assert transfers[0].departed == 40_000 * DOLLAR
    await world.tick(6)
    await world.check()


@pytest.mark.parametrize("routers", [2, 5])
async def test_p5_routers_that_decide_at_once_bridge_once(routers: int) -> None:
    """Several processes decide two rebalances of one strategy: one decomposition has steps."""
    world = World({"twin": (Family.FILL, Knobs(latency_s=3))})
    await world.ready({NEAR: {"USDC": 100_000 * DOLLAR}, FAR: {"USDC": 20_000 * DOLLAR}})
    targets = (
        Target(asset=USDC, weight=Ppm(500_000)),
        Target(asset=FAR_USDC, weight=Ppm(500_000)),
    )
    many = [world.router_of(f"router-{n}") for n in range(routers)]
    asked = [(await world.ask(targets)).intent for _ in range(2)]
    gathered = world.overlap()
    for n, each in enumerate(many):
        each.hint([asked[n % 2].id])
    for _ in range(6):
        await asyncio.gather(*(each.turn() for each in many))
        world.clock.advance(50)
    steps = await world.store.steps_of([each.id for each in asked])
    assert len(steps) == 1
    assert len(gathered) >= 2, "both rebalances were decided about"
    for intent in asked:
        await world.end(intent)
    assert len(await world.transfers()) == 1
    await world.check()


async def test_p5_a_decision_under_a_lost_lease_does_not_count() -> None:
    """A router stands still between its facts and its record; another decides meanwhile."""
    world = World({"twin": (Family.FILL, Knobs(latency_s=3))})
    await world.ready({NEAR: {"USDC": 100_000 * DOLLAR}, FAR: {"USDC": 20_000 * DOLLAR}})
    targets = (
        Target(asset=USDC, weight=Ppm(500_000)),
        Target(asset=FAR_USDC, weight=Ppm(500_000)),
    )
    first = (await world.ask(targets)).intent
    slow, quick = world.router_of("slow"), world.router_of("quick")
    await slow.start()
    going = asyncio.Event()
    commit = world.store.commit

    async def held(what: Commit) -> Any:
        if what.fence is not None and what.fence.epoch == 1:
            going.set()
            await resume.wait()
        return await commit(what)

    resume = asyncio.Event()
    world.store.commit = held
    stuck = asyncio.create_task(slow.turn())
    async with asyncio.timeout(5):
        await going.wait()
    world.clock.advance(TTL_MS + 1)
    second = (await world.ask(targets)).intent
    await quick.start()
    await quick.turn()
    resume.set()
    await stuck
    assert len(await world.store.steps_of([first.id, second.id])) == 1
    await slow.turn()
    for intent in (first, second):
        await world.end(intent)
    assert len(await world.transfers()) == 1
    await world.check()


async def test_what_was_to_fund_it_did_not_come() -> None:
    """P2: the bridge gives the money back, what waited for it ends, and the end says so."""
    world = World({"twin": (Family.FILL, Knobs(completes=False, fill_s=10, refund_s=2))})
    await world.ready({NEAR: {"WETH": 30 * ETHER}, FAR: {"USDC": 1_000 * DOLLAR}})
    targets = (
        Target(asset=WETH, weight=Ppm(500_000)),
        Target(asset=FAR_USDC, weight=Ppm(500_000)),
        Target(asset=USDC, weight=Ppm(0)),
        Target(asset=FAR_WETH, weight=Ppm(0)),
    )
    record = await world.end((await world.ask(targets)).intent)
    steps = await world.store.steps_of([record.intent.id])
    refunded = [step for step in steps if step.reason is Reason.REFUNDED]
    assert refunded
    assert record.status in (Status.PARTIALLY_COMPLETED, Status.FAILED)
    assert record.reason is Reason.REFUNDED
    for step in steps:
        if step.after and all(each in {r.id for r in refunded} for each in step.after):
            assert (step.status, step.reason) == (StepStatus.CANCELLED, Reason.UNFUNDED)
    await world.tick(4)
    await world.check()
    sent = sum(step.amount for step in refunded if step.sell == refunded[0].sell)
    assert await world.units(refunded[0].sell, Bucket.AVAILABLE) >= sent
