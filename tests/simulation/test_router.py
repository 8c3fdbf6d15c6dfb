"""The router over an in-memory journal: ranking, slices, catch-up, cancelling, ends (P2, P11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from sep_ray.adapters.memory.store import MemoryStore
from sep_ray.decomposition.step import (
    Step,
    StepEvent,
    StepFailed,
    StepFilled,
    StepFinalized,
    StepStarted,
    StepStatus,
    StepUnfilled,
)
from sep_ray.decomposition.step import evolve as evolve_step
from sep_ray.engine.facts import FactSource, Known
from sep_ray.engine.ports import Market, Scored
from sep_ray.engine.router import IntentRouter
from sep_ray.intent.intent import (
    CatchUp,
    Constraints,
    Intent,
    IntentType,
    Schedule,
    Style,
    Target,
)
from sep_ray.intent.states import IntentCancelRequested, IntentRecord, Reason, Status, evolve
from sep_ray.journal.records import Append, Commit, Submission
from sep_ray.kernel.clock import ManualClock, Millis
from sep_ray.kernel.ids import SeededIds
from sep_ray.kernel.units import Asset, ChainId, Ppm
from sep_ray.portfolio.events import FundsObserved
from sep_ray.portfolio.ledger import fund
from sep_ray.priority.rank import fallback
from sep_ray.routing.snapshot import Snapshot
from tests.fixtures.market import snapshot

ETHEREUM = ChainId(1)
WETH, USDC = (Asset(ETHEREUM, "0x" + digit * 40) for digit in "ab")
START = Millis(1_700_000_000_000)


class Formula:
    async def score(self, rows: Sequence[Sequence[float]]) -> Scored:
        return Scored(rows=fallback(rows), source="fallback", reason="test")


class TwoSlices:
    async def slices(self, intents: Sequence[Intent], known: Known) -> Mapping[UUID, int]:
        return {intent.id: 2 for intent in intents}


class NoMarket:
    async def snapshot(self, chain_id: ChainId) -> Snapshot | None:
        return None


@dataclass
class World:
    """A store with funds, a clock, and a router that can be killed and started again."""

    clock: ManualClock
    ids: SeededIds
    store: MemoryStore
    ended: list[UUID]

    def router(self, market: Market | None = None) -> IntentRouter:
        return IntentRouter(
            store=self.store,
            clock=self.clock,
            facts=FactSource(self.store, self.store, market or NoMarket(), {ETHEREUM: USDC}),
            prioritizer=Formula(),
            slicer=TwoSlices(),
            on_end=lambda record: self.ended.append(record.intent.id),
            on_ready=lambda chain_id: None,
            holder="router",
        )

    async def submit(self, intent: Intent) -> UUID:
        await self.store.accept([Submission(intent=intent, principal="p")], self.clock.now())
        return intent.id

    def trade(self, amount: int, **constraints: object) -> Intent:
        return Intent(
            id=self.ids.next(),
            strategy_id="desk",
            type=IntentType.DISPOSE,
            chain_id=ETHEREUM,
            sell=WETH,
            buy=USDC,
            amount=amount,
            constraints=Constraints(**constraints),  # type: ignore[arg-type]  # test shorthand
            created_at=self.clock.now(),
        )

    async def turn(self, router: IntentRouter) -> None:
        for _ in range(3):
            await router.catch_up()
            await router.turn()

    async def record(self, intent_id: UUID) -> IntentRecord:
        record = await self.store.intent(intent_id)
        assert record is not None
        return record

    async def steps(self, intent_id: UUID) -> tuple[Step, ...]:
        return await self.store.steps_of([intent_id])

    async def write(self, step: Step, *events: StepEvent) -> None:
        after = step
        for event in events:
            after = evolve_step(after, event)
        append = Append(
            stream_id=step.stream_id,
            expected_version=step.version,
            events=events,
            correlation_id=step.intent_id,
        )
        await self.store.commit(Commit(at=self.clock.now(), appends=(append,), states=(after,)))

    async def fill_ready(self) -> int:
        ready = await self.store.ready_steps(ETHEREUM, 100)
        for step in ready:
            started = StepStarted(
                attempt_id=self.ids.next(), reserved=step.amount, quoted=step.amount, plan=""
            )
            filled = StepFilled(
                sold=step.amount, bought=step.amount, tx_hash="0x", block_number=1, block_hash="0x"
            )
            await self.write(step, started, filled, StepFinalized(block_number=3))
        return len(ready)


@pytest.fixture
async def world() -> World:
    clock = ManualClock(START)
    store = MemoryStore(clock)
    ids = SeededIds(clock, 1)
    funded = FundsObserved(
        asset=WETH, units=10**20, block_number=1, block_hash="0x", evidence="test"
    )
    append = Append(
        stream_id="account/1/0x", expected_version=0, events=(funded,), correlation_id=ids.next()
    )
    postings = fund(WETH, 10**20, "0x/0", "desk", account="0x")
    await store.commit(Commit(at=START, appends=(append,), postings=postings))
    return World(clock, ids, store, [])


async def test_p2_an_intent_runs_from_acceptance_to_its_end(world: World) -> None:
    router = world.router()
    await router.start()
    intent_id = await world.submit(world.trade(10**18))
    await world.turn(router)
    record = await world.record(intent_id)
    assert (record.status, record.score_source) == (Status.ACTIVE, "fallback: test")
    assert record.why
    assert await world.fill_ready() == 1
    await world.turn(router)
    record = await world.record(intent_id)
    assert (record.status, record.sold, record.bought) == (Status.COMPLETED, 10**18, 10**18)
    assert world.ended == [intent_id]


async def test_p7_an_end_waits_until_the_fill_can_not_be_taken_back(world: World) -> None:
    router = world.router()
    await router.start()
    intent_id = await world.submit(world.trade(10**18))
    await world.turn(router)
    (step,) = await world.store.ready_steps(ETHEREUM, 1)
    started = StepStarted(attempt_id=world.ids.next(), reserved=10**18, quoted=1, plan="")
    filled = StepFilled(sold=10**18, bought=1, tx_hash="0x", block_number=1, block_hash="0x")
    await world.write(step, started, filled)
    await world.turn(router)
    assert (await world.record(intent_id)).status is Status.ACTIVE
    (step,) = await world.steps(intent_id)
    await world.write(step, StepUnfilled(block_hash="0x"), filled, StepFinalized(block_number=3))
    await world.turn(router)
    assert (await world.record(intent_id)).status is Status.COMPLETED


async def test_more_than_is_available_is_rejected_with_a_reason(world: World) -> None:
    router = world.router()
    await router.start()
    intent_id = await world.submit(world.trade(10**21))
    await world.turn(router)
    record = await world.record(intent_id)
    assert (record.status, record.reason) == (Status.REJECTED, Reason.INSUFFICIENT_BALANCE)
    assert str(10**21) in record.detail
    assert await world.steps(intent_id) == ()


async def test_liquidate_sells_all_that_is_available(world: World) -> None:
    router = world.router()
    await router.start()
    intent = replace(world.trade(1), type=IntentType.LIQUIDATE, amount=None)
    await world.submit(intent)
    nothing = replace(intent, id=world.ids.next(), strategy_id="other")
    await world.submit(nothing)
    await world.turn(router)
    assert [step.amount for step in await world.steps(intent.id)] == [10**20]
    assert (await world.record(nothing.id)).reason is Reason.NOTHING_TO_SELL


@dataclass
class Emptied:
    """A market that is read, once it is `open`, and has no pool in it."""

    open: bool = False

    async def snapshot(self, chain_id: ChainId) -> Snapshot | None:
        return replace(snapshot(), chain_id=chain_id) if self.open else None


@pytest.mark.parametrize("ever", [True, False])
async def test_p6_a_rebalance_waits_for_a_chain_that_is_not_read_and_is_refused_without_prices(
    world: World, ever: bool
) -> None:
    """Not to know a chain's prices is no refusal; to know that there are none is."""
    market = Emptied()
    router = world.router(market)
    await router.start()
    targets = (Target(asset=WETH, weight=Ppm(500_000)), Target(asset=USDC, weight=Ppm(500_000)))
    intent = replace(
        world.trade(1),
        type=IntentType.REBALANCE,
        sell=None,
        buy=None,
        amount=None,
        targets=targets,
    )
    await world.submit(intent)
    await world.turn(router)
    assert (await world.record(intent.id)).status is Status.ACCEPTED
    if ever:
        market.open = True
    else:
        world.clock.advance(intent.deadline - world.clock.now())
    await world.turn(router)
    ended = await world.record(intent.id)
    assert ended.reason is (Reason.NO_ROUTE if ever else Reason.DEADLINE)


