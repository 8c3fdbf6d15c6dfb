"""What chains and other people do: reorganisations, stalls, foreign nonces, deposits, gaps."""

from dataclasses import replace

import pytest

from sep_ray.adapters.memory.contracts import MemorySigner, Transaction
from sep_ray.decomposition.step import StepCancelled, StepStatus
from sep_ray.decomposition.step import evolve as evolve_step
from sep_ray.engine.lane import LaneState
from sep_ray.execution import verdict
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.execution.fees import FeePolicy
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.execution.verdict import Refusal
from sep_ray.intent.intent import Side
from sep_ray.intent.states import Reason
from sep_ray.journal.records import Append, Commit
from sep_ray.portfolio.events import FundsObserved, LedgerBreached
from sep_ray.portfolio.ledger import TREASURY
from sep_ray.simulation.market import ACCOUNT, CHAIN, COIN, DAI, DOLLAR, ETHER, START, USDC, WETH
from tests.fixtures.execution import Sim, bounded, shock

GWEI = 10**9


async def _foreign(sim, nonce, call=None, fee=10**12):
    """Somebody else with our key."""
    tx = Unsigned(
        chain_id=CHAIN,
        nonce=nonce,
        call=call or Call(to="0x" + "ee" * 20),
        gas_limit=100_000,
        max_fee_wei=fee,
        tip_wei=fee // 2,
    )
    signed = await MemorySigner(ACCOUNT).sign([tx])
    return (await sim.chain.send(signed))[0]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("keep", [False, True])
async def test_p7_a_reorganised_fill_is_withdrawn_and_comes_back_once(depth, keep):
    """P7: the same bytes land again; the ledger follows the chain both ways."""
    sim = Sim()
    await sim.ready()
    step_id = await sim.add(2 * ETHER)
    await sim.executor.turn()
    await sim.tick(depth)
    done = await sim.step(step_id)
    assert done.status is StepStatus.DONE
    sim.chain.reorganise(depth, keep=keep)
    await sim.executor.on_head(sim.chain.newest.head)
    again = await sim.step(step_id)
    assert (again.status, again.sold, again.bought) == (StepStatus.WORKING, 0, 0)
    await sim._check_ledger()
    assert sim.state == LaneState.READY
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    assert len(await sim.attempts()) == 2
    await sim.check()


async def test_p7_a_fill_that_moved_to_another_block_is_booked_there():
    sim = Sim()
    await sim.ready()
    step_id = await sim.add(2 * ETHER)
    await sim.executor.turn()
    await sim.tick()
    sim.chain.reorganise(1, keep=True)
    sim.clock.advance(1_000)
    await sim.executor.on_head(sim.chain.mine())  # the executor never saw the empty block
    moved = await sim.step(step_id)
    assert moved.status is StepStatus.DONE
    events = [type(r.event).__name__ for r in await sim.store.stream(f"step/{step_id}")]
    assert events == ["StepCreated", "StepStarted", "StepFilled", "StepUnfilled", "StepFilled"]
    await sim._check_ledger()
    await sim.settle()
    await sim.check()


async def test_p7_a_fill_whose_proceeds_are_reserved_already_waits_for_its_second_landing():
    """The proceeds cannot be withdrawn while a later swap holds them; nothing new begins."""
    sim = Sim()
    await sim.ready()
    sale = await sim.add(10 * ETHER, buy=DAI)
    await sim.executor.turn()
    await sim.tick()
    proceeds = (await sim.step(sale)).bought
    onward = await sim.add(proceeds, sell=DAI, buy=USDC)
    await sim.executor.turn()
    sim.chain.reorganise(1)
    await sim.executor.on_head(sim.chain.newest.head)
    assert sim.state == LaneState.UNSETTLED
    third = await sim.add(ETHER)
    assert await sim.executor.turn() == 0
    await sim.settle()
    for step_id in (sale, onward, third):
        assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_p7_a_revert_that_becomes_a_fill_is_a_fill_and_no_retry_was_sent():
    """P3, P7: a purchase's retry waits until the revert is final, so there is nothing to undo."""
    sim = Sim()
    await sim.ready()
    step_id = await sim.add(2_000 * DOLLAR, side=Side.BUY)
    await sim.executor.turn()
    calm = dict(sim.chain.newest.after.pools)
    shock(sim)
    await sim.tick()
    assert (await sim.attempts())[-1].status is AttemptStatus.REVERTED
    sim.chain.blocks[-2].after.pools = calm
    sim.chain.reorganise(1, keep=True)
    await sim.executor.on_head(sim.chain.newest.head)
    await sim.settle()
    done = await sim.step(step_id)
    assert (done.status, done.tries) == (StepStatus.DONE, 1)
    assert len(await sim.attempts()) == 2
    await sim.check()


