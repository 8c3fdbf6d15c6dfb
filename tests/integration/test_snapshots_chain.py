"""The snapshot reader against real pools: one block at a time, and never a stale tick."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM
from sep_ray.adapters.evm.heads import newest_head
from sep_ray.adapters.evm.pool_reads import PoolKey
from sep_ray.adapters.evm.snapshots import CHECK_EVERY
from sep_ray.devnet.market import position_ticks
from sep_ray.devnet.placement import BANK
from sep_ray.devnet.rpc import call_data
from sep_ray.kernel.errors import Transient
from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot
from tests.fixtures.chains import Pair
from tests.fixtures.reading import Reading, reading

BOTH = pytest.mark.parametrize("chain_id", [ETHEREUM, ARBITRUM])
FOREVER = 2**48
SWAP = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
MINT = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
BURN = "decreaseLiquidity((uint256,uint128,uint256,uint256,uint256))"
CHANGES = 25


class Market:
    """What other people do to the pools of one chain, through the real contracts."""

    def __init__(self, pair: Pair, chain_id: int) -> None:
        self.pair, self.chain_id = pair, chain_id
        self.book, self.rpc = pair.book(chain_id), pair.rpc(chain_id)
        self.rpc("anvil_impersonateAccount", BANK)
        self.positions: list[int] = []
        self.minted = 0

    def swap(self, pool: V3Pool, token_in: str, amount: int) -> None:
        token_out = pool.token1 if token_in == pool.token0 else pool.token0
        order = (token_in, token_out, pool.fee_ppm, BANK, amount, 0, 0)
        self._send(self.book.swap_router02, call_data(SWAP, order))

    def mint(self, pool: V3Pool, ticks: tuple[int, int], amount0: int, amount1: int) -> None:
        order = (pool.token0, pool.token1, pool.fee_ppm, *ticks, amount0, amount1, 0, 0)
        receipt = self._send(self.book.v3_positions, call_data(MINT, (*order, BANK, FOREVER)))
        increased = [log for log in receipt["logs"] if log["address"] == self.book.v3_positions]
        self.minted += 1
        self.positions.append(int(increased[-1]["topics"][1], 16))

    def burn(self, share: int) -> None:
        """Take a `share`th out of the oldest position minted here; all of it when that is 1."""
        number = self.positions.pop(0) if share == 1 else self.positions[0]
        liquidity = self.rpc.read(
            self.book.v3_positions,
            "positions(uint256)",
            number,
            returns="(uint96,address,address,address,uint24,int24,int24,uint128,uint256,uint256,uint128,uint128)",
        )[7]
        order = (number, liquidity // share, 0, 0, FOREVER)
        self._send(self.book.v3_positions, call_data(BURN, order))

    def _send(self, to: str, data: str) -> dict[str, Any]:
        (receipt,) = self.rpc.transact([{"from": BANK, "to": to, "data": data}])
        return receipt


def v3_pools(snapshot: Snapshot) -> list[V3Pool]:
    return [p for p in snapshot.pools if isinstance(p, V3Pool) and p.venue is Venue.UNISWAP_V3]


def act(market: Market, snapshot: Snapshot, chance: random.Random) -> None:
    """Swap, mint (around the price or beside it) or burn at random, a few percent of a pool."""
    pool = chance.choice(v3_pools(snapshot))
    token = chance.choice([pool.token0, pool.token1])
    deed = chance.choice(["swap", "mint", "burn"])
    if deed == "burn" and market.positions:
        market.burn(chance.choice([1, 2, 3]))
    elif deed == "mint":
        half = chance.choice([1, 50, 3_000, 30_000])
        amounts = (pool.depth(pool.token0) // 1_000, pool.depth(pool.token1) // 1_000)
        centre = pool.tick + chance.choice([-400, 0, 400]) * pool.tick_map.spacing
        market.mint(pool, position_ticks(centre, half, pool.tick_map.spacing), *amounts)
    else:
        market.swap(pool, token, pool.depth(token) * chance.randint(1, 50) // 1_000)


async def same_as_anew(market: Reading) -> Snapshot:
    """Read on, and hold that against a reader that starts from nothing."""
    snapshot, fresh = await market.newest(), await market.anew()
    assert snapshot.block_hash == fresh.block_hash
    for pool, other in zip(snapshot.pools, fresh.pools, strict=True):
        if isinstance(pool, V3Pool) and isinstance(other, V3Pool):
            low, high = pool.tick_map.words or (0, 0)
            spacing = pool.tick_map.spacing
            known = [t for t in other.tick_map.ticks if low <= t[0] // spacing >> 8 <= high]
            theirs = other.tick_map.words or (0, 0)
            ours = [
                t for t in pool.tick_map.ticks if theirs[0] <= t[0] // spacing >> 8 <= theirs[1]
            ]
            assert ours == known
            assert (pool.sqrt_price, pool.tick) == (other.sqrt_price, other.tick)
            assert pool.liquidity == other.liquidity
        else:
            assert pool == other
    return snapshot


@BOTH
async def test_ticks_follow_the_logs(chains: Pair, chain_id: int) -> None:
    """After any mix of swaps, mints and burns the reader knows what a new one reads."""
    chance, market = random.Random(chain_id), Market(chains, chain_id)
    async with reading(chains, chain_id) as reads:
        snapshot = await reads.newest()
        for _ in range(CHANGES):
            for _ in range(chance.choice([1, 1, 1, 3])):
                act(market, snapshot, chance)
            snapshot = await same_as_anew(reads)
    assert market.minted > 0


@BOTH
async def test_one_block_is_one_request(chains: Pair, chain_id: int) -> None:
    """Every pool's state and the logs come together; the same block is not read twice."""
    sent: list[list[str]] = []

    class Counted:
        def __init__(self, rpc: Any) -> None:
            self._rpc = rpc

        async def batch(self, calls: Any) -> list[Any]:
            sent.append([method for method, _ in calls])
            return await self._rpc.batch(calls)

    async with reading(chains, chain_id, wrap=Counted) as reads:
        first = await reads.newest()
        assert await reads.newest() is first
        sent.clear()
        for _ in range(3):
            chains.mine(chain_id)
            await reads.newest()
    assert sent == [["eth_call", "eth_getLogs", "eth_getLogs"]] * 3


