"""Nonces that others use, that nodes forget, and chains that go back: recovered without a person.

Where the chain shows no evidence within bounds, a named person decides, and nothing is invented.
"""

from typing import Any

import pytest

from sep_ray.adapters.memory.contracts import MemorySigner
from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.lane import LaneState
from sep_ray.engine.operating import resolve_attempt, resume_lane
from sep_ray.execution.attempt import (
    AttemptResolved,
    AttemptStatus,
    AttemptWatched,
    Purpose,
)
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.portfolio.events import FundsObserved, LaneResumed
from sep_ray.portfolio.ledger import InsufficientBalance
from tests.fixtures.execution import (
    ACCOUNT,
    CHAIN,
    COIN,
    DOLLAR,
    ETHER,
    USDC,
    WETH,
    Sim,
    bounded,
)

OTHER = "0x" + "ee" * 20


async def _foreign(sim, nonce, call=None):
    """Somebody else with our key."""
    tx = Unsigned(
        chain_id=CHAIN,
        nonce=nonce,
        call=call or Call(to=OTHER, value_wei=3),
        gas_limit=100_000,
        max_fee_wei=10**12,
        tip_wei=10**11,
    )
    await sim.chain.send(await MemorySigner(ACCOUNT).sign([tx]))


def _state(sim):
    return sim.executor.status().lanes[0].state


async def _observed(sim):
    rows = await sim.store.tail(0, 100_000, 0.0)
    return [r.event for r in rows if isinstance(r.event, FundsObserved)]


async def test_a_nonce_that_somebody_else_used_while_idle_is_skipped_and_booked():
    sim = Sim()
    await sim.ready()
    for nonce in range(3):
        await _foreign(sim, nonce)
    await sim.tick()
    assert _state(sim) == LaneState.READY
    assert [e.asset for e in await _observed(sim) if e.units < 0] == [COIN] * 3
    step_id = await sim.add()
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    assert sorted(a.nonce for a in await sim.attempts()) == [3, 4]
    await sim._check_ledger()


async def test_tokens_that_somebody_else_sent_with_our_key_are_booked_if_the_treasury_bears_it():
    sim = Sim()
    await sim.ready()
    sim.chain.fund(ACCOUNT, USDC.address, 50 * DOLLAR)
    await sim.tick()
    call = sim.executor._world.calls.transfer(USDC.address, OTHER, 20 * DOLLAR)
    await _foreign(sim, 0, call)
    await sim.tick()
    assert _state(sim) == LaneState.READY
    await sim._check_ledger()
    await _foreign(sim, 1, sim.executor._world.calls.transfer(WETH.address, OTHER, ETHER))
    await sim.tick(2 + sim.rules.patience_blocks)
    assert _state(sim) == LaneState.BREACHED  # a strategy's money: that is for a person to decide


async def test_p7_a_strangers_transaction_that_is_reorganised_away_is_withdrawn():
    sim = Sim()
    await sim.ready()
    await _foreign(sim, 0)
    await sim.tick()
    sim.chain.reorganise(1)
    await sim.executor.on_head(sim.chain.newest.head)
    assert sum(e.units for e in await _observed(sim) if "by others" in e.evidence) == 0
    assert _state(sim) == LaneState.READY
    await sim._check_ledger()
    step_id = await sim.add()
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    assert sorted(a.nonce for a in await sim.attempts()) == [0, 1, 2]  # the first fills the gap
    await sim._check_ledger()


async def test_p6_a_receipt_that_is_lost_is_found_by_what_used_the_nonce():
    sim: Any = Sim()
    await sim.ready()
    step_id = await sim.add()
    await sim.executor.turn()

    async def none(hashes):
        return tuple(None for _ in hashes)

    real, sim.chain.receipts = sim.chain.receipts, none
    await sim.tick(2)
    sim.chain.receipts = real
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.settle()
    await sim.check()


async def _undecided(sim):
    """Have a chain that used our nonces and shows neither receipts nor what used them."""
    await sim.ready()
    step_id = await sim.add()
    await sim.executor.turn()

    async def none(hashes):
        return tuple(None for _ in hashes)

    async def nothing(account, first, last):
        return ()

    sim.real = sim.chain.receipts, sim.chain.sent_by
    sim.chain.receipts, sim.chain.sent_by = none, nothing
    sim.chain.pool.clear()
    await _foreign(sim, 0)
    await _foreign(sim, 1)
    await sim.tick(10)
    return step_id


async def test_p6_where_the_chain_shows_nothing_a_person_is_asked_with_the_exact_evidence():
    sim = Sim()
    await _undecided(sim)
    approval, swap = await sim.attempts()
    assert {approval.status, swap.status} == {AttemptStatus.NEEDS_OPERATOR}
    assert approval.newest.tx_hash in approval.detail
    assert "nonce 0 of" in approval.detail
    assert await sim.available(WETH) == 499 * ETHER  # the reserve stays until somebody decides


async def test_p6_evidence_that_turns_up_later_decides_by_itself():
    sim: Any = Sim()
    step_id = await _undecided(sim)
    sim.chain.receipts, sim.chain.sent_by = sim.real
    await sim.settle(16)
    attempts = await sim.attempts()
    assert [a.status for a in attempts[:2]] == [AttemptStatus.DROPPED] * 2
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim._check_ledger()