async def test_a_stalled_transaction_is_bumped_by_an_eighth_and_lands_once():
    sim = Sim()
    await sim.ready()
    step_id = await sim.add()
    sim.chain.room = 0
    await sim.executor.turn()
    await sim.tick(sim.rules.stall_blocks)
    first, second = await sim.attempts()
    assert len(first.signed) == 2
    assert len(second.signed) == 1  # it waits for the first, not for the chain
    old, new = first.signed
    assert new.max_fee_wei * 8 >= old.max_fee_wei * 9
    assert new.tip_wei * 8 >= old.tip_wei * 9
    assert not new.cancel
    sim.chain.room = 1_000
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    first = (await sim.attempts())[0]
    assert first.inclusion is not None
    assert first.inclusion.tx_hash == new.tx_hash
    await sim.check()


async def test_an_old_version_that_lands_after_all_counts():
    sim = Sim()
    await sim.ready()
    await sim.add()
    sim.chain.room = 0
    await sim.executor.turn()
    old = sim.chain.pool[ACCOUNT, 0]
    await sim.tick(sim.rules.stall_blocks)
    sim.chain.pool[ACCOUNT, 0] = old
    sim.chain.room = 1_000
    await sim.settle()
    first = (await sim.attempts())[0]
    assert first.inclusion is not None
    assert first.inclusion.tx_hash == old.tx_hash
    await sim.check()


async def test_a_fee_spike_is_followed_up_to_the_ceiling():
    sim = Sim(bounded(fees=FeePolicy(ceiling_wei=10 * GWEI)))
    await sim.ready()
    step_id = await sim.add()
    sim.clock.advance(1_000)
    await sim.executor.turn()
    await sim.executor.on_head(sim.chain.mine(base_fee_wei=8 * GWEI))
    assert (await sim.step(step_id)).status is StepStatus.WORKING
    assert all(len(a.signed) > 1 for a in await sim.attempts())
    sim.clock.advance(1_000)
    await sim.executor.on_head(sim.chain.mine(base_fee_wei=60 * GWEI))
    assert max(a.newest.max_fee_wei for a in await sim.attempts()) <= 10 * GWEI
    sim.clock.advance(1_000)
    await sim.executor.on_head(sim.chain.mine(base_fee_wei=GWEI))
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_past_its_deadline_a_stalled_swap_is_cancelled_at_its_nonce():
    sim = Sim(bounded(lifetime_ms=2_000))
    await sim.ready()
    step_id = await sim.add(window_ms=5_000)
    sim.chain.room = 1
    await sim.executor.turn()
    await sim.tick()  # the approval lands, the swap does not
    sim.chain.room = 0
    await sim.tick(6)
    swap = (await sim.attempts())[-1]
    assert swap.newest.cancel
    sim.chain.room = 10
    await sim.settle()
    swap = (await sim.attempts())[-1]
    assert swap.status is AttemptStatus.CANCELLED
    requeued = await sim.step(step_id)
    assert (requeued.status, requeued.reserved) == (StepStatus.READY, 0)
    assert await sim.available(WETH) == 500 * ETHER
    await sim.check(ended=False)


async def test_a_node_that_forgot_its_pool_is_handed_the_same_bytes_by_whoever_starts():
    """P3, P11."""
    sim = Sim()
    await sim.ready()
    await sim.add()
    await sim.executor.turn()
    before = dict(sim.chain.pool)
    sim.chain.pool.clear()
    await sim.executor._leadership.release()
    sim.executor = sim.new_executor("heir")
    await sim.executor.start()
    assert sim.chain.pool == before
    await sim.settle()
    await sim.check()


async def test_a_node_that_forgets_while_we_watch_is_handed_the_same_bytes():
    sim = Sim()
    await sim.ready()
    await sim.add()
    sim.chain.room = 0
    await sim.executor.turn()
    before = dict(sim.chain.pool)
    sim.chain.pool.clear()
    await sim.tick(sim.rules.resend_blocks)
    assert sim.chain.pool == before
    sim.chain.room = 10
    await sim.settle()
    await sim.check()


async def test_a_foreign_transaction_at_our_nonce_drops_ours_only_when_that_is_final():
    """P6: a nonce that moved is no proof; a receipt that stays missing until finality is."""
    sim = Sim()
    await sim.ready()
    step_id = await sim.add()
    await sim.executor.turn()
    sim.chain.pool.clear()
    assert await _foreign(sim, 0) == verdict.Accepted()
    await sim.tick()
    assert [a.status for a in await sim.attempts()] == [AttemptStatus.BROADCAST] * 2
    assert sim.state != LaneState.READY
    await sim.tick(2)
    approval, swap = (await sim.attempts())[:2]
    assert approval.status is AttemptStatus.DROPPED
    assert "which is not ours" in approval.detail
    assert swap.status is not AttemptStatus.DROPPED
    # The coin that the stranger burnt for gas is booked with its transaction as evidence.
    await sim.settle(14)
    assert sim.executor.status().lanes[0].state == LaneState.READY
    rows = await sim.store.tail(0, 10_000, 0.0)
    (seen,) = [r.event for r in rows if isinstance(r.event, FundsObserved) and r.event.units < 0]
    assert seen.asset == COIN
    assert "sent with this account's key by others" in seen.evidence
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim._check_ledger()


