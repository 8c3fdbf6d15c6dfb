"""Every fault of every bridge, and random ones: `make bridges`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM
from sep_ray.kernel.units import ChainId
from sep_ray.settlement.transfer import TransferStatus
from tests.fixtures import bridge_cases, engine_cases
from tests.fixtures.bridge_cases import AMOUNTS
from tests.fixtures.chains import Pair
from tests.fixtures.engine_cases import KILLED_AT
from tests.fixtures.real_bridging import World, world_of
from tests.fixtures.real_two_chains import RealTwoChains


@pytest.fixture
async def apart(new_chains: Callable[..., Pair], tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(new_chains(mining="auto", folder=tmp_path / "chains")) as made:
        yield made


@pytest.mark.parametrize("route", AMOUNTS)
async def test_p7_source_reorg_after_departure(apart: World, route: str) -> None:
    await bridge_cases.source_reorg(apart, route)


@pytest.mark.parametrize("route", AMOUNTS)
async def test_p7_destination_reorg_after_arrival(apart: World, route: str) -> None:
    await bridge_cases.destination_reorg(apart, route)


@pytest.mark.parametrize("chain_id", [ETHEREUM, ARBITRUM])
@pytest.mark.parametrize("route", AMOUNTS)
async def test_p6_either_chain_down(apart: World, route: str, chain_id: ChainId) -> None:
    await bridge_cases.chain_down(apart, route, chain_id)


@pytest.mark.parametrize("route", [*AMOUNTS, "arbitrum-back", "across-refund"])
async def test_p11_a_new_process_after_every_step(bridged: World, route: str) -> None:
    await bridge_cases.always_reborn(bridged, route)


@pytest.mark.parametrize("seed", range(40))
async def test_p8_random_faults_end_and_are_accounted_for(bridged: World, seed: int) -> None:
    await bridge_cases.random_faults(bridged, seed)


@pytest.mark.parametrize("bridge", AMOUNTS)
async def test_p7_the_engine_follows_a_source_reorg(
    real_two_chains: RealTwoChains, bridge: str
) -> None:
    await engine_cases.source_reorg(real_two_chains, bridge)


@pytest.mark.parametrize("bridge", AMOUNTS)
async def test_p7_the_engine_follows_a_destination_reorg(
    real_two_chains: RealTwoChains, bridge: str
) -> None:
    await engine_cases.destination_reorg(real_two_chains, bridge)


@pytest.mark.parametrize("when", KILLED_AT)
@pytest.mark.parametrize("bridge", AMOUNTS)
async def test_p11_the_engine_killed_at_every_state(
    real_two_chains: RealTwoChains, bridge: str, when: TransferStatus
) -> None:
    await engine_cases.killed_at(real_two_chains, bridge, when)
