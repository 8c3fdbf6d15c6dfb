"""Money between two chains in memory: every way a bridge can go, to the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sep_ray.adapters.memory.bridge import Family, Knobs
from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.departing import Departer
from sep_ray.engine.finality import FinalityRule
from sep_ray.execution.ports import Head
from sep_ray.intent.states import Reason
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.portfolio.ledger import Bucket
from sep_ray.settlement.choice import State
from sep_ray.settlement.transfer import TransferStatus
from tests.fixtures.bridging import DOLLAR, FAR, NEAR, assets
from tests.fixtures.two_chains import DEPTH, TwoChains

USDC, FAR_USDC = assets(NEAR)[2], assets(FAR)[2]
WETH, FAR_WETH = assets(NEAR)[1], assets(FAR)[1]
HELD = {NEAR: {"USDC": 50_000 * DOLLAR}, FAR: {"USDC": 1_000 * DOLLAR}}
SENT = 10_000 * DOLLAR
S = TransferStatus


async def crossing(family: Family, **knobs: object) -> TwoChains:
    world = TwoChains({"twin": (family, Knobs(**knobs))})  # type: ignore[arg-type]  # knobs by name
    await world.ready(HELD)
    await world.bridge(USDC, FAR_USDC, SENT)
    return world


@pytest.mark.parametrize("family", Family)
async def test_p8_money_goes_over_to_the_unit(family: Family) -> None:
    world = await crossing(family)
    arrived = await world.until(S.ARRIVED)
    assert arrived.departed == SENT
    assert arrived.arrived == SENT - SENT * 500 // 1_000_000
    step = await world.store.step(world.steps[0])
    assert (step.status, step.final) == (StepStatus.DONE, True)
    assert (step.sold, step.bought) == (SENT, arrived.arrived)
    assert await world.units(USDC) == 40_000 * DOLLAR
    assert await world.units(FAR_USDC) == 1_000 * DOLLAR + arrived.arrived
    await world.tick(3)
    await world.check()


async def test_p8_in_flight_is_seen_while_it_lasts() -> None:
    world = await crossing(Family.FILL, latency_s=10)
    await world.until(S.IN_FLIGHT)
    assert await world.units(USDC, Bucket.IN_FLIGHT) == SENT
    assert await world.units(USDC, Bucket.RESERVED) == 0
    await world.check()


async def test_p4_a_departure_is_journalled_before_it_is_sent() -> None:
    world = await crossing(Family.FILL)
    world.chains[NEAR].room = 0
    transfer = await world.until(S.DEPARTURE_SIGNED)
    attempt = await world.store.attempt(transfer.departure_id)
    assert attempt.signed
    rows = await world.store.stream(transfer.stream_id)
    kinds = [type(row.event).__name__ for row in rows]
    assert kinds == ["TransferPlanned", "TransferReserved", "DepartureSigned"]
    assert await world.units(USDC, Bucket.RESERVED) == SENT
    world.chains[NEAR].room = 1_000
    await world.until(S.ARRIVED)
    await world.check()


async def test_nobody_fills_and_it_comes_back() -> None:
    world = await crossing(Family.FILL, completes=False, fill_s=15, refund_s=5)
    due = await world.until(S.EXPIRED_REFUND_DUE)
    assert due.refund_due
    assert await world.units(USDC, Bucket.REFUND_DUE) == SENT
    await world.check()
    back = await world.until(S.REFUNDED)
    assert back.refunded == SENT
    step = await world.store.step(world.steps[0])
    assert (step.status, step.reason) == (StepStatus.FAILED, Reason.REFUNDED)
    assert await world.units(USDC) == 50_000 * DOLLAR
    await world.tick(2)
    await world.check()


async def test_a_slow_fill_is_an_arrival() -> None:
    world = await crossing(Family.FILL, completes=False, slow_after_s=5)
    await world.until(S.SLOW_FILL)
    await world.until(S.ARRIVED)
    await world.check()


async def test_p6_witnesses_that_are_silent_end_nothing() -> None:
    world = await crossing(Family.ATTESTED, completes=False)
    await world.until(S.DELAYED)
    world.bridges["twin"].knobs.completes = True
    await world.until(S.ARRIVED)
    await world.check()


async def test_an_attestation_that_expired_is_signed_again() -> None:
    world = await crossing(Family.ATTESTED, valid_s=2)
    world.chains[FAR].room = 0
    await world.until(S.ARRIVAL_SENT)
    await world.tick(4)
    world.chains[FAR].room = 1_000
    world.bridges["twin"].knobs.valid_s = 1_000
    arrived = await world.until(S.ARRIVED)
    kinds = await events(world)
    assert "ArrivalVoid" in kinds, "the first claim came too late"
    assert arrived.claims == 2
    await world.check()


async def test_a_third_party_mints_first() -> None:
    world = await crossing(Family.ATTESTED)
    world.chains[FAR].room = 0
    await world.until(S.ARRIVAL_SENT)
    world.bridges["twin"].knobs.third_party = True
    await world.until(S.ARRIVAL_INCLUDED)
    world.chains[FAR].room = 1_000
    await world.until(S.ARRIVED)
    await world.tick(6)
    await world.check()


async def events(world: TwoChains) -> list[str]:
    """Return what happened to the newest transfer."""
    newest = (await world.transfers())[-1]
    return [type(row.event).__name__ for row in await world.store.stream(newest.stream_id)]


async def test_a_run_that_failed_is_redeemed_by_us() -> None:
    world = await crossing(Family.PUSHED, runs=False)
    await world.until(S.ARRIVED)
    assert "RedeemNeeded" in await events(world)
    await world.check()


async def test_a_paused_target_delays_and_then_asks_for_a_person() -> None:
    world = TwoChains({"twin": (Family.ATTESTED, Knobs())})
    await world.ready(HELD)
    world.bridges["twin"].pause(FAR, True)
    await world.tick()
    await world.bridge(USDC, FAR_USDC, SENT)
    await world.until(S.DELAYED)
    stuck = await world.until(S.NEEDS_OPERATOR, seconds=200)
    assert "paused" in stuck.detail
    step = await world.store.step(world.steps[0])
    assert (step.status, step.reason) == (StepStatus.FAILED, Reason.NEEDS_OPERATOR)
    await world.check()


async def test_another_asset_is_credited_as_what_it_is() -> None:
    world = await crossing(Family.FILL, other=FAR_WETH)
    other = await world.until(S.DELIVERED_OTHER_ASSET)
    assert other.arrived_asset == FAR_WETH
    await world.until(S.ARRIVED)
    step = await world.store.step(world.steps[0])
    assert (step.status, step.reason) == (StepStatus.FAILED, Reason.OTHER_ASSET)
    assert await world.units(FAR_WETH) == other.arrived
    await world.check()


async def test_p7_a_departure_that_is_reorganised_is_sent_again() -> None:
    world = await crossing(Family.FILL, latency_s=8)
    await world.until(S.DEPARTURE_INCLUDED)
    world.chains[NEAR].reorganise(1)
    await world.until(S.ARRIVED)
    names = [
        type(r.event).__name__
        for r in await world.store.stream((await world.transfers())[-1].stream_id)
    ]
    assert "DepartureWithdrawn" in names
    await world.check()


async def test_p7_a_confirmed_departure_that_is_reorganised_is_sent_again() -> None:
    world = await crossing(Family.FILL, latency_s=8)
    await world.until(S.IN_FLIGHT)
    world.chains[NEAR].reorganise(2)
    await world.until(S.ARRIVED)
    assert len(await world.transfers()) == 1
    await world.check()


async def test_p7_an_arrival_that_is_reorganised_is_taken_back() -> None:
    world = await crossing(Family.FILL)
    credited = await world.until(S.ARRIVAL_INCLUDED)
    world.chains[FAR].reorganise(2)
    await world.until(S.ARRIVED)
    names = [type(r.event).__name__ for r in await world.store.stream(credited.stream_id)]
    assert names.count("ArrivalIncluded") == 2
    assert "ArrivalWithdrawn" in names
    await world.check()


async def test_p7_a_false_hash_takes_no_arrival_back() -> None:
    world = await crossing(Family.FILL)
    credited = await world.until(S.ARRIVAL_INCLUDED)
    assert credited.arrival is not None
    number, honest = credited.arrival.block_number, world.chains[FAR].headers
    lies = 0

    async def lying(numbers: Sequence[int]) -> tuple[Head | None, ...]:
        nonlocal lies
        lies += number in numbers
        return tuple(
            replace(h, hash="0x" + "ee" * 32) if h is not None and h.number == number else h
            for h in await honest(numbers)
        )

    await world.tick()  # a block stands on it
    world.chains[FAR].headers = lying  # type: ignore[method-assign]
    await world.until(S.ARRIVED)
    assert lies
    names = [type(r.event).__name__ for r in await world.store.stream(credited.stream_id)]
    assert "ArrivalWithdrawn" not in names
    await world.check()


@pytest.mark.parametrize(("units", "blocks"), [(100 * DOLLAR, 2), (SENT, 6)])
async def test_p7_confirmations_of_an_arrival_scale_with_its_worth(units: int, blocks: int) -> None:
    """One more for every 2,000 dollars: the step rests on a large arrival later."""
    world = TwoChains({"twin": (Family.FILL, Knobs())})
    world.finality = FinalityRule(
        confirmations=2, value_step=2_000 * DOLLAR, most=20, reorg_depth=DEPTH
    )
    world.start("first")
    await world.ready(HELD)
    await world.bridge(USDC, FAR_USDC, units)
    credited = await world.until(S.ARRIVAL_INCLUDED)
    assert credited.arrival is not None
    while not (await world.store.step(world.steps[0])).final:
        await world.tick()
    head = world.chains[FAR].newest.head
    assert head.number - credited.arrival.block_number == blocks
    await world.until(S.ARRIVED)
    assert world.chains[FAR].newest.head.number - credited.arrival.block_number >= DEPTH
    await world.check()


async def test_a_departure_that_reverts_gives_the_money_back() -> None:
    """It is tried again as another transfer; the first is abandoned."""
    world = await crossing(Family.FILL)
    world.chains[NEAR].room = 1
    await world.until(S.DEPARTURE_SIGNED)
    await world.tick()
    allowed = world.chains[NEAR].newest.after.allowed
    for key in allowed:
        allowed[key] = 0
    world.chains[NEAR].room = 1_000
    await world.until(S.ARRIVED)
    assert [each.status for each in await world.transfers()] == [S.ABANDONED, S.ARRIVED]
    await world.check()


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    "when", [S.DEPARTURE_SIGNED, S.DEPARTURE_INCLUDED, S.IN_FLIGHT, S.ARRIVAL_INCLUDED]
)
async def test_p11_processes_killed_at_a_state_go_on_from_there(
    family: Family, when: TransferStatus
) -> None:
    world = await crossing(family)
    if when is S.DEPARTURE_SIGNED:
        world.chains[NEAR].room = 0
    await world.until(when)
    world.working = False
    await world.tick(5)
    world.chains[NEAR].room = 1_000
    world.working = True
    world.start("second")
    await world.until(S.ARRIVED)
    assert len(await world.transfers()) == 1
    await world.tick(3)
    await world.check()


async def test_p8_the_audit_leaves_arrivals_to_the_settlement() -> None:
    """The settlement is dead for long: no breach, no foreign money, no double credit."""
    world = await crossing(Family.FILL)
    await world.until(S.IN_FLIGHT)
    manager, world.manager = world.manager, _Dead()  # type: ignore[assignment]  # nobody there
    await world.tick(20)
    world.manager = manager
    await world.until(S.ARRIVED)
    await world.tick(2)
    await world.check()
    assert not any(lane.breached for e in world.executors.values() for lane in e.lanes)


async def test_p8_an_arrival_booked_while_the_audit_looks_is_credited_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await crossing(Family.FILL)
    await world.until(S.IN_FLIGHT)
    manager, world.manager = world.manager, _Dead()  # type: ignore[assignment]  # nobody there
    read = world.store.account_units

    async def overtaken(chain_id: ChainId, account: str) -> dict[Asset, int]:
        """Answer what was true before the settlement's turn, which ends first."""
        units: dict[Asset, int] = await read(chain_id, account)
        if chain_id == FAR:
            await manager.turn()
        return units

    monkeypatch.setattr(world.store, "account_units", overtaken)
    await world.tick(12)
    monkeypatch.undo()
    world.manager = manager
    arrived = await world.until(S.ARRIVED)
    await world.tick(3)
    await world.check()
    assert await world.units(FAR_USDC) == 1_000 * DOLLAR + (arrived.arrived or 0)
    assert not any(lane.breached for e in world.executors.values() for lane in e.lanes)


