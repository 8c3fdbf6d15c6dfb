"""The engine over real bridges: one journal, one ledger, no wei between it and the chains.

Each case of the fault matrix that the engine itself has a part in, on real contracts (P3, P4, P6,
P7, P8, P11).
"""

from __future__ import annotations

import pytest

from sep_ray.adapters.bridges.addresses import CCTP
from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM
from sep_ray.decomposition.step import StepStatus
from sep_ray.devnet.bridges.contracts import LIVENESS_S
from sep_ray.devnet.bridges.sequencer import CHALLENGE_S
from sep_ray.devnet.funding import act_as_bank
from sep_ray.devnet.placement import BANK
from sep_ray.devnet.rpc import call_data
from sep_ray.intent.states import Reason
from sep_ray.portfolio.ledger import Bucket
from sep_ray.settlement.transfer import TransferStatus
from tests.fixtures import engine_cases
from tests.fixtures.engine_cases import AMOUNT, KILLED_AT, SYMBOL, sent
from tests.fixtures.real_two_chains import HELD, RealTwoChains

S = TransferStatus
WINDOW_S = 4 * 3_600


@pytest.mark.parametrize("bridge", SYMBOL)
async def test_p8_a_movement_ends_to_the_wei(real_two_chains: RealTwoChains, bridge: str) -> None:
    world = real_two_chains
    await sent(world, bridge)
    arrived = await world.until(S.ARRIVED)
    step = await world.store.step(world.steps[0])
    assert step.status is StepStatus.DONE
    assert (step.sold, step.bought) == (arrived.departed, arrived.arrived)
    await world.check()


async def test_no_fill_then_refund(real_two_chains: RealTwoChains) -> None:
    world = real_two_chains
    world.servants.relayer.knobs.paused = True
    await sent(world, "across")
    await world.until(S.IN_FLIGHT)
    await world.tick(jump=WINDOW_S + 10)
    await world.until(S.EXPIRED_REFUND_DUE)
    usdc = world.asset(ETHEREUM, "USDC")
    assert await world.units(usdc, Bucket.REFUND_DUE) == AMOUNT["USDC"]
    await world.tick(jump=LIVENESS_S + 1)
    back = await world.until(S.REFUNDED)
    assert back.refunded == AMOUNT["USDC"]
    step = await world.store.step(world.steps[0])
    assert (step.status, step.reason) == (StepStatus.FAILED, Reason.REFUNDED)
    assert await world.units(usdc) == HELD["USDC"]
    await world.check()


async def test_slow_fill(real_two_chains: RealTwoChains) -> None:
    world = real_two_chains
    world.servants.relayer.knobs.paused = True
    await sent(world, "across")
    await world.until(S.IN_FLIGHT)
    await world.tick(jump=601)
    await world.until(S.SLOW_FILL)
    await world.tick(jump=LIVENESS_S + 1)
    await world.until(S.ARRIVED)
    await world.check()


async def test_p6_attester_down_for_an_hour(real_two_chains: RealTwoChains) -> None:
    world = real_two_chains
    await sent(world, "cctp")
    await world.until(S.DEPARTURE_INCLUDED)
    world.servants.services.down = frozenset({"/cctp"})
    await world.tick(6, jump=600)
    assert (await world.transfers())[-1].status is S.DELAYED
    world.servants.services.down = frozenset()
    await world.until(S.ARRIVED)
    await world.check()


async def test_third_party_mints_first(real_two_chains: RealTwoChains) -> None:
    world = real_two_chains
    world.servants.attester.knobs.strangers_mint = True
    await sent(world, "cctp")
    await world.until(S.ARRIVED)
    await world.check()


async def test_third_party_mints_while_our_claim_waits(real_two_chains: RealTwoChains) -> None:
    """Our claim reverts behind theirs: it is void, its gas is booked, the credit is one."""
    world = real_two_chains
    await sent(world, "cctp")
    await world.until(S.ARRIVAL_SENT)
    world.pair.rpc(ARBITRUM)("anvil_dropAllTransactions")
    world.servants.attester.knobs.strangers_mint = True
    world.servants.step()
    await world.until(S.ARRIVED)
    assert (await world.events()).count("ArrivalIncluded") == 1
    await world.check()


async def test_destination_paused(real_two_chains: RealTwoChains) -> None:
    world = real_two_chains
    await sent(world, "cctp")
    await world.until(S.DEPARTURE_INCLUDED)
    rpc = world.pair.rpc(ARBITRUM)

    def say(signature: str) -> None:
        act_as_bank(rpc)
        rpc.transact(
            [{"from": BANK, "to": CCTP[ARBITRUM].transmitter, "data": call_data(signature)}]
        )

    say("pause()")
    await world.until(S.DELAYED)
    say("unpause()")
    await world.until(S.ARRIVED)
    await world.check()


async def test_retryable_not_redeemed(real_two_chains: RealTwoChains) -> None:
    world = real_two_chains
    world.servants.sequencer.knobs.runs = False
    await sent(world, "arbitrum")
    await world.until(S.ARRIVED)
    assert "RedeemNeeded" in await world.events()
    await world.check()


async def test_challenge_week_by_time_jump(real_two_chains: RealTwoChains) -> None:
    world = real_two_chains
    await sent(world, "arbitrum", back=True)
    await world.until(S.IN_FLIGHT)
    await world.tick(jump=CHALLENGE_S)
    arrived = await world.until(S.ARRIVED)
    assert arrived.claims == 1
    await world.check()


async def test_p7_source_reorg_after_departure(real_two_chains: RealTwoChains) -> None:
    await engine_cases.source_reorg(real_two_chains, "across")


async def test_p7_destination_reorg_after_arrival(real_two_chains: RealTwoChains) -> None:
    await engine_cases.destination_reorg(real_two_chains, "cctp")


@pytest.mark.parametrize("when", KILLED_AT)
async def test_p11_process_killed_at_every_state(
    real_two_chains: RealTwoChains, when: TransferStatus
) -> None:
    await engine_cases.killed_at(real_two_chains, "cctp", when)
