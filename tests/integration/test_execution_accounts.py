"""Three accounts on a real chain: work is spread, units come together, each is exact to the wei."""

from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.executor import ChainExecutor
from sep_ray.engine.lane import LaneState
from sep_ray.execution.attempt import Purpose
from tests.integration.test_execution_swaps import SIGNER, desk

SIGNERS = [SIGNER, LocalSigner(b"\x32" * 32), LocalSigner(b"\x33" * 32)]


async def test_p8_three_accounts_share_the_work_of_a_real_chain(new_chains):
    pair = new_chains()
    for signer in SIGNERS[1:]:
        pair.fund(1, signer.address, ETH=10**19, WETH=5 * 10**18)
    async with desk(pair) as at:
        await at.executor._leadership.release()
        at.executor = ChainExecutor(
            at.world,
            at.store,
            SIGNERS,
            at.rules,
            clock=at.clock,
            steady=at.clock,
            ids=at.ids,
            holder="three",
        )
        await at.executor.start()
        assert {lane.state for lane in at.executor.status().lanes} == {LaneState.READY}
        steps = []
        for _ in range(6):
            steps.append(await at.add("WETH", "USDC", 10**18))
            await at.executor.turn()
        await at.journal.allocate(at.asset("WETH"), 10**19, "desk")
        whole = await at.add("WETH", "USDC", 53 * 10**18)
        await at.tick(8)
        for step_id in (*steps, whole):
            assert (await at.store.step(step_id)).status is StepStatus.DONE
        attempts = await at.store.attempts_of([*steps, whole])
        swaps = {a.account for a in attempts if a.purpose is Purpose.SWAP}
        assert swaps == {signer.address for signer in SIGNERS}
        assert any(a.purpose is Purpose.TRANSFER for a in attempts)
        head = await at.world.chain.head()
        for signer in SIGNERS:
            held = await at.world.accounts.state(signer.address, at.rules.assets, head)
            booked = await at.store.account_units(at.chain_id, signer.address)
            assert held.units == {asset: booked.get(asset, 0) for asset in held.units}
