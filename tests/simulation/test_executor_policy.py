"""Limits and halts in a working executor: what waits, what ends, what is never sent (P9, P10)."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sep_ray.decomposition.step import StepFailed, StepHeld, StepStatus
from sep_ray.engine.gate import GuardedSigner, NotCleared
from sep_ray.engine.risk import RiskDesk
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.intent.states import Reason
from sep_ray.journal.records import Commit
from sep_ray.kernel.errors import Transient
from sep_ray.policy.halts import Halt, Mode, Scope
from sep_ray.policy.limits import Kind, Limit, Listed, Measure, Subject
from sep_ray.policy.usage import Reservation
from tests.fixtures.execution import CHAIN, DOLLAR, ETHER, USDC, WETH, Sim, shock

MINUTE = 60_000


@pytest.fixture
async def sim():
    sim = Sim()
    await sim.ready()
    return sim


def limit(kind=Kind.TRANSACTION, amount=0, measure=Measure.VALUE, **fields):
    window = MINUTE if kind is Kind.WINDOW else None
    made = Limit(id="one", kind=kind, measure=measure, amount=amount, window_ms=window)
    return replace(made, **fields)


async def set_limit(sim, made):
    await RiskDesk(sim.store, sim.clock).set_limit(made, "rita")
    await sim.tick()


async def halt(sim, scope=Scope.ALL, target="", mode=Mode.HALTED):
    made = Halt(
        id=sim.ids.next(),
        scope=scope,
        target=target,
        mode=mode,
        why="test",
        principal="rita",
        at=sim.clock.now(),
    )
    await RiskDesk(sim.store, sim.clock).halt(made)
    return made


async def events(sim, step_id, kind):
    rows = await sim.store.stream(f"step/{step_id}")
    return [row.event for row in rows if isinstance(row.event, kind)]


async def test_p9_a_step_beyond_a_transactions_limit_ends_with_its_code(sim):
    await set_limit(sim, limit(amount=3_000 * DOLLAR))
    small, large = await sim.add(ETHER), await sim.add(2 * ETHER)
    await sim.executor.turn()
    assert (await sim.step(small)).status is StepStatus.WORKING
    failed = await sim.step(large)
    assert (failed.status, failed.reason) == (StepStatus.FAILED, Reason.POLICY_DENIED)
    (event,) = await events(sim, large, StepFailed)
    assert event.detail.startswith("transaction_limit by one: ")
    await sim.settle()
    await sim.check()


async def test_p9_a_full_window_makes_steps_wait_until_it_frees_itself(sim):
    await set_limit(sim, limit(Kind.WINDOW, 3_000 * DOLLAR))
    first, second = await sim.add(ETHER), await sim.add(ETHER)
    await sim.executor.turn()
    assert (await sim.step(second)).status is StepStatus.READY
    await sim.tick(3)
    (held,) = await events(sim, second, StepHeld)
    assert held.code == "window_limit"
    assert MINUTE <= held.until - sim.clock.now() + 4_000 <= MINUTE + 2_000
    await sim.tick(63)
    assert (await sim.step(first)).status is StepStatus.DONE
    assert (await sim.step(second)).status is StepStatus.DONE


async def test_p9_what_reverted_is_given_back(sim):
    await set_limit(sim, limit(Kind.TOTAL, 5_000 * DOLLAR))
    await sim.add(ETHER)
    await sim.executor.turn()
    (taken,) = (await sim.store.limit_usage(["one"]))["one"]
    assert 1_900 * DOLLAR < taken.amount < 2_100 * DOLLAR
    await sim.settle()
    (kept,) = (await sim.store.limit_usage(["one"]))["one"]
    assert kept == taken
    again = await sim.add(ETHER)
    await sim.executor.turn()
    sim.chain.newest.after.allowed.clear()
    await sim.tick()
    reverted = [a for a in await sim.attempts() if a.status is AttemptStatus.REVERTED]
    assert reverted or (await sim.step(again)).status is StepStatus.DONE


async def test_p9_unlisted_contracts_are_not_called_and_not_approved(sim):
    subject = Subject(chain_id=CHAIN)
    listing = limit(Kind.LIST, measure=Measure.MEMBERS, subject=subject, listed=Listed.CONTRACTS)
    await set_limit(sim, listing)
    step = await sim.add()
    await sim.settle()
    failed = await sim.step(step)
    assert failed.reason is Reason.POLICY_DENIED
    assert failed.detail.startswith("contract_not_listed by one")
    assert await sim.attempts() == []


async def test_p9_the_signer_refuses_what_was_not_cleared(sim):
    (lane,) = sim.executor.lanes
    assert isinstance(lane.signer, GuardedSigner)
    fields = Unsigned(
        chain_id=CHAIN,
        nonce=0,
        call=Call(to=lane.account),
        gas_limit=21_000,
        max_fee_wei=1,
        tip_wei=0,
    )
    with pytest.raises(NotCleared, match="not_cleared"):
        await lane.signer.sign([fields])


async def used(sim):
    return sum(slot.amount for slot in (await sim.store.limit_usage(["one"])).get("one", ()))


def signer_of(sim, sign):
    """Let this sign in the place of the account's signer, behind the guard."""
    guard = sim.executor.lanes[0].signer
    inner, guard._inner = guard._inner, SimpleNamespace(sign=sign)
    return inner