async def test_receipts_that_lag_are_waited_for():
    sim = Sim()
    await sim.ready()
    step_id = await sim.add()
    await sim.executor.turn()
    real = sim.chain.receipts

    async def none_yet(hashes):
        return tuple(None for _ in hashes)

    async def nothing_yet(account, first, last):
        return ()

    looked = sim.chain.sent_by
    sim.chain.receipts = none_yet  # type: ignore[method-assign]
    sim.chain.sent_by = nothing_yet  # type: ignore[method-assign]
    await sim.tick(2)
    assert (await sim.step(step_id)).status is StepStatus.WORKING
    sim.chain.receipts = real  # type: ignore[method-assign]
    sim.chain.sent_by = looked  # type: ignore[method-assign]
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_a_step_cancelled_in_between_leaves_a_gap_that_is_filled():
    sim = Sim()
    await sim.ready()
    steps = [await sim.add(priority=9.0 - n) for n in range(3)]
    cancelled = steps[1]
    real = sim.store.holdings

    async def meanwhile(owner=None):
        step = await sim.step(cancelled)
        if step.status is StepStatus.READY:
            event = StepCancelled(reason=Reason.CANCELLED_BY_CLIENT)
            append = Append(
                stream_id=step.stream_id,
                expected_version=step.version,
                events=(event,),
                correlation_id=step.intent_id,
            )
            moved = evolve_step(step, event)
            await sim.store.commit(Commit(at=START, appends=(append,), states=(moved,)))
        return await real(owner)

    sim.store.holdings = meanwhile
    await sim.executor.turn()
    assert sim.executor.status().lanes[0].state == LaneState.RECOVERING
    await sim.executor.turn()
    assert [tx.nonce for tx in sim.chain.pool.values()] == [0, 1, 3, 2]
    await sim.tick()
    sim.steps.remove(cancelled)
    await sim.settle()
    attempts = await sim.attempts()
    assert [a.nonce for a in attempts] == [0, 1, 2, 3]
    assert sorted(a.purpose for a in attempts) == sorted(
        [Purpose.APPROVAL, Purpose.CANCEL, Purpose.SWAP, Purpose.SWAP]
    )
    assert (await sim.step(cancelled)).status is StepStatus.CANCELLED
    await sim.check()


async def test_p12_what_no_node_takes_is_given_up_at_its_deadline_with_its_nonce():
    sim = Sim(bounded(lifetime_ms=3_000))
    await sim.ready()
    real = sim.chain.send

    async def full(signed, since=()):
        return tuple(verdict.Rejected(Refusal.POOL_FULL, "txpool is full") for _ in signed)

    sim.chain.send = full  # type: ignore[method-assign]
    step_id = await sim.add(window_ms=2_500)
    await sim.executor.turn()
    await sim.tick(8)
    expired = await sim.attempts()
    assert {a.status for a in expired} == {AttemptStatus.EXPIRED}
    assert (await sim.step(step_id)).status is StepStatus.READY
    assert await sim.available(WETH) == 500 * ETHER
    sim.chain.send = real  # type: ignore[method-assign]
    sim.steps.remove(step_id)
    later = await sim.add()
    await sim.settle()
    assert (await sim.step(later)).status is StepStatus.DONE
    assert [a.nonce for a in await sim.attempts() if a.status is AttemptStatus.FINAL] == [0, 1]
    await sim.check()


async def test_what_others_send_belongs_to_the_treasury_with_its_evidence():
    sim = Sim()
    await sim.ready()
    before = await sim.available(USDC, TREASURY)
    await sim.add()
    sim.chain.fund(ACCOUNT, USDC.address, 77 * DOLLAR)
    sim.chain.fund(ACCOUNT, USDC.address, 23 * DOLLAR)
    sim.chain.fund(ACCOUNT, COIN.address, 5)
    await sim.tick(2)
    assert sim.state == LaneState.READY
    assert await sim.available(USDC, TREASURY) == before + 100 * DOLLAR
    rows = await sim.store.tail(0, 10_000, 0.0)
    seen = [r.event for r in rows if isinstance(r.event, FundsObserved)]
    assert sorted(e.units for e in seen if e.asset == USDC)[:2] == [23 * DOLLAR, 77 * DOLLAR]
    assert all(e.evidence for e in seen)
    await sim.settle()
    await sim.check()


