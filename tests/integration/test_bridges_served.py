"""The servants of the local bridges work by themselves, rest when idle, and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager

import httpx

from sep_ray.adapters.bridges.addresses import HUB_POOL
from sep_ray.adapters.bridges.world import BridgeTerms, ServiceUrls, open_bridges
from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM
from sep_ray.adapters.evm.endpoints import Access
from sep_ray.devnet.bridges.dataworker import DELETED, PROPOSED
from sep_ray.devnet.bridges.servants import ServedBridges
from sep_ray.kernel.errors import Transient
from sep_ray.settlement.ports import Arrived, Sighting
from tests.fixtures.chains import Pair
from tests.fixtures.real_bridging import DOLLAR, Journey, World, world_of

UNITS = 1_000 * DOLLAR


def urls_of(pair: Pair) -> dict:
    return {chain_id: each.http for chain_id, each in pair.endpoints.items()}


@asynccontextmanager
async def working(pair: Pair):
    """A world whose servants work in their own threads, and adapters as the platform makes them."""
    async with world_of(pair) as world:
        with ServedBridges(urls_of(pair)) as served:
            accesses = {chain_id: Access.to(url) for chain_id, url in urls_of(pair).items()}
            local = ServiceUrls.local(served.url)
            async with open_bridges(accesses, local, BridgeTerms.local()) as bridges:
                world.bridges = {each.traits.name: each for each in bridges}
                yield world, served


async def arrives(world: World, journey: Journey) -> Arrived:
    seen: Sighting | Transient | None = None
    for _ in range(200):
        try:
            seen = await journey.bridge.observe(journey.transfer)
        except Transient as error:
            seen = error
        if isinstance(seen, Arrived):
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"it never arrived: {seen}")


async def test_they_work_by_themselves_and_survive_a_chain_that_ends(
    new_chains: Callable[..., Pair], tmp_path
) -> None:
    pair = new_chains(mining="interval", block_time_s=0.25, folder=tmp_path / "chains")
    async with working(pair) as (world, served):
        assert not served.servants.busy()
        seen = await arrives(world, await world.prepared("across", UNITS))
        assert seen.units == UNITS - UNITS // 2_000
        assert served.servants.busy()
        pair.chains.restart(ARBITRUM)
        world.reconnect()
        seen = await arrives(world, await world.prepared("hyperlane", UNITS))
        assert seen.units == UNITS
        assert served.alive


def test_they_start_again_on_the_port_they_had(chains: Pair) -> None:
    first = ServedBridges(urls_of(chains), works=False)
    url = first.start()
    first.stop()
    first.stop()
    with ServedBridges(urls_of(chains), works=False, port=first.port) as second:
        assert second.url == url
        asked = f"{url}/across/suggested-fees?amount=1000000"
        assert b"totalRelayFee" in httpx.get(asked, timeout=5).content


async def test_knobs_are_turned_from_outside(chains: Pair) -> None:
    with ServedBridges(urls_of(chains), works=False) as served:
        async with httpx.AsyncClient(base_url=served.url) as client:
            assert (await client.get("/knobs")).json()["relayer"]["paused"] is False
            turned = await client.post("/knobs/relayer", json={"paused": True, "liquidity": 5})
            assert (turned.status_code, turned.json()["liquidity"]) == (200, 5)
            assert served.servants.relayer.knobs.paused
            down = await client.post("/knobs/services", json={"down": ["/cctp"]})
            assert down.json() == {"down": ["/cctp"]}
            assert (await client.get("/cctp/v2/burn/USDC/fees/0/3")).status_code == 503
            for servant, wanted in (
                ("relayer", {"pause": True}),
                ("relayer", {"paused": 1}),
                ("relayer", {"latency_s": -1, "paused": False}),
                ("relayer", {"latency_s": True}),
                ("services", {"down": "/cctp"}),
                ("nobody", {}),
                ("relayer", []),
            ):
                refused = await client.post(f"/knobs/{servant}", json=wanted)
                assert refused.status_code == 400, (servant, wanted)
            assert (await client.post("/knobs/relayer", content=b"{")).status_code == 400
            assert served.servants.relayer.knobs.paused, "what is refused turns nothing"


async def test_a_bundle_that_is_not_in_a_block_yet_is_waited_for(
    new_chains: Callable[..., Pair],
) -> None:
    async with world_of(new_chains(mining="manual")) as world:
        await world.depart("across", UNITS)
        for _ in range(3):
            world.pass_time(2)  # filled, and the relayer is owed
        worker, hub = world.servants.dataworker, world.servants.chains[ETHEREUM]
        for _ in range(3):
            worker.step()
        world.pair.mine(ETHEREUM)
        for _ in range(3):
            worker.step()
        world.pair.mine(ETHEREUM)
        assert len(hub.logs(HUB_POOL, [PROPOSED.topic])) == 1
        assert hub.logs(HUB_POOL, [DELETED.topic]) == []
