"""Routing against what others do: a convex solver, the best single path, a search in 5 % steps.

Markets of 40, 300 and 1,000 pools from fixed seeds, and the real pools of the data folder where it
lies beside this one. Requests of 0.001 % to 1 % of the deepest pool, sales and purchases in turn,
free of gas, up to four hops and 16 legs. Times are of one process, one thread; what is built once
per snapshot is timed apart. The certified plan is timed first, on pools that may not have been
quoted before; the plain one after it finds their steps worked out.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

import numpy as np

from bench.markets import CHAIN, market
from bench.real_pools import real_market
from bench.report import Figure
from bench.routing_peers import convex_optimum, stepwise
from sep_ray.intent.intent import Side
from sep_ray.kernel.units import Asset, Ppm
from sep_ray.routing.index import build
from sep_ray.routing.plan import Plan, RouteRequest
from sep_ray.routing.planner import plan
from sep_ray.routing.snapshot import Snapshot

T = TypeVar("T")
REQUESTS: Final = 60
SOLVED: Final = 12
"""Requests of the smallest market that the convex solver and the step search get."""
GAS_WEI: Final = 20 * 10**9
"""What the figures with gas pay for it."""
GOAL_MS: Final = {300: 10.0, 1_000: 40.0}
GOAL_GAP_BP: Final = 1.0
GOAL_SHARE: Final = 0.9999


@dataclass(slots=True)
class Run:
    """What one market came to, request by request."""

    certified_ms: list[float]
    plain_ms: list[float]
    with_gas_ms: list[float]
    gaps_bp: list[float]
    over_single_bp: list[float]
    below: int
    legs: list[int]


def run(_: Path) -> list[Figure]:
    """Measure every market; peers on the smallest."""
    figures: list[Figure] = []
    for count in (40, 300, 1_000):
        snapshot = market(count)
        figures += _figures(f"{count} pools", snapshot, GOAL_MS.get(count))
    real = real_market()
    if real is not None:
        figures += _figures(f"{len(real.pools)} real pools", real, None)
    return [*figures, *_peers(market(40))]


def requests(snapshot: Snapshot, count: int) -> list[RouteRequest]:
    """Return requests between tokens that share a pool, sizes log-uniform, sides in turn."""
    chance = random.Random(len(snapshot.pools))
    tokens = [token.asset.address for token in snapshot.tokens[:8]]
    found: list[RouteRequest] = []
    while len(found) < count:
        sold, bought = chance.sample(tokens, 2)
        pools = snapshot.between(sold, bought)
        side = Side.SELL if len(found) % 2 else Side.BUY
        fixed = sold if side is Side.SELL else bought
        depth = max((pool.depth(fixed) for pool in pools), default=0)
        amount = int(depth * 10 ** chance.uniform(-5, -2))
        if amount:
            found.append(_request(sold, bought, amount, side))
    return found


def _request(sold: str, bought: str, amount: int, side: Side) -> RouteRequest:
    return RouteRequest(
        sell=Asset(CHAIN, sold),
        buy=Asset(CHAIN, bought),
        amount=amount,
        side=side,
        max_slippage_ppm=Ppm(0),
        deadline_s=2,
        gas_price_wei=0,
        mix_venues=True,
        max_splits=16,
        max_hops=4,
    )


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    found = work()
    return (time.perf_counter() - began) * 1e3, found


def _measure(snapshot: Snapshot) -> Run:
    found = Run([], [], [], [], [], 0, [])
    asked = requests(snapshot, REQUESTS)
    plan(snapshot, asked[0])
    for request in asked:
        certified_ms, made = _timed(lambda r=request: plan(snapshot, r))
        plain_ms, _ = _timed(lambda r=request: plan(snapshot, replace(r, certify=False)))
        with_gas_ms, _ = _timed(lambda r=request: plan(snapshot, replace(r, gas_price_wei=GAS_WEI)))
        single = plan(snapshot, replace(request, max_splits=1, certify=False))
        if not isinstance(made, Plan) or not isinstance(single, Plan):
            continue
        found.plain_ms.append(plain_ms)
        found.with_gas_ms.append(with_gas_ms)
        found.certified_ms.append(certified_ms)
        found.gaps_bp.append((made.gap_ppm or 0) / 100)
        found.below += made.bound is not None and made.bound < made.amount_out
        found.over_single_bp.append(_better_bp(made, single))
        found.legs.append(len(made.route.legs))
    return found


def _better_bp(made: Plan, other: Plan) -> float:
    if made.side is Side.SELL:
        return (made.amount_out / other.amount_out - 1) * 1e4
    return (other.amount_in / made.amount_in - 1) * 1e4


def _figures(name: str, snapshot: Snapshot, goal_ms: float | None) -> list[Figure]:
    builds = [_timed(lambda: build(snapshot.index.tokens, snapshot.pools))[0] for _ in range(5)]
    found = _measure(snapshot)
    return [
        Figure(
            name=f"a certified plan over {name}, p50",
            value=median(found.certified_ms),
            unit="ms",
            goal=goal_ms,
            at_least=False,
            detail={
                "p95_ms": _p95(found.certified_ms),
                "without_certificate_p50_ms": round(median(found.plain_ms), 2),
                "without_certificate_p95_ms": _p95(found.plain_ms),
                "with_gas_p50_ms": round(median(found.with_gas_ms), 2),
                "index_per_snapshot_ms": round(median(builds), 1),
                "requests": len(found.certified_ms),
                "legs_p50": median(found.legs),
            },
        ),
        Figure(
            name=f"gap to the proven bound, {name}, p50",
            value=median(found.gaps_bp),
            unit="bp",
            goal=GOAL_GAP_BP,
            at_least=False,
            detail={
                "p95_bp": _p95(found.gaps_bp),
                "bounds_below_an_output": found.below,
                "over_best_single_path_p50_bp": round(median(found.over_single_bp), 3),
                "over_best_single_path_p95_bp": _p95(found.over_single_bp),
                "worst_against_single_bp": round(min(found.over_single_bp), 6),
            },
        ),
    ]


def _peers(snapshot: Snapshot) -> list[Figure]:
    """Compare sales on the smallest market with the convex optimum and the 5 % steps."""
    asked = [request for request in requests(snapshot, 4 * SOLVED) if request.side is Side.SELL]
    made = [(request, plan(snapshot, request)) for request in asked[:SOLVED]]
    sales = [(request, found) for request, found in made if isinstance(found, Plan)]
    steps = [(found, *_timed(lambda r=r: stepwise(snapshot, r))) for r, found in sales]
    over = [(found.amount_out / out - 1) * 1e4 for found, _, out in steps if out]
    figures = [
        Figure(
            name="output over a split search in 5 % steps, p50",
            value=median(over),
            unit="bp",
            goal=0.0,
            detail={
                "p95_bp": _p95(over),
                "worst_bp": round(min(over), 6),
                "its_p50_ms": round(median(ms for _, ms, _ in steps), 1),
                "requests": len(over),
            },
        )
    ]
    return figures + _against_solver(snapshot, sales)


def _against_solver(snapshot: Snapshot, sales: Sequence[tuple[RouteRequest, Plan]]) -> list[Figure]:
    shares, spent = [], []
    for request, found in sales:
        ms, optimum = _timed(lambda r=request: convex_optimum(snapshot, r))
        if isinstance(optimum, float):
            shares.append(found.amount_out / optimum)
            spent.append(ms)
    if not shares:
        return []
    return [
        Figure(
            name="output / the convex optimum by cvxpy, worst",
            value=min(shares),
            unit="share",
            goal=GOAL_SHARE,
            detail={
                "p50": round(median(shares), 8),
                "most": round(max(shares), 8),
                "its_p50_ms": round(median(spent), 1),
                "solved": len(shares),
                "asked": len(sales),
            },
        )
    ]


def _p95(values: Sequence[float]) -> float:
    return round(float(np.percentile(values, 95)), 3)