async def test_p9_who_is_second_to_a_limit_signs_nothing(sim, monkeypatch):
    await set_limit(sim, limit(Kind.TOTAL, 3_000 * DOLLAR))
    await sim.add(ETHER)
    lease = await sim.store.acquire("another", "another", MINUTE)
    read, signed = sim.store.limit_usage, []

    async def overtaken(names):
        found = await read(names)
        share = Reservation(
            attempt_id=sim.ids.next(),
            limit_id="one",
            kind=Kind.TOTAL,
            measure=Measure.VALUE,
            slot=0,
            amount=2_500 * DOLLAR,
            since=0,
            bound=None,
            lane="another",
        )
        taken = Commit(at=sim.clock.now(), appends=(), fence=lease.fence, reservations=(share,))
        await sim.store.commit(taken)
        return found

    async def sign(batch):
        signed.extend(batch)
        return await inner.sign(batch)

    inner = signer_of(sim, sign)
    monkeypatch.setattr(sim.store, "limit_usage", overtaken)
    assert await sim.executor.turn() == 0
    assert signed == []
    assert await sim.attempts() == []


async def test_p9_shares_are_booked_when_signing_begins_and_come_back_when_it_fails(sim):
    await set_limit(sim, limit(Kind.TOTAL, 3_000 * DOLLAR))
    step = await sim.add(ETHER)
    seen = []

    async def sign(batch):
        seen.append(await used(sim))
        if len(seen) == 1:
            raise Transient("the signer is away")
        return await inner.sign(batch)

    inner = signer_of(sim, sign)
    assert await sim.executor.turn() == 0
    assert await used(sim) == seen[0] > 1_900 * DOLLAR
    await sim.settle()
    assert (await sim.step(step)).status is StepStatus.DONE
    assert await used(sim) == seen[1] == seen[0]
    await sim.check()


async def test_p9_what_was_booked_before_a_crash_is_free_for_who_leads_next(sim):
    await set_limit(sim, limit(Kind.TOTAL, 3_000 * DOLLAR))
    step = await sim.add(ETHER)

    async def dies(batch):
        raise asyncio.CancelledError

    signer_of(sim, dies)
    with pytest.raises(asyncio.CancelledError):
        await sim.executor.turn()
    assert await used(sim) > 1_900 * DOLLAR
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("second")
    await sim.executor.start()
    await sim.settle()
    assert (await sim.step(step)).status is StepStatus.DONE
    assert 1_900 * DOLLAR < await used(sim) < 2_100 * DOLLAR


async def test_p9_nothing_is_signed_under_limits_that_have_moved_on(sim):
    signed = []

    async def sign(batch):
        signed.extend(batch)
        return await inner.sign(batch)

    inner = signer_of(sim, sign)
    await sim.add(ETHER)
    await RiskDesk(sim.store, sim.clock).set_limit(limit(amount=DOLLAR), "rita")
    assert await sim.executor.turn() == 0
    assert signed == []
    await sim.tick()
    assert signed == []
    assert await sim.attempts() == []


