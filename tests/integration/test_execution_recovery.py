"""A real node: strangers with our key, chains that go back, prices that move under what waits."""

import pytest

from sep_ray.adapters.evm.addresses import ETHEREUM
from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.lane import LaneState
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.intent.intent import Constraints
from sep_ray.kernel.units import Ppm
from sep_ray.portfolio.events import FundsObserved
from tests.integration.test_execution_swaps import SIGNER, STRANGER, _trade_ahead, desk

TIGHT = Constraints(max_slippage=Ppm(1_000), venues=frozenset({"uniswap-v2"}))


async def _foreign(at, nonce, call):
    tx = Unsigned(
        chain_id=ETHEREUM,
        nonce=nonce,
        call=call,
        gas_limit=200_000,
        max_fee_wei=10**12,
        tip_wei=10**11,
    )
    (verdict,) = await at.world.chain.send(await SIGNER.sign([tx]))
    return verdict


def _state(at):
    return at.executor.status().lanes[0].state


async def test_a_stranger_with_our_key_is_noticed_booked_and_worked_around(new_chains):
    async with desk(new_chains()) as at:
        await _foreign(at, 0, Call(to=STRANGER, value_wei=7))
        await _foreign(at, 1, at.world.calls.approval(at.book.usdc, STRANGER, 5))
        await at.tick()
        assert _state(at) == LaneState.READY
        rows = await at.store.tail(0, 1_000, 0.0)
        spent = [r.event for r in rows if isinstance(r.event, FundsObserved) and r.event.units < 0]
        assert len(spent) == 2
        step_id = await at.add("WETH", "USDC", 10**18)
        await at.executor.turn()
        await at.tick()
        assert (await at.store.step(step_id)).status is StepStatus.DONE
        attempts = await at.store.attempts_of([step_id])
        (swap,) = [a for a in attempts if a.purpose is Purpose.SWAP]
        assert swap.nonce == 3
        await at.reconcile()


async def test_p6_our_nonce_taken_by_a_stranger_is_told_from_the_chain(new_chains):
    async with desk(new_chains()) as at:
        step_id = await at.add("WETH", "USDC", 10**18)
        await at.executor.turn()
        at.pair.rpc(1)("anvil_dropAllTransactions")
        await _foreign(at, 0, Call(to=STRANGER, value_wei=7))
        await at.tick(4)
        approval = (await at.store.attempts_of([step_id]))[0]
        assert approval.status is AttemptStatus.DROPPED
        assert "which is not ours" in approval.detail
        await at.tick(8)
        assert (await at.store.step(step_id)).status is StepStatus.DONE
        assert _state(at) == LaneState.READY
        await at.reconcile()


@pytest.mark.parametrize("way", ["anvil_reorg", "anvil_rollback"])
async def test_p7_a_chain_that_goes_back_far_beyond_its_confirmations_is_followed(new_chains, way):
    async with desk(new_chains(), reorg_depth=12) as at:
        await at.tick(3)
        steps = []
        for _ in range(3):
            steps.append(await at.add("WETH", "USDC", 10**18))
            await at.executor.turn()
            await at.tick(3)
        assert (await at.store.step(steps[0])).final
        at.pair.rpc(1)(way, *((9, []) if way == "anvil_reorg" else (9,)))
        await at.executor.on_head(await at.world.chain.head())
        assert (await at.store.step(steps[0])).status is StepStatus.WORKING
        await at.tick(16)
        for step_id in steps:
            assert (await at.store.step(step_id)).final
        assert _state(at) == LaneState.READY
        await at.reconcile()


async def test_p3_a_swap_that_would_revert_is_planned_anew_at_its_nonce(new_chains):
    async with desk(new_chains(), stall_blocks=50, resend_blocks=50) as at:
        step_id = await at.add("WETH", "USDC", 10**18, constraints=TIGHT)
        await at.executor.turn()
        (swap,) = [a for a in await at.store.attempts_of([step_id]) if a.purpose is Purpose.SWAP]
        at.pair.rpc(1)("anvil_dropTransaction", swap.newest.tx_hash)
        await _trade_ahead(at)
        await at.tick(2)
        after = await at.store.attempt(swap.id)
        assert len(after.signed) == 2
        assert not after.newest.cancel
        await at.tick(4)
        done = await at.store.step(step_id)
        assert (done.status, done.tries) == (StepStatus.DONE, 1)
        await at.reconcile()


async def test_the_node_says_why_a_call_would_fail(new_chains):
    async with desk(new_chains()) as at:
        head = await at.world.chain.head()
        evidence, account = at.world.evidence, SIGNER.address
        much = at.world.calls.transfer(at.book.usdc, STRANGER, 10**30)
        assert "exceeds balance" in await evidence.failure(account, much, head)
        little = at.world.calls.transfer(at.book.usdc, STRANGER, 1)
        assert await evidence.failure(account, little, head) is None
        assert await evidence.sent_by(LocalSigner(b"\x77" * 32).address, 0, head.number) == ()
