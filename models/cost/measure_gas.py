"""Measure what swaps really use: the platform's own transactions on a private local chain.

python models/cost/measure_gas.py [CACHE] writes gas_measured.json beside this file. Pools are the
seeded market with narrow positions added, so that swaps cross up to two dozen initialised ticks;
in every other batch those ticks were crossed before, as in a pool of some age (that is cheaper).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sep_ray.adapters.evm.addresses import BOOKS, ChainBook
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.devnet.build import StateFiles, build_states
from sep_ray.devnet.funding import act_as_bank
from sep_ray.devnet.market import FOREVER, TICK_SPACING, Pool
from sep_ray.devnet.node import NodeFiles, NodeOptions, spawn
from sep_ray.devnet.packages import Bundle, install
from sep_ray.devnet.placement import BANK
from sep_ray.devnet.rpc import Rpc, RpcRefused, call_data
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.routing.plan import Hop, Leg, Plan, Route
from sep_ray.routing.plan import Path as SwapPath
from sep_ray.routing.pools.pool import Venue

SEED = 11
SWAPS_PER_BATCH = 450
LADDER = 12
MINT = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
OUT = Path(__file__).parent / "gas_measured.json"


def main() -> None:
    repository = Path(__file__).resolve().parents[2]
    cache = Path(sys.argv[1]) if len(sys.argv) > 1 else repository / ".sep" / "cache"
    bundle = install(cache)
    states = build_states(bundle, cache)
    measured: list[dict[str, Any]] = []
    for chain_id in BOOKS:
        for aged in (False, True):
            with tempfile.TemporaryDirectory() as home:
                measured += measure(bundle, states, chain_id, Path(home), aged=aged)
    rows = ",\n".join(json.dumps([*row.values()], separators=(",", ":")) for row in measured)
    OUT.write_text(f'{{"columns": {json.dumps([*measured[0]])},\n"rows": [\n{rows}\n]}}\n')
    print(f"{len(measured)} swaps measured")


def measure(
    bundle: Bundle, states: StateFiles, chain_id: ChainId, home: Path, *, aged: bool
) -> list[dict[str, Any]]:
    """Return the gas of random swaps on one chain, each from the same state."""
    files = NodeFiles(load=states.files[chain_id])
    node = spawn(bundle.anvil, chain_id, NodeOptions(mining="manual"), files, home)
    rpc = node.rpc()
    try:
        act_as_bank(rpc)
        book = BOOKS[chain_id]
        pools = tuple(pool for pool in states.pools[chain_id] if pool.kind != "v4")
        for pool in pools:
            if pool.kind == "v3":
                add_ladder(rpc, book, pool)
                if aged:
                    cross_all(rpc, book, pool)
        rng = np.random.default_rng([SEED, aged, chain_id])
        found = (one_swap(rpc, book, pools, rng) for _ in range(SWAPS_PER_BATCH))
        return [row for row in found if row is not None]
    finally:
        rpc.close()
        node.stop()


def add_ladder(rpc: Rpc, book: ChainBook, pool: Pool) -> None:
    """Add LADDER nested positions around the price, each one spacing wider than the last."""
    tick = rpc.read(pool.address, "slot0()", returns="(uint160,int24)")[1]
    spacing = TICK_SPACING[pool.fee]
    middle = tick // spacing * spacing
    liquidity = rpc.read(pool.address, "liquidity()", returns="(uint128)")
    part = liquidity * spacing // 20_000 // LADDER
    held = [rpc.read(token, "balanceOf(address)", BANK) for token in (pool.token0, pool.token1)]
    price = 1.0001**tick
    for step in range(1, LADDER + 1):
        ticks = (middle - step * spacing, middle + (step + 1) * spacing)
        wanted = [int(part * step / price**0.5), int(part * step * price**0.5)]
        amounts = [max(min(w, h // 100), 1) for w, h in zip(wanted, held, strict=True)]
        key = (pool.token0, pool.token1, pool.fee)
        data = call_data(MINT, (*key, *ticks, *amounts, 0, 0, BANK, FOREVER))
        rpc.transact([{"from": BANK, "to": book.v3_positions, "data": data}])


def cross_all(rpc: Rpc, book: ChainBook, pool: Pool) -> None:
    """Trade the pool to both ends of its ladder and back, so that every tick was crossed."""
    path = [(pool, pool.token0)], [(pool, pool.token1)]
    for way in (path[0], path[1], path[1], path[0]):
        call = SwapEncoder(book).swap(as_plan(rpc, book, way, Side.SELL, 0.3), BANK)
        rpc.transact([{"from": BANK, "to": call.to, "data": call.data}])


def one_swap(
    rpc: Rpc, book: ChainBook, pools: tuple[Pool, ...], rng: np.random.Generator
) -> dict[str, Any] | None:
    """Run one random swap, undo it, and return its features and gas; None when it reverts."""
    path = random_path(pools, rng, mixed=SwapEncoder(book).mixes_venues)
    side = Side.BUY if rng.random() < 0.3 and one_family(path) else Side.SELL
    plan = as_plan(rpc, book, path, side, float(np.exp(rng.uniform(np.log(1e-6), np.log(0.3)))))
    call = SwapEncoder(book).swap(plan, BANK)
    mark = rpc("evm_snapshot")
    before = [tick_of(rpc, pool) for pool, _ in path]
    try:
        receipt = rpc.transact([{"from": BANK, "to": call.to, "data": call.data}])[0]
        after = [tick_of(rpc, pool) for pool, _ in path]
    except (Rejected, RpcRefused):
        rpc("evm_revert", mark)
        return None
    rpc("evm_revert", mark)
    crossed = sum(
        crossings(rpc, book, pool, *ends)
        for (pool, _), *ends in zip(path, before, after, strict=True)
    )
    v3_hops = sum(pool.kind == "v3" for pool, _ in path)
    return {
        "chain_id": book.chain_id,
        "hops": len(path),
        "v2_hops": len(path) - v3_hops,
        "v3_hops": v3_hops,
        "ticks_crossed": crossed,
        "exact_out": int(side is Side.BUY),
        "gas": int(receipt["gasUsed"], 16),
    }


def random_path(
    pools: tuple[Pool, ...], rng: np.random.Generator, *, mixed: bool
) -> list[tuple[Pool, str]]:
    """Return one or two pools, each with the token that goes in."""
    while True:
        first = pools[int(rng.integers(len(pools)))]
        token = (first.token0, first.token1)[int(rng.integers(2))]
        path = [(first, token)]
        if rng.random() < 0.4:
            middle = other(first, token)
            second = pools[int(rng.integers(len(pools)))]
            if second == first or middle not in (second.token0, second.token1):
                continue
            if other(second, middle) == token:
                continue
            path.append((second, middle))
        if mixed or one_family(path):
            return path


def one_family(path: list[tuple[Pool, str]]) -> bool:
    return len({pool.kind for pool, _ in path}) == 1


def other(pool: Pool, token: str) -> str:
    return pool.token1 if token == pool.token0 else pool.token0


def as_plan(
    rpc: Rpc, book: ChainBook, path: list[tuple[Pool, str]], side: Side, share: float
) -> Plan:
    """Return a plan without limits that trades a share of the smaller pool balance."""
    sold, bought = path[0][1], other(*path[-1])
    fixed, where = (sold, path[0][0]) if side is Side.SELL else (bought, path[-1][0])
    amount = max(int(rpc.read(fixed, "balanceOf(address)", where.address) * share), 1_000)
    held = rpc.read(sold, "balanceOf(address)", BANK)
    hops = tuple(
        Hop(
            pool=pool.address,
            venue=Venue.UNISWAP_V3 if pool.kind == "v3" else Venue.UNISWAP_V2,
            fee_ppm=pool.fee,
            token_in=token,
            token_out=other(pool, token),
            amount_in=amount,
            amount_out=amount,
            ticks_crossed=0,
        )
        for pool, token in path
    )
    return Plan(
        sell=Asset(book.chain_id, sold),
        buy=Asset(book.chain_id, bought),
        side=side,
        amount_in=amount,
        amount_out=amount,
        limit=1 if side is Side.SELL else held,
        deadline_s=FOREVER,
        block_number=0,
        block_hash="0x" + "0" * 64,
        route=Route(legs=(Leg(path=SwapPath(hops=hops), share_ppm=1_000_000),)),
        gas_estimate=0,
        gas_price_wei=0,
        gas_cost=None,
        slippage_ppm=0,
        inclusion_blocks=1,
        net=0,
        net_predicted=0,
        estimated_by="none",
        mid=(1, 1),
        impact_ppm=0,
        fee_ppm=0,
        considered=1,
    )


def tick_of(rpc: Rpc, pool: Pool) -> int:
    if pool.kind == "v2":
        return 0
    tick: int = rpc.read(pool.address, "slot0()", returns="(uint160,int24)")[1]
    return tick


def crossings(rpc: Rpc, book: ChainBook, pool: Pool, before: int, after: int) -> int:
    """Count the initialised ticks between two ticks of a pool."""
    if pool.kind == "v2" or before == after:
        return 0
    low, high = min(before, after), max(before, after)
    spacing = TICK_SPACING[pool.fee]
    words = range(low // spacing >> 8, (high // spacing >> 8) + 1)
    signature, returns = "getPopulatedTicksInWord(address,int16)", "((int24,int128,uint128)[])"
    found = (
        tick
        for word in words
        for tick, *_ in rpc.read(book.v3_tick_lens, signature, pool.address, word, returns=returns)
    )
    return sum(low < tick <= high for tick in found)


if __name__ == "__main__":
    main()