async def test_a_named_person_gives_an_undecided_attempt_up_or_looks_again():
    sim: Any = Sim()
    step_id = await _undecided(sim)
    approval, swap = await sim.attempts()
    again = AttemptWatched(principal="ann", detail="the node was resyncing")
    looked = await resolve_attempt(sim.store, sim.clock, approval.id, again, 3)
    assert looked.status is AttemptStatus.BROADCAST
    word = AttemptResolved(principal="ann", detail="never left our network")
    gone = await resolve_attempt(sim.store, sim.clock, swap.id, word, 3)
    assert gone.status is AttemptStatus.DROPPED
    assert (await sim.step(step_id)).status is StepStatus.READY
    assert await sim.available(WETH) == 500 * ETHER
    with pytest.raises(Rejected, match="does not wait"):
        await resolve_attempt(sim.store, sim.clock, swap.id, word, 3)
    await sim.tick()
    assert swap.id not in sim.executor.lanes[0].attempts
    sim.chain.receipts, sim.chain.sent_by = sim.real
    await sim.settle(16)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim._check_ledger()


async def test_p6_evidence_that_nobody_gives_is_waited_for():
    sim: Any = Sim()
    await sim.ready()
    await sim.add()
    await sim.executor.turn()
    sim.chain.pool.clear()

    async def broken(account, first, last):
        raise Transient("timeout")

    real, sim.chain.sent_by = sim.chain.sent_by, broken
    await _foreign(sim, 0)
    await sim.tick(2)
    assert _state(sim) == LaneState.UNSETTLED
    sim.chain.sent_by = real
    await sim.settle(16)
    assert _state(sim) == LaneState.READY
    await sim._check_ledger()


# Chains that go back


@pytest.mark.parametrize("blocks", [1, 4, 10])
async def test_p7_a_node_restored_from_an_older_state_is_followed_and_made_whole(blocks):
    sim = Sim(bounded(reorg_depth=12))
    await sim.ready()
    await sim.tick(4)
    steps = []
    for _ in range(4):
        steps.append(await sim.add())
        await sim.executor.turn()
        await sim.tick(2)
    sim.clock.advance(1_000)
    await sim.executor.on_head(sim.chain.go_back(blocks))
    await sim._check_ledger()
    await sim.settle(20)
    for step_id in steps:
        assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()
    nonces = [a.nonce for a in await sim.attempts()]
    assert sorted(nonces) == list(range(len(nonces)))


async def test_a_new_process_on_a_node_restored_from_an_older_state_recovers_too():
    sim = Sim(bounded(reorg_depth=12))
    await sim.ready()
    await sim.tick(4)
    step_id = await sim.add()
    await sim.executor.turn()
    await sim.tick(3)
    sim.chain.go_back(3)
    sim.clock.advance(sim.rules.lease_ttl_ms)
    sim.executor = sim.new_executor("heir")
    await sim.executor.start()
    await sim.settle(20)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def _torn(sim):
    """Lose final facts: a sale that the books know and the chain does not."""
    await sim.ready()
    await sim.tick(4)
    step_id = await sim.add(2 * ETHER)
    await sim.executor.turn()
    await sim.tick(14)
    sim.clock.advance(1_000)
    await sim.executor.on_head(sim.chain.go_back(15))
    return step_id


async def test_p8_a_chain_that_lost_final_facts_waits_for_a_named_person_and_goes_on():
    sim = Sim(bounded(reorg_depth=12))
    step_id = await _torn(sim)
    bought = (await sim.step(step_id)).bought
    assert _state(sim) == LaneState.BREACHED
    await sim.tick(3)
    sim.executor = sim.new_executor("heir")
    sim.clock.advance(sim.rules.lease_ttl_ms)
    await sim.tick()
    assert _state(sim) == LaneState.BREACHED  # a restart is no decision
    word = LaneResumed(principal="ann", note="restored from backup", strategy_id="desk")
    changed = await resume_lane(sim.store, sim.clock, CHAIN, ACCOUNT, word)
    assert changed[WETH] == 2 * ETHER
    assert changed[USDC] == -bought
    await sim.tick()
    assert _state(sim) == LaneState.READY
    await sim._check_ledger()
    with pytest.raises(Rejected, match="not breached"):
        await resume_lane(sim.store, sim.clock, CHAIN, ACCOUNT, word)
    later = await sim.add()
    await sim.settle(8)
    assert (await sim.step(later)).status is StepStatus.DONE
    filled = [a for a in await sim.attempts() if a.purpose is Purpose.CANCEL]
    assert sorted(a.nonce for a in filled) == [0, 1]  # the gap below what the journal has used
    await sim._check_ledger()


async def test_p8_nobody_resumes_at_the_cost_of_who_cannot_bear_it():
    sim = Sim(bounded(reorg_depth=12))
    await _torn(sim)
    word = LaneResumed(principal="ann", note="restored", strategy_id="nobody")
    with pytest.raises(InsufficientBalance):
        await resume_lane(sim.store, sim.clock, CHAIN, ACCOUNT, word)
    await sim.tick()
    assert _state(sim) == LaneState.BREACHED
