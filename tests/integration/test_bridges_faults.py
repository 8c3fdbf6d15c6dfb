"""The fault matrix of bridges, on real contracts: each ends right, with no unit unaccounted for.

P4, P6, P7, P8. Money states follow chains alone; nothing that a service does or fails to do ends
a transfer; what is reorganised away is taken back; every balance on both chains is explained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sep_ray.adapters.bridges.addresses import (
    ARBITRUM_BRIDGE,
    CCTP,
    HUB_POOL,
    HYPERLANE,
    SPOKE_POOLS,
)
from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.devnet.bridges.accounts import RIVAL, STRANGER
from sep_ray.devnet.bridges.contracts import LIVENESS_S
from sep_ray.devnet.bridges.sequencer import CHALLENGE_S
from sep_ray.kernel.units import ChainId
from sep_ray.settlement.transfer import TransferStatus
from tests.fixtures import bridge_cases
from tests.fixtures.bridge_cases import UNITS, WINDOW_S, refunded
from tests.fixtures.chains import Pair
from tests.fixtures.real_bridging import ETHER, World, bank, world_of

HOUR = 3_600


# Across: nobody fills, the bridge fills, somebody else fills


@pytest.mark.parametrize("route", ["across", "across-back"])
async def test_p8_no_fill_then_refund(bridged: World, route: str) -> None:
    bridged.servants.relayer.knobs.paused = True
    journey = await bridged.depart(route, UNITS)
    journey.claims_held = True
    await refunded(bridged, journey)
    assert journey.transfer.refunded == UNITS


async def test_p8_two_refunds_in_one_leaf_go_to_two_transfers(bridged: World) -> None:
    bridged.servants.relayer.knobs.paused = True
    one = await bridged.depart("across", UNITS)
    two = await bridged.depart("across", 2 * UNITS)
    one.claims_held = two.claims_held = True
    bridged.pass_time(WINDOW_S + 10)
    for journey in (one, two):
        await journey.run("EXPIRED_REFUND_DUE")
    bridged.pass_time(LIVENESS_S + 1)
    for journey in (one, two):
        await journey.run("REFUNDED")
    assert (one.transfer.refunded, two.transfer.refunded) == (UNITS, 2 * UNITS)
    gone = bridged.at_start[one.transfer.source] - bridged.units(one.transfer.source)
    assert gone == 0


async def test_slow_fill(bridged: World) -> None:
    bridged.servants.relayer.knobs.paused = True
    journey = await bridged.depart("across", UNITS)
    bridged.pass_time(601)
    await journey.run("SLOW_FILL")
    bridged.pass_time(LIVENESS_S + 1)
    await journey.ends("ARRIVED")
    assert journey.transfer.arrived == journey.transfer.quoted_out


async def test_fill_by_another_relayer(bridged: World) -> None:
    bridged.servants.relayer.knobs.paused = True
    bridged.servants.rival.knobs.paused = False
    before = bridged.pair.balances(ARBITRUM, RIVAL)["USDC"]
    journey = await bridged.depart("across", UNITS)
    await journey.ends("ARRIVED")
    paid = before - bridged.pair.balances(ARBITRUM, RIVAL)["USDC"]
    assert paid == journey.transfer.arrived


async def test_wrapped_coin_that_arrives_as_coin_is_credited_as_coin(bridged: World) -> None:
    journey = await bridged.depart("across-weth", ETHER)
    await journey.run("DELIVERED_OTHER_ASSET")
    assert journey.transfer.arrived_asset != journey.transfer.target
    await journey.ends("ARRIVED")


async def test_relayers_without_liquidity_lead_to_a_refund(bridged: World) -> None:
    journey = await bridged.depart("across", UNITS)
    bridged.servants.relayer.knobs.liquidity = UNITS // 2
    journey.claims_held = True
    await refunded(bridged, journey)


# The attester


async def test_p6_attester_down_for_an_hour(bridged: World) -> None:
    journey = await bridged.depart("cctp", UNITS)
    bridged.servants.services.down = frozenset({"/cctp"})
    for _ in range(12):
        await journey.turn()
        bridged.pass_time(HOUR // 12)
    assert journey.transfer.status is TransferStatus.DELAYED
    bridged.servants.services.down = frozenset()
    await journey.ends("ARRIVED")


async def test_attestation_expired_is_signed_again(bridged: World) -> None:
    bridged.servants.attester.knobs.valid_blocks = 6
    bridged.servants.attester.knobs.resigns = False
    journey = await bridged.depart("cctp", UNITS, "fast")
    journey.claims_held = True
    await journey.run("CLAIMABLE")
    await journey.run("ATTESTATION_EXPIRED")
    await journey.turn()
    assert journey.status == "ATTESTATION_EXPIRED", "and stays so while nobody signs"
    bridged.servants.attester.knobs.resigns = True
    bridged.servants.attester.knobs.valid_blocks = 100
    journey.claims_held = False
    await journey.ends("ARRIVED")


async def test_standard_threshold_costs_time_and_no_fee(bridged: World) -> None:
    journey = await bridged.depart("cctp", UNITS, "standard")
    await journey.ends("ARRIVED", pace_s=15)
    assert journey.transfer.arrived == UNITS


async def test_a_fee_that_rose_beyond_ours_makes_a_fast_transfer_a_slow_one(
    bridged: World,
) -> None:
    journey = await bridged.depart("cctp", UNITS, "fast")
    bridged.servants.attester.knobs.fast_bps = 5
    bridged.pass_time(10)
    await journey.turn()
    await journey.turn()
    assert journey.status == "IN_FLIGHT"
    await journey.ends("ARRIVED", pace_s=15)
    assert journey.transfer.arrived == UNITS


async def test_third_party_mints_first(bridged: World) -> None:
    bridged.servants.attester.knobs.strangers_mint = True
    journey = await bridged.depart("cctp", UNITS)
    journey.claims_held = True
    await journey.ends("ARRIVED")
    assert journey.transfer.claims == 0


async def test_third_party_mints_while_our_claim_is_on_its_way(bridged: World) -> None:
    journey = await bridged.depart("cctp", UNITS)
    knobs = bridged.servants.attester.knobs

    def overtaken() -> None:
        knobs.strangers_mint = True
        bridged.servants.step()

    journey.before_claim = overtaken
    await journey.ends("ARRIVED")
    assert journey.transfer.claims == 1
    assert journey.claim is not None
    assert not journey.claim.succeeded


async def test_mint_out_of_gas_is_claimed_again(bridged: World) -> None:
    journey = await bridged.depart("cctp", UNITS)
    journey.claim_gas = 90_000
    await journey.run("ARRIVAL_SENT")
    assert journey.claim is not None
    assert not journey.claim.succeeded
    journey.claim_gas = None
    await journey.ends("ARRIVED")
    assert journey.transfer.claims == 2


# The target chain will not have it


async def test_destination_paused_burn_and_mint(bridged: World) -> None:
    journey = await bridged.depart("cctp", UNITS)
    transmitter = CCTP[ARBITRUM].transmitter
    bank(bridged, ARBITRUM, transmitter, "pause()")
    await journey.run("DELAYED")
    assert "paused" in journey.transfer.detail
    bank(bridged, ARBITRUM, transmitter, "unpause()")
    await journey.ends("ARRIVED")


async def test_destination_token_paused(bridged: World) -> None:
    journey = await bridged.depart("cctp", UNITS)
    bank(bridged, ARBITRUM, BOOKS[ARBITRUM].usdc, "pause()")
    await journey.run("DELAYED")
    bank(bridged, ARBITRUM, BOOKS[ARBITRUM].usdc, "unpause()")
    await journey.ends("ARRIVED")


async def test_destination_fills_paused_until_the_refund(bridged: World) -> None:
    journey = await bridged.depart("across-back", UNITS)
    pause = "pauseFills(bool)"
    bank(bridged, ETHEREUM, SPOKE_POOLS[ETHEREUM], pause, True, sender=HUB_POOL)
    journey.claims_held = True
    await refunded(bridged, journey)


async def test_destination_liquidity_missing(bridged: World) -> None:
    journey = await bridged.depart("hyperlane", UNITS)
    usdc = BOOKS[ARBITRUM].usdc
    router = HYPERLANE[ARBITRUM].routes[usdc]
    held = bridged.pair.balances(ARBITRUM, router)["USDC"]
    move = "transfer(address,uint256)"
    bank(bridged, ARBITRUM, usdc, move, STRANGER, held - UNITS + 1, sender=router)
    await journey.run("DELAYED")
    assert str(UNITS) in journey.transfer.detail
    bank(bridged, ARBITRUM, usdc, move, router, 1, sender=STRANGER)
    await journey.ends("ARRIVED")


async def test_no_relayer_delivers_so_we_do(bridged: World) -> None:
    bridged.servants.carrier.knobs.delivers = False
    journey = await bridged.depart("hyperlane", UNITS)
    await journey.ends("ARRIVED", pace_s=10)
    assert journey.transfer.claims == 1


async def test_validators_that_do_not_sign_leave_it_waiting(bridged: World) -> None:
    bridged.servants.carrier.knobs.signs = False
    journey = await bridged.depart("hyperlane", UNITS)
    await journey.run("DELAYED", pace_s=60)
    bridged.servants.carrier.knobs.signs = True
    await journey.ends("ARRIVED")


# Tickets and challenge periods of the canonical bridge


async def test_retryable_not_redeemed_is_redeemed_by_us(bridged: World) -> None:
    bridged.servants.sequencer.knobs.runs = False
    journey = await bridged.depart("arbitrum", ETHER)
    await journey.run("ARRIVAL_SENT")
    assert "MANUAL_REDEEM" in journey.passed
    await journey.ends("ARRIVED")


async def test_retryable_whose_run_is_out_of_gas_is_redeemed_by_us(bridged: World) -> None:
    bridged.servants.sequencer.knobs.run_gas = 60_000
    journey = await bridged.depart("arbitrum", ETHER)
    await journey.ends("ARRIVED")
    assert "MANUAL_REDEEM" in journey.passed


async def test_retryable_redeemed_by_a_third_party(bridged: World) -> None:
    bridged.servants.sequencer.knobs.runs = False
    journey = await bridged.depart("arbitrum", ETHER)
    journey.claims_held = True
    await journey.run("MANUAL_REDEEM")
    ticket = bytes.fromhex(journey.transfer.reference[2:])
    there = ARBITRUM_BRIDGE.arb_retryable
    bank(bridged, ARBITRUM, there, "redeem(bytes32)", ticket, sender=STRANGER)
    await journey.ends("ARRIVED")
    assert journey.transfer.claims == 0


async def test_challenge_week_by_time_jump(bridged: World) -> None:
    journey = await bridged.depart("arbitrum-back", ETHER)
    await journey.run("IN_FLIGHT")
    bridged.pass_time(CHALLENGE_S - 60)
    await journey.turn()
    assert journey.status == "IN_FLIGHT", "a minute is left"
    bridged.pass_time(60)
    await journey.ends("ARRIVED")
    assert journey.transfer.claims == 1


# Chains that change their mind, and chains that are away


@pytest.fixture
async def apart(new_chains: Callable[..., Pair], tmp_path: Path):
    """A pair of the test's own, which may be reorganised and restarted."""
    async with world_of(new_chains(mining="auto", folder=tmp_path / "chains")) as made:
        yield made