async def test_p11_slices_survive_a_router_that_dies_and_sleeps(world: World) -> None:
    schedule = Schedule(slices=4, catch_up=CatchUp.SPREAD)
    intent = world.trade(10**18 + 3, style=Style.TWAP, schedule=schedule)
    router = world.router()
    await router.start()
    await world.submit(intent)
    await world.turn(router)
    assert await world.fill_ready() == 1
    world.clock.advance(400_000)  # two slices fell due while nobody was there
    for _ in range(12):
        router = world.router()
        await router.start()
        await world.turn(router)
        await world.fill_ready()
        world.clock.advance(20_000)
    await world.turn(router)
    record = await world.record(intent.id)
    assert (record.status, record.sold) == (Status.COMPLETED, 10**18 + 3)


async def test_p2_skipped_slices_make_a_stated_partial_end(world: World) -> None:
    schedule = Schedule(slices=4, catch_up=CatchUp.SKIP)
    intent = world.trade(400, style=Style.TWAP, schedule=schedule)
    router = world.router()
    await router.start()
    await world.submit(intent)
    await world.turn(router)
    await world.fill_ready()
    world.clock.advance(500_000)
    await world.turn(router)
    await world.fill_ready()
    await world.turn(router)
    record = await world.record(intent.id)
    assert (record.status, record.reason) == (Status.PARTIALLY_COMPLETED, Reason.MISSED_SLICES)
    assert record.sold == 200