async def test_p7_a_reorganised_chain_is_read_anew(new_chains: Any) -> None:
    """The mint that the reorganisation took away leaves no ticks behind."""
    pair = new_chains(mining="manual")
    market = Market(pair, ETHEREUM)
    async with reading(pair, ETHEREUM) as reads:
        before = await reads.newest()
        pool = v3_pools(before)[0]
        ticks = position_ticks(pool.tick, 120, pool.tick_map.spacing)
        market.mint(pool, ticks, pool.depth(pool.token0) // 100, pool.depth(pool.token1) // 100)
        minted = await reads.newest()
        changed = {p.address: p for p in v3_pools(minted)}[pool.address]
        assert len(changed.tick_map.ticks) == len(pool.tick_map.ticks) + 2
        gone = await newest_head(reads.rpc)
        pair.rpc(ETHEREUM)("anvil_reorg", 1, [])
        after = await same_as_anew(reads)
        back = {p.address: p for p in v3_pools(after)}[pool.address]
        assert back.tick_map == pool.tick_map
        with pytest.raises(Transient):
            await reads.reader.read(gone)
        await same_as_anew(reads)


async def test_a_reorganisation_within_a_gap_is_noticed(new_chains: Any) -> None:
    pair = new_chains(mining="manual")
    market = Market(pair, ETHEREUM)
    async with reading(pair, ETHEREUM) as reads:
        pool = v3_pools(await reads.newest())[0]
        ticks = position_ticks(pool.tick, 120, pool.tick_map.spacing)
        market.mint(pool, ticks, pool.depth(pool.token0) // 100, pool.depth(pool.token1) // 100)
        await reads.newest()
        pair.rpc(ETHEREUM)("anvil_reorg", 1, [])
        pair.mine(ETHEREUM, 5)
        await same_as_anew(reads)


async def test_a_lost_answer_is_made_good_by_the_next_read(chains: Pair) -> None:
    """P6: nothing is assumed about a block whose logs did not arrive."""
    lose = False

    class Lossy:
        def __init__(self, rpc: Any) -> None:
            self._rpc = rpc

        async def batch(self, calls: Any) -> list[Any]:
            answer: list[Any] = await self._rpc.batch(calls)
            if lose:
                raise Transient("reply was lost")
            return answer

    market = Market(chains, ETHEREUM)
    async with reading(chains, ETHEREUM, wrap=Lossy) as reads:
        pool = v3_pools(await reads.newest())[0]
        ticks = position_ticks(pool.tick, 120, pool.tick_map.spacing)
        market.mint(pool, ticks, pool.depth(pool.token0) // 100, pool.depth(pool.token1) // 100)
        lose = True
        with pytest.raises(Transient):
            await reads.newest()
        lose = False
        await same_as_anew(reads)
        chains.mine(ETHEREUM)
        await same_as_anew(reads)


async def test_a_price_that_leaves_the_window_takes_it_along(chains: Pair) -> None:
    """With a narrow window: no answer beyond it, and a new window once the price has moved."""
    market = Market(chains, ETHEREUM)
    async with reading(chains, ETHEREUM, reach_ticks=1) as reads:
        pool = next(p for p in v3_pools(await reads.newest()) if p.tick_map.spacing == 1)
        huge = pool.depth(pool.token0) * 3
        assert pool.exact_in(pool.token0, huge) == NoRoute(reason=Reason.OUTSIDE_KNOWN_TICKS)
        for _ in range(6):
            market.swap(pool, pool.token0, pool.depth(pool.token0) * 40 // 1_000)
            snapshot = await same_as_anew(reads)
            moved = {p.address: p for p in v3_pools(snapshot)}[pool.address]
            assert moved.tick_map.words is not None
            assert moved.tick_map.words[0] < moved.tick >> 8 < moved.tick_map.words[1]


async def test_a_pool_that_is_none_is_left_out(chains: Pair) -> None:
    async with reading(chains, ETHEREUM) as reads:
        whole = await reads.newest()
        book = chains.book(ETHEREUM)
        for venue in Venue:
            reads.pools = (
                *reads.pools,
                PoolKey(
                    address=book.weth,
                    venue=venue,
                    token0=book.usdc,
                    token1=book.weth,
                    fee_ppm=100,
                    tick_spacing=1,
                ),
            )
        odd = Reading(chains, ETHEREUM, reads.rpc, reads.pools)
        snapshot = await odd.newest()
    assert (snapshot.pools, snapshot.block_hash) == (whole.pools, whole.block_hash)


@BOTH
async def test_mean_prices_come_with_the_checks(chains: Pair, chain_id: int) -> None:
    """Every V3 pool's mean is known after a turn of checks, and lags behind a sudden price."""
    market = Market(chains, chain_id)
    async with reading(chains, chain_id) as reads:
        before = {p.address: p for p in v3_pools(await reads.newest())}
        pool = next(iter(before.values()))
        market.swap(pool, pool.token0, pool.depth(pool.token0) // 20)
        for _ in range(CHECK_EVERY):
            snapshot = await reads.newest()
            chains.mine(chain_id)
    means = dict(snapshot.means)
    assert set(means) == set(before)
    (moved,) = [p for p in v3_pools(snapshot) if p.address == pool.address]
    assert abs(moved.tick - pool.tick) > 500
    assert abs(means[pool.address] - pool.tick) < abs(moved.tick - pool.tick) // 2
