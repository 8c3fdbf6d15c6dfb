"""Random plans, executed: what a plan says at a block is what it moves, to the unit."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.oracle_market import TRADER, Mover
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.adapters.evm.heads import newest_head
from sep_ray.adapters.evm.rpc import EvmRpc
from sep_ray.adapters.evm.snapshots import SnapshotReader
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, Ppm
from sep_ray.routing.plan import Plan, RouteRequest
from sep_ray.routing.planner import plan
from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.snapshot import Snapshot

MOST_TRIES: Final = 4
"""Requests for each plan: some pairs have no route of the venues asked for."""
VENUES: Final[tuple[tuple[Venue, ...], ...]] = ((), *((v,) for v in Venue), tuple(Venue)[1:])
MOST_GAS: Final = 8_000_000
"""Of one plan; what is sent may use half as much again."""
FRESH_EVERY: Final = 25
"""Plans after which the chain goes back to where it was, so that prices stay sensible."""


@dataclass(slots=True)
class Executed:
    """How many plans were executed, of which shapes, and what they moved instead."""

    done: int = 0
    legs: Counter[tuple[str, int]] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)

    def shapes(self) -> str:
        """Say how many of each side had how many legs."""
        found = sorted(self.legs.items())
        return ", ".join(f"{n} {side} of {legs} legs" for (side, legs), n in found)


def random_request(snapshot: Snapshot, chance: random.Random) -> RouteRequest:
    """Ask for something that the pools can do, mostly: up to a twentieth of a pool's depth."""
    known = sorted({token for pool in snapshot.pools for token in (pool.token0, pool.token1)})
    sell, buy = (Asset(snapshot.chain_id, each) for each in chance.sample(known, 2))
    side, venues = chance.choice([Side.SELL, Side.BUY]), chance.choice(VENUES)
    counted = sell.address if side is Side.SELL else buy.address
    pools = [p for p in snapshot.pools if counted in (p.token0, p.token1)]
    depth = chance.choice(pools).depth(counted)
    exact = frozenset(venues or Venue) - {Venue.UNISWAP_V2}
    return RouteRequest(
        sell=sell,
        buy=buy,
        amount=max(int(depth * 10 ** chance.uniform(-6, -1.3)), 1_000),
        side=side,
        max_slippage_ppm=Ppm(1_000),
        deadline_s=snapshot.block_time_s + 3_600,
        gas_price_wei=chance.choice([0, 0, snapshot.base_fee_wei]),
        venues=frozenset(venues),
        mix_venues=side is Side.SELL,
        max_splits=chance.choice([2, 4]) if side is Side.SELL or exact else 1,
        split_venues=frozenset() if side is Side.SELL else exact,
        max_hops=chance.choice([2, 3]),
        max_gas=MOST_GAS,
        certify=False,
    )


async def execute_plans(
    rpc: EvmRpc,
    reader: SnapshotReader,
    mover: Mover,
    count: int,
    seed: int,
    bar: Callable[[int], object],
) -> Executed:
    """Execute `count` random plans one after the other, each on the newest block."""
    executed, chance = Executed(), random.Random(f"{seed}/plans")
    encoder, mark = SwapEncoder(mover.book), ""
    for _ in range(count * MOST_TRIES):
        if executed.done >= count:
            break
        if executed.done % FRESH_EVERY == 0:
            if mark:
                mover.rpc("evm_revert", mark)
            mark = mover.rpc("evm_snapshot")
        snapshot = await reader.read(await newest_head(rpc))
        made = plan(snapshot, random_request(snapshot, chance))
        if not isinstance(made, Plan):
            continue
        try:
            moved: tuple[int, int] | str = await asyncio.to_thread(_execute, mover, encoder, made)
        except Rejected as refused:
            moved = str(refused)
        if moved != (made.amount_in, made.amount_out):
            said = f"{made.side.value} {made.amount_in, made.amount_out} {made.route.hops}"
            executed.differing.append(f"said {said}, moved {moved}")
        executed.done += 1
        executed.legs[made.side.value, len(made.route.legs)] += 1
        bar(executed.done)
    return executed


def _execute(mover: Mover, encoder: SwapEncoder, made: Plan) -> tuple[int, int]:
    """Swap for real; return what was taken and what was given."""
    most = made.limit if made.side is Side.BUY else made.amount_in
    call = encoder.swap(made, TRADER)
    allow = [encoder.approval(made.sell.address, each, most) for each in encoder.takers(call.to)]
    before = _held(mover, made)
    calls = [{"from": TRADER, "to": each.to, "data": each.data} for each in (*allow, call)]
    mover.rpc.transact(calls)
    after = _held(mover, made)
    return before[0] - after[0], after[1] - before[1]


def _held(mover: Mover, made: Plan) -> tuple[int, int]:
    tokens = (made.sell.address, made.buy.address)
    sold, bought = (mover.rpc.read(each, "balanceOf(address)", TRADER) for each in tokens)
    return sold, bought