async def test_cancel_stops_what_has_not_begun_and_waits_for_what_has(world: World) -> None:
    intent = world.trade(400, style=Style.TWAP, schedule=Schedule(slices=4))
    router = world.router()
    await router.start()
    await world.submit(intent)
    await world.turn(router)
    (first,) = await world.store.ready_steps(ETHEREUM, 10)
    started = StepStarted(attempt_id=world.ids.next(), reserved=100, quoted=1, plan="")
    await world.write(first, started)
    record = await world.record(intent.id)
    event = IntentCancelRequested(principal="p")
    append = Append(
        stream_id=record.stream_id,
        expected_version=record.version,
        events=(event,),
        correlation_id=intent.id,
    )
    now = world.clock.now()
    state = evolve(record, event, now)
    await world.store.commit(Commit(at=now, appends=(append,), states=(state,)))
    await world.turn(router)
    statuses = [step.status for step in await world.steps(intent.id)]
    assert statuses == [StepStatus.WORKING] + [StepStatus.CANCELLED] * 3
    assert (await world.record(intent.id)).status is Status.CANCELLING
    working = (await world.steps(intent.id))[0]
    await world.write(working, StepFailed(reason=Reason.REVERTED, detail="x"))
    await world.turn(router)
    assert (await world.record(intent.id)).status is Status.CANCELLED


async def test_p2_the_deadline_ends_what_nobody_began(world: World) -> None:
    router = world.router()
    await router.start()
    early = await world.submit(world.trade(100))
    await world.turn(router)
    late = await world.submit(world.trade(100))
    world.clock.advance(600_000)
    await world.turn(router)
    for intent_id in (early, late):
        record = await world.record(intent_id)
        assert (record.status, record.reason) == (Status.EXPIRED, Reason.DEADLINE)


async def test_adaptive_takes_the_slicers_word(world: World) -> None:
    router = world.router()
    await router.start()
    intent_id = await world.submit(world.trade(101, style=Style.ADAPTIVE))
    await world.turn(router)
    assert [step.amount for step in await world.steps(intent_id)] == [50, 51]


async def test_two_routers_at_once_decide_once(world: World) -> None:
    routers = [world.router(), world.router()]
    for router in routers:
        await router.start()
    ids = [await world.submit(world.trade(100)) for _ in range(20)]
    for _ in range(3):
        for router in routers:
            await router.catch_up()
        for router in routers:
            await router.turn()
    await world.fill_ready()
    for router in routers:
        await world.turn(router)
    assert sorted(world.ended) == sorted(ids)
