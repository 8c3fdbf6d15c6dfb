"""The market driver: pools follow the path through real swaps, and a seed repeats itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.devnet.driver import ARBITRAGEUR, DriverOptions, MarketDriver
from sep_ray.devnet.market import PRICES
from sep_ray.devnet.paths import Prices, geometric_path
from sep_ray.devnet.rpc import Rpc
from sep_ray.devnet.trading import DrivenChain, fair_price, pool_prices, read_pools
from tests.fixtures.chains import Pair
from tests.fixtures.eventually import eventually


def driven(pair: Pair) -> list[DrivenChain]:
    return [
        DrivenChain(rpc=pair.rpc(chain_id), book=BOOKS[chain_id], pools=pair.pools(chain_id))
        for chain_id in BOOKS
    ]


def off_by_ppm(chain: DrivenChain, prices: Prices) -> dict[str, tuple[int, int]]:
    """How far each pool is from its fair price, beside its fee."""
    found = {}
    for state in read_pools(chain):
        fair = fair_price(chain, state.pool, prices)
        ours = state.price.numerator * fair.denominator
        theirs = fair.numerator * state.price.denominator
        found[state.pool.address] = (abs(ours - theirs) * 1_000_000 // theirs, state.pool.fee)
    return found


@pytest.mark.parametrize("percent", [97, 90, 104, 115])
async def test_pools_are_pulled_onto_the_path(
    new_chains: Callable[..., Pair], percent: int
) -> None:
    pair = new_chains(mining="manual")
    prices = {**PRICES, "WETH": PRICES["WETH"] * percent // 100}
    options = DriverOptions(noise_per_step=0, band="none")
    driver = MarketDriver(driven(pair), iter([prices]), options)
    assert await driver.run(mine=True) == 1
    for chain in driven(pair):
        off = off_by_ppm(chain, prices)
        assert len(off) == 22
        assert max(distance for distance, _ in off.values()) <= 1
        assert abs(pool_prices(chain)["WETH"] - prices["WETH"]) <= prices["WETH"] // 10**6


async def test_pools_stay_within_their_fee_of_the_path(new_chains: Callable[..., Pair]) -> None:
    pair = new_chains(mining="manual")
    path: list[Prices] = []

    def watched() -> Iterator[Prices]:
        for prices in geometric_path(5, volatility_ppm=3_000):
            path.append(prices)
            yield prices

    driver = MarketDriver(driven(pair), watched(), DriverOptions(noise_per_step=0))
    assert await driver.run(steps=25, mine=True) == 25
    for chain in driven(pair):
        for distance, fee in off_by_ppm(chain, path[-1]).values():
            # the edge above is fair / (1 - fee), a little more than the fee away
            assert distance <= fee * 102 // 100 + 1
        mined = [
            chain.rpc("eth_getBlockByNumber", "latest", True)["transactions"],
            chain.rpc("eth_getBlockReceipts", "latest"),
        ]
        assert {each["status"] for each in mined[1]} <= {"0x1"}
        assert {each["from"] for each in mined[0]} <= {ARBITRAGEUR}


async def test_the_same_seed_gives_the_same_market(new_chains: Callable[..., Pair]) -> None:
    ends = []
    for _ in range(2):
        pair = new_chains(mining="manual")
        driver = MarketDriver(driven(pair), geometric_path(3), DriverOptions(seed=3))
        assert await driver.run(steps=12, mine=True) == 12
        ends.append([[s.price for s in read_pools(chain)] for chain in driven(pair)])
        pair.chains.stop()
        pair.close()
    assert ends[0] == ends[1]


async def test_another_seed_gives_another_market() -> None:
    first, again, other = (geometric_path(seed) for seed in (1, 1, 2))
    one, same, different = ([next(path) for _ in range(5)] for path in (first, again, other))
    assert one == same
    assert one != different
    assert all(prices["USDC"] == 1_000_000 for prices in one)


async def test_it_runs_beside_a_chain_that_mines_until_it_is_stopped(
    new_chains: Callable[..., Pair],
) -> None:
    pair = new_chains(mining="interval", block_time_s=0.1)
    chains = [
        DrivenChain(rpc=Rpc(pair.url(chain_id)), book=BOOKS[chain_id], pools=pair.pools(chain_id))
        for chain_id in (ETHEREUM, ARBITRUM)
    ]
    stop = asyncio.Event()
    driver = MarketDriver(chains, geometric_path(1, volatility_ppm=4_000), DriverOptions())
    task = asyncio.create_task(driver.run(stop=stop))

    def traded() -> bool:
        swapped = pair.rpc(ETHEREUM)("eth_getTransactionCount", ARBITRAGEUR, "latest")
        return int(swapped, 16) > 40  # ten approvals, and swaps of several blocks

    await asyncio.to_thread(eventually, traded)
    stop.set()
    assert await asyncio.wait_for(task, 10) >= 3
    for chain in chains:
        chain.rpc.close()