async def test_p7_source_reorg_after_departure(apart: World) -> None:
    await bridge_cases.source_reorg(apart, "hyperlane")


async def test_p7_destination_reorg_after_arrival(apart: World) -> None:
    await bridge_cases.destination_reorg(apart, "across")


@pytest.mark.parametrize(("route", "chain_id"), [("across", ETHEREUM), ("arbitrum", ARBITRUM)])
async def test_p6_either_chain_down(apart: World, route: str, chain_id: ChainId) -> None:
    await bridge_cases.chain_down(apart, route, chain_id)


# The process dies


@pytest.mark.parametrize("route", ["cctp", "across-refund"])
async def test_p11_a_new_process_after_every_step(bridged: World, route: str) -> None:
    await bridge_cases.always_reborn(bridged, route)


@pytest.mark.parametrize("seed", range(3))
async def test_p8_random_faults_end_and_are_accounted_for(bridged: World, seed: int) -> None:
    await bridge_cases.random_faults(bridged, 1_000 + seed)


async def test_a_token_that_is_new_over_there_comes_and_goes_by_the_standard_gateway(
    bridged: World,
) -> None:
    """Its first deposit deploys it, which the ticket's own run may not afford."""
    journey = await bridged.depart("arbitrum-dai", 5 * ETHER)
    await journey.ends("ARRIVED")
    back = await bridged.depart("arbitrum-dai-back", 2 * ETHER)
    await back.run("IN_FLIGHT")
    bridged.pass_time(CHALLENGE_S)
    await back.run("ARRIVED")
    held = [bridged.units(asset) for asset in bridged.ends("arbitrum-dai")]
    assert held == [6 * ETHER, 3 * ETHER]