async def test_p7_a_reorganised_deposit_is_withdrawn():
    sim = Sim()
    await sim.ready()
    sim.chain.fund(ACCOUNT, USDC.address, 77 * DOLLAR)
    await sim.tick()
    assert await sim.available(USDC, TREASURY) == 77 * DOLLAR
    sim.chain.reorganise(1)
    await sim.executor.on_head(sim.chain.newest.head)
    assert await sim.available(USDC, TREASURY) == 0
    assert sim.state == LaneState.READY
    sim.chain.fund(ACCOUNT, USDC.address, 77 * DOLLAR)
    await sim.settle()
    assert await sim.available(USDC, TREASURY) == 77 * DOLLAR
    await sim.check()


async def test_p8_units_that_vanish_stop_the_account_and_say_so():
    sim = Sim()
    await sim.ready()
    await sim.add()
    sim.chain.newest.after.give(USDC.address, ACCOUNT, -1)
    await sim.tick()
    assert sim.executor.status().lanes[0].state == LaneState.UNSETTLED
    await sim.tick(sim.rules.patience_blocks)
    assert sim.state == LaneState.BREACHED
    rows = await sim.store.tail(0, 10_000, 0.0)
    (breach,) = [r.event for r in rows if isinstance(r.event, LedgerBreached)]
    assert (breach.asset, breach.ledger_units - breach.chain_units) == (USDC, 1)
    await sim.add()
    sent = len(await sim.attempts())
    await sim.tick(5)
    assert len(await sim.attempts()) == sent
    assert sim.executor.status().lanes[0].state == LaneState.BREACHED


async def test_p8_a_surplus_that_nobody_sent_is_a_breach_too():
    sim = Sim()
    await sim.ready()
    sim.chain.newest.after.give(USDC.address, ACCOUNT, 1)
    await sim.tick(1 + sim.rules.patience_blocks)
    assert sim.state == LaneState.BREACHED


async def test_p8_a_disagreement_that_passes_is_no_breach():
    sim = Sim()
    await sim.ready()
    sim.chain.newest.after.give(USDC.address, ACCOUNT, -1)
    await sim.tick(2)
    sim.chain.newest.after.give(USDC.address, ACCOUNT, 1)
    await sim.tick(1)
    assert sim.state == LaneState.READY
    await sim.check()


async def test_tokens_whose_allowance_must_pass_zero_get_two_approvals():
    sim = Sim(bounded(zero_first=frozenset({WETH.address})))
    await sim.ready()
    sim.chain.newest.after.allowed[WETH.address, ACCOUNT, "0x" + "70" * 20] = 5
    await sim.tick()
    step_id = await sim.add()
    await sim.settle()
    purposes = [a.purpose for a in await sim.attempts()]
    assert purposes == [Purpose.APPROVAL, Purpose.APPROVAL, Purpose.SWAP]
    assert (await sim.step(step_id)).status is StepStatus.DONE
    allowed = sim.chain.newest.after.allowed[WETH.address, ACCOUNT, "0x" + "70" * 20]
    assert allowed == 0, "approvals are exact"
    await sim.check()


async def test_an_allowance_that_a_swap_in_flight_will_use_is_not_counted_on():
    sim = Sim()
    await sim.ready()
    first = await sim.add(10 * ETHER)
    sim.chain.room = 1
    await sim.executor.turn()
    await sim.tick()  # the approval has landed, the swap it is for has not
    second = await sim.add(5 * ETHER)
    await sim.executor.turn()
    sim.chain.room = 10
    await sim.settle()
    for step_id in (first, second):
        step = await sim.step(step_id)
        assert (step.status, step.tries) == (StepStatus.DONE, 1)
    await sim.check()


async def test_many_rounds_in_flight_respect_the_bound():
    sim = Sim(bounded(max_in_flight=10, round_size=4))
    await sim.ready()
    for _ in range(30):
        await sim.add()
    sim.chain.room = 0
    await sim.executor.turn()
    assert len(sim.chain.pool) <= 10 + 1
    sim.chain.room = 1_000
    for _ in range(20):
        await sim.tick()
    await sim.settle()
    await sim.check()
    nonces = [Transaction.read(a.newest.raw).nonce for a in await sim.attempts()]
    assert nonces == list(range(len(nonces)))


async def test_a_chain_that_jumps_ahead_is_caught_up_with():
    sim = Sim()
    await sim.ready()
    step_id = await sim.add()
    await sim.executor.turn()
    for _ in range(50):
        sim.chain.mine()
    sim.clock.advance(1_000)
    await sim.tick()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    assert [a.status for a in await sim.attempts()] == [AttemptStatus.FINAL] * 2
    await sim.check()


async def test_rules_are_data():
    assert replace(bounded(), confirmations=5).assets == (COIN, WETH, USDC, DAI)