async def test_p9_a_cap_holds_though_the_choice_was_made_on_old_facts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every choice believes the bridge empty: the commit knows better, and the step waits."""

    async def empty(departer: Departer) -> State:
        return State(now=world.clock.now())

    monkeypatch.setattr(Departer, "_state", empty)
    world = TwoChains({"twin": (Family.FILL, Knobs(latency_s=8))})
    twin = world.bridges["twin"]
    twin.traits = replace(twin.traits, caps={USDC: SENT + SENT // 2})
    await world.ready(HELD)
    for _ in range(2):
        await world.bridge(USDC, FAR_USDC, SENT)
    most = 0
    for _ in range(40):
        await world.tick()
        most = max(most, sum(each.exposed for each in await world.transfers()))
    assert most == SENT
    assert [each.status for each in await world.transfers()] == [S.ARRIVED, S.ARRIVED]
    await world.check()


async def test_p2_what_no_bridge_ever_serves_ends_at_once() -> None:
    world = TwoChains({"twin": (Family.FILL, Knobs())})
    await world.ready(HELD)
    await world.bridge(USDC, FAR_WETH, SENT)
    await world.tick(2)
    step = await world.store.step(world.steps[0])
    assert (step.status, step.reason) == (StepStatus.FAILED, Reason.NO_BRIDGE)
    assert "twin: no offer: pair" in step.detail
    await world.check()


class _Dead:
    async def turn(self) -> int:
        return 0