@pytest.mark.parametrize(
    ("scope", "target"), [(Scope.ALL, ""), (Scope.CHAIN, "1"), (Scope.STRATEGY, "desk")]
)
async def test_p10_nothing_is_sent_while_halted_and_all_goes_on_after(sim, scope, target):
    placed = await halt(sim, scope, target)
    step = await sim.add()
    await sim.tick(5)
    assert await sim.attempts() == []
    assert (await sim.step(step)).status is StepStatus.READY
    await RiskDesk(sim.store, sim.clock).release(placed.id, "ruth", "")
    await sim.settle()
    await sim.check()


async def test_p10_a_word_is_enough_and_lapses_when_nothing_durable_follows(sim):
    made = Halt(
        id=sim.ids.next(),
        scope=Scope.ALL,
        target="",
        mode=Mode.HALTED,
        why="",
        principal="rita",
        at=sim.clock.now(),
    )
    sim.executor.halts.tell(made)
    await sim.add()
    assert await sim.executor.turn() == 0
    await sim.tick(5)
    assert await sim.attempts() == []
    await sim.tick(20)
    assert (await sim.attempts())[0].status is AttemptStatus.FINAL


async def test_p10_what_is_in_flight_is_neither_sent_again_nor_raised(sim):
    sim.chain.room = 0
    step = await sim.add()
    await sim.executor.turn()
    placed = await halt(sim)
    await sim.tick()
    sim.chain.pool.clear()
    await sim.tick(8)
    assert sim.chain.pool == {}
    assert all(len(attempt.signed) == 1 for attempt in await sim.attempts())
    await RiskDesk(sim.store, sim.clock).release(placed.id, "ruth", "")
    sim.chain.room = 1_000
    await sim.settle(20)
    assert (await sim.step(step)).status is StepStatus.DONE
    await sim.check()


async def test_p10_reducing_lets_only_what_gives_exposure_back_through(sim):
    await halt(sim, mode=Mode.REDUCING)
    selling = await sim.add(ETHER, sell=WETH, buy=USDC)
    buying = await sim.add(900 * DOLLAR, sell=USDC, buy=WETH)
    await sim.settle()
    assert (await sim.step(selling)).status is StepStatus.DONE
    assert (await sim.step(buying)).status is StepStatus.READY


async def test_p10_other_strategies_go_on_behind_many_halted_steps(sim):
    await halt(sim, Scope.STRATEGY, "desk")
    await sim.allocate(USDC, 0, "other")
    for _ in range(sim.rules.round_size + 5):
        await sim.add(ETHER // 100, priority=9.0)
    await sim.tick()
    await sim._book().allocate(WETH, 0, "other")
    assert await sim.attempts() == []


async def test_p9_gas_has_a_budget_and_counts_as_paid(sim):
    await set_limit(sim, limit(Kind.TOTAL, 10**18, Measure.GAS))
    await sim.add()
    await sim.executor.turn()
    before = sum(s.amount for s in (await sim.store.limit_usage(["one"]))["one"])
    await sim.settle()
    paid = sum(
        a.inclusion.gas_used * a.inclusion.gas_price_wei
        for a in await sim.attempts()
        if a.purpose in (Purpose.SWAP, Purpose.APPROVAL)
    )
    after = sum(s.amount for s in (await sim.store.limit_usage(["one"]))["one"])
    assert after == paid < before


async def test_p9_a_drawdown_stops_buying_and_survives_a_restart(sim):
    subject = Subject(strategy_id="desk")
    await set_limit(sim, limit(Kind.DRAWDOWN, 50_000, Measure.PPM, subject=subject))
    buying = await sim.add(900 * DOLLAR, sell=USDC, buy=WETH)
    await sim.settle()
    assert (await sim.step(buying)).status is StepStatus.DONE
    before = (await sim.store.marks(["desk"]))["desk"]
    shock(sim, 70)
    await sim.tick(2)
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("second")
    await sim.executor.start()
    after = (await sim.store.marks(["desk"]))["desk"]
    assert after.high_profit >= before.high_profit
    assert after.profit < before.profit
    more = await sim.add(900 * DOLLAR, sell=USDC, buy=WETH)
    selling = await sim.add(ETHER, sell=WETH, buy=USDC)
    await sim.settle()
    assert (await sim.step(more)).detail.startswith("drawdown by one: ")
    assert (await sim.step(selling)).status is StepStatus.DONE
