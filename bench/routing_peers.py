"""What routing is measured against: a convex solver, and a split search in steps of 5 %."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import Any, Final

import numpy as np

from sep_ray.routing.paths import every_path
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot

STEP: Final = 5
MOST_ROUTES: Final = 7
"""Legs that the public smart-order-router allows on Ethereum by default."""
CANDIDATES: Final = 48
"""Paths it would quote at every step: the best by the whole amount and by one step."""
SEGMENTS: Final = 12
"""Of a pool's direction, from the price on: no request of the benchmark goes further."""

Paths = list[tuple[Pool, ...]]


def stepwise(snapshot: Snapshot, request: RouteRequest) -> int:
    """Return the output of the best split in steps of STEP %, no pool used by two legs.

    As the public smart-order-router does: quote each candidate of at most three pools at every
    percentage, then fill up 100 % with routes that share no pool, most output first.
    """
    ways = _ways(snapshot, request)
    amounts = [request.amount * percent // 100 for percent in range(0, 101, STEP)]
    table = {
        percent: sorted(
            (
                (_run(way, request.sell.address, amounts[percent // STEP]), n)
                for n, way in enumerate(ways)
            ),
            reverse=True,
        )
        for percent in range(STEP, 101, STEP)
    }
    used = [frozenset(pool.address for pool in way) for way in ways]
    return _filled(table, used, 100, frozenset(), MOST_ROUTES, 100)


def _filled(
    table: dict[int, list[tuple[int, int]]],
    used: list[frozenset[str]],
    left: int,
    taken: frozenset[str],
    routes: int,
    largest: int,
) -> int:
    """Return the most that `left` percent give in at most so many routes, largest part first."""
    best = 0
    for percent in range(min(left, largest), 0, -STEP):
        if percent * routes < left:
            break
        free = ((out, n) for out, n in table[percent] if not used[n] & taken)
        for out, n in islice(free, 2 if routes == MOST_ROUTES else 1):
            rest = 0
            if left > percent:
                rest = _filled(table, used, left - percent, taken | used[n], routes - 1, percent)
                if not rest:
                    continue
            best = max(best, out + rest)
    return best


def _ways(snapshot: Snapshot, request: RouteRequest) -> Paths:
    """Return the candidates: all paths of up to three pools, ranked at both ends of the sizes."""
    asked = replace(request, max_hops=3)
    every = list(every_path(snapshot, asked))
    sold = request.sell.address
    found: Paths = []
    for amount in (request.amount, max(request.amount * STEP // 100, 1)):
        ranked = sorted(every, key=lambda way: -_run(way, sold, amount))
        found += [way for way in ranked[: CANDIDATES // 2] if way not in found]
    return found


def _run(way: tuple[Pool, ...], token: str, amount: int) -> int:
    for pool in way:
        quote = pool.exact_in(token, amount) if amount else None
        if quote is None or isinstance(quote, NoRoute):
            return 0
        token = pool.token1 if token == pool.token0 else pool.token0
        amount = quote.amount_out
    return amount


def convex_optimum(snapshot: Snapshot, request: RouteRequest) -> float | None:
    """Return the most output that a generic convex solver finds, or None where it cannot.

    Each segment of constant liquidity of each direction takes x and gives L*w*(1 - 1/(1 + x*w/L)),
    up to its end; tokens are counted in the bought token, so that the numbers are of one size. What
    comes back to the sold token or leaves the bought one is left out, as for any route.
    """
    if find_spec("cvxpy") is None:
        return None
    cvxpy: Any = import_module("cvxpy")
    index = snapshot.index
    source, target = index.number[request.sell.address], index.number[request.buy.address]
    worth = _worth(snapshot, request)
    scale = float(request.amount) * worth[source]
    rows = _rows(index, source, target, worth, scale)
    if not rows:
        return None
    tail, head, keeps, reserve_in, reserve_out, most = (
        np.array(each) for each in zip(*rows, strict=True)
    )
    x = cvxpy.Variable(len(rows), nonneg=True)
    given = cvxpy.multiply(reserve_out, 1 - cvxpy.inv_pos(1 + cvxpy.multiply(x, 1 / reserve_in)))
    y = cvxpy.Variable(len(rows), nonneg=True)
    nodes = len(index.tokens)
    into, out = _incidence(head, nodes), _incidence(tail, nodes, 1 / keeps)
    over = into @ y - out @ x
    start = np.zeros(nodes)
    start[source] = 1.0
    middle = [node for node in range(nodes) if node != target]
    problem = cvxpy.Problem(
        cvxpy.Maximize(over[target]), [y <= given, x <= most, (over + start)[middle] >= 0]
    )
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            problem.solve(solver=cvxpy.CLARABEL)
    except cvxpy.error.SolverError:
        return None
    if problem.status != cvxpy.OPTIMAL or problem.value is None:
        return None
    return float(problem.value) * scale


def _incidence(nodes: Any, count: int, weight: Any = None) -> Any:
    coo_array = import_module("scipy.sparse").coo_array
    places = np.arange(len(nodes))
    weights = np.ones(len(nodes)) if weight is None else weight
    return coo_array((weights, (nodes, places)), shape=(count, len(nodes))).tocsr()


def _worth(snapshot: Snapshot, request: RouteRequest) -> list[float]:
    """Return what a unit of each token is worth in the bought one, about."""
    from sep_ray.routing.prices import price_between

    found = []
    for token in snapshot.index.tokens:
        price = price_between(snapshot, token, request.buy.address)
        found.append(0.0 if isinstance(price, NoRoute) else price[0] / price[1])
    return found


def _rows(
    index: Any, source: int, target: int, worth: list[float], scale: float
) -> list[tuple[int, int, float, float, float, float]]:
    """Return segments as (tail, head, 1 - fee, virtual in and out, most net in), scaled."""
    rows = []
    for edge in range(len(index.tail)):
        tail, head = int(index.tail[edge]), int(index.head[edge])
        if head == source or tail == target or not worth[tail] or not worth[head]:
            continue
        low, high = int(index.first[edge]), int(index.first[edge + 1])
        for place in range(low, min(high, low + SEGMENTS)):
            liquidity, top = float(index.seg_liquidity[place]), float(index.seg_top[place])
            reserve_in = liquidity / top * worth[tail] / scale
            reserve_out = liquidity * top * worth[head] / scale
            last = place + 1 >= high
            end = math.inf if last else float(index.seg_in[place + 1])
            most = min((end - float(index.seg_in[place])) * worth[tail] / scale, 10.0)
            if liquidity and most > 0.0:
                rows.append((tail, head, float(index.keeps[edge]), reserve_in, reserve_out, most))
    return rows
