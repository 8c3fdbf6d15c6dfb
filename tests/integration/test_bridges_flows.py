"""Each bridge end to end on real contracts, both directions, with nothing in the way."""

from __future__ import annotations

import pytest

from tests.fixtures.real_bridging import DOLLAR, ETHER, World

AMOUNTS = {
    "across": 10_000 * DOLLAR,
    "across-back": 10_000 * DOLLAR,
    "across-weth": 3 * ETHER,
    "hyperlane": 10_000 * DOLLAR,
    "hyperlane-back": 10_000 * DOLLAR,
    "hyperlane-synthetic": 10**8,
    "arbitrum": 2 * ETHER,
    "cctp": 10_000 * DOLLAR,
    "cctp-back": 10_000 * DOLLAR,
}


@pytest.mark.parametrize("route", AMOUNTS)
async def test_a_transfer_arrives_and_every_unit_is_accounted_for(
    bridged: World, route: str
) -> None:
    journey = await bridged.depart(route, AMOUNTS[route])
    await journey.ends("ARRIVED")
    assert journey.transfer.arrived >= journey.transfer.least_out
