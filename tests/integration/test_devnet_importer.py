"""Real mainnet pool state on a local chain: real address, and quotes as the pool would give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.devnet.build import build_states
from sep_ray.devnet.chains import Chains
from sep_ray.devnet.importer import PoolSnapshot, held_by_positions, read_snapshots
from sep_ray.devnet.market import TICK_SPACING, Pool
from sep_ray.devnet.node import NodeOptions
from sep_ray.devnet.packages import Bundle
from sep_ray.devnet.rpc import RpcRefused
from sep_ray.routing.pools.pool import Quote
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v3 import V3Pool
from tests.fixtures.chains import Pair, both
from tests.fixtures.vectors import data_folder

FILES = {
    "uniswap_v3_wbtc_weth_block_24407242.json": 1,
    "mainnet_pools_19_serialized_state.json": 6,
}
QUOTE = "quoteExactInputSingle((address,address,uint256,uint24,uint160))"


@pytest.fixture(scope="module", params=FILES)
def imported(
    request: pytest.FixtureRequest, chain_bundle: Bundle, chain_cache: Path
) -> Iterator[tuple[Pair, tuple[PoolSnapshot, ...]]]:
    path = data_folder() / "onchain" / request.param
    if not path.exists():
        pytest.skip(f"{path.name} is not in the data folder")
    snapshots = read_snapshots(path)
    assert len(snapshots) == FILES[request.param]
    states = build_states(chain_bundle, chain_cache, imported=snapshots)
    with Chains(chain_bundle, states, options=both(NodeOptions(mining="manual"))) as running:
        pair = Pair(running)
        yield pair, snapshots
        pair.close()


def _on_chain(pair: Pair, snapshot: PoolSnapshot) -> Pool:
    book = pair.book(ETHEREUM)
    tokens = tuple(book.token(symbol).asset.address for symbol in snapshot.symbols)
    (found,) = [
        pool
        for pool in pair.pools(ETHEREUM)
        if pool.kind == "v3" and (pool.token0, pool.token1, pool.fee) == (*tokens, snapshot.fee)
    ]
    return found


def _local(pool: Pool, snapshot: PoolSnapshot) -> V3Pool:
    ticks = tuple((tick, net) for tick, _, net in snapshot.ticks)
    return V3Pool(
        address=pool.address,
        token0=pool.token0,
        token1=pool.token1,
        fee_ppm=pool.fee,
        sqrt_price=snapshot.sqrt_price,
        tick=snapshot.tick,
        liquidity=snapshot.liquidity,
        tick_map=TickMap(TICK_SPACING[pool.fee], ticks),
    )


def _quoted(pair: Pair, pool: Pool, token_in: str, amount: int) -> int:
    token_out = pool.token1 if token_in == pool.token0 else pool.token0
    out, *_ = pair.rpc(ETHEREUM).read(
        BOOKS[ETHEREUM].v3_quoter,
        QUOTE,
        (token_in, token_out, amount, pool.fee, 0),
        returns="(uint256,uint160,uint32,uint256)",
    )
    return int(out)


def test_the_chain_quotes_as_the_recorded_ticks_say(
    imported: tuple[Pair, tuple[PoolSnapshot, ...]],
) -> None:
    pair, snapshots = imported
    asked = 0
    for snapshot in snapshots:
        pool = _on_chain(pair, snapshot)
        local = _local(pool, snapshot)
        held = held_by_positions(snapshot)
        for token_in, depth in zip((pool.token0, pool.token1), held, strict=True):
            for share in (1_000_000, 10_000, 100, 10, 4):
                quote = local.exact_in(token_in, depth // share)
                assert isinstance(quote, Quote)
                assert _quoted(pair, pool, token_in, depth // share) == quote.amount_out
                asked += 1
    assert asked == 10 * len(snapshots)


def test_the_known_pool_is_at_its_address_and_can_pay(
    imported: tuple[Pair, tuple[PoolSnapshot, ...]],
) -> None:
    pair, snapshots = imported
    rpc = pair.rpc(ETHEREUM)
    addresses = {pool.address for pool in pair.pools(ETHEREUM)}
    assert "0xcbcdf9626bc03e24f779434178a73a0b4bad62ed" in addresses
    for snapshot in snapshots:
        pool = _on_chain(pair, snapshot)
        for token, needed in zip(
            (pool.token0, pool.token1), held_by_positions(snapshot), strict=True
        ):
            assert rpc.read(token, "balanceOf(address)", pool.address) >= needed
        tick = rpc.read(pool.address, "slot0()", returns="(uint160,int24)")[1]
        assert (tick, rpc.read(pool.address, "liquidity()")) == (snapshot.tick, snapshot.liquidity)


def test_the_other_pools_and_the_other_chain_stand_at_the_same_price(
    imported: tuple[Pair, tuple[PoolSnapshot, ...]],
) -> None:
    """Otherwise arbitrage between them would be all that a test sees."""
    pair, _ = imported
    book = BOOKS[ETHEREUM]
    one = {
        pool.fee: _quoted(pair, pool, book.wbtc, 10**5)
        for pool in pair.pools(ETHEREUM)
        if pool.kind == "v3" and (pool.token0, pool.token1) == (book.wbtc, book.weth)
    }
    assert set(one) == {100, 500, 3_000, 10_000}
    for fee, out in one.items():
        before_fee = out * 1_000_000 // (1_000_000 - fee)
        fair = one[3_000] * 1_000_000 // 997_000
        assert abs(before_fee - fair) < fair // 100
    there = BOOKS[ARBITRUM]
    out, *_ = pair.rpc(ARBITRUM).read(
        there.v3_quoter,
        QUOTE,
        (there.wbtc, there.weth, 10**5, 3_000, 0),
        returns="(uint256,uint160,uint32,uint256)",
    )
    assert abs(out - one[3_000]) < one[3_000] // 100


def test_a_pool_cannot_be_asked_for_more_than_it_has(
    imported: tuple[Pair, tuple[PoolSnapshot, ...]],
) -> None:
    pair, snapshots = imported
    pool = _on_chain(pair, snapshots[0])
    order = (pool.token0, pool.token1, 2**120, pool.fee, 0)
    exact_out = "quoteExactOutputSingle((address,address,uint256,uint24,uint160))"
    with pytest.raises(RpcRefused):
        pair.rpc(ETHEREUM).read(BOOKS[ETHEREUM].v3_quoter, exact_out, order)
