"""The best flow where circles of pools pay for going round.

There the convex optimum would go round, which no set of paths does. So the tokens between are put
into three rows and pools lead from an earlier row to a later one only: whatever flows then is a set
of paths of at most four hops. The rows are improved for as long as some path that meets no token
twice still beats what is paid for the last unit: its tokens are put in its order, and those that
flow now around them, widest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sep_ray.intent.intent import Side
from sep_ray.routing.bound import HOPS
from sep_ray.routing.flow import Flow, best_flow
from sep_ray.routing.graph import Graph, potentials
from sep_ray.routing.index import Floats

ROWS: Final = 8
"""Ways to put tokens into rows that are tried at most (P12)."""
GAIN: Final = 1e-5
"""A path has to beat the last unit by a tenth of a basis point."""
WALKED: Final = 400


def flow_in_order(graph: Graph, amount: float, side: Side, price: Floats) -> Flow:
    """Return the best flow found whose pools all lead to a later row."""
    place = _first_row(graph, price)
    flow = best = best_flow(_onwards(graph, place), amount, side, price)
    for _ in range(ROWS - 1):
        path = _better_path(graph, flow) if flow.fits else []
        if not path:
            break
        place = _next_row(flow, path, place)
        flow = best_flow(_onwards(graph, place), amount, side, price)
        best = max(best, flow, key=lambda found: _gives(found, side))
    return best


def _gives(flow: Flow, side: Side) -> float:
    """Return the output (SELL) or minus the input (BUY), to compare flows of one request."""
    graph = flow.graph
    if not flow.fits:
        return -np.inf
    if side is Side.SELL:
        return float(flow.moves.amount_out[graph.head[flow.active] == graph.target].sum())
    return -float(flow.moves.amount_in[graph.tail[flow.active] == graph.source].sum())


def _onwards(graph: Graph, place: Floats) -> Graph:
    first, last = graph.tail == graph.source, graph.head == graph.target
    return graph.only(first | last | (place[graph.tail] < place[graph.head]))


def _first_row(graph: Graph, price: Floats) -> Floats:
    """Put tokens that are deep with what is sold first, those deep with what is bought last."""
    index = graph.index
    with np.errstate(invalid="ignore"):
        depth = index.seg_liquidity[index.first[graph.edges]] * index.start[graph.edges]
        depth = np.nan_to_num(depth * np.exp(price[graph.head]))
    first, last = graph.tail == graph.source, graph.head == graph.target
    with_sold = np.bincount(graph.head[first], depth[first], graph.nodes)
    with_bought = np.bincount(graph.tail[last], depth[last], graph.nodes)
    share = with_bought / (with_sold + with_bought + 1e-300)
    row: Floats = np.floor(np.minimum(share, 0.999) * (HOPS - 1))
    return row


def _next_row(flow: Flow, path: list[int], place: Floats) -> Floats:
    """Return rows that the path and as much as possible of the flow go along."""
    graph = flow.graph
    tail, head = graph.tail[flow.active].tolist(), graph.head[flow.active].tolist()
    value = (np.exp(flow.price[graph.head[flow.active]]) * flow.moves.amount_out).tolist()
    widest = sorted(zip(value, tail, head, strict=True), reverse=True)
    known = {node: step for step, node in enumerate(path[1:-1])}
    for _, one, other in widest:
        if graph.source in (one, other) or graph.target in (one, other):
            continue
        if one in known and other not in known:
            known[other] = min(known[one] + 1, HOPS - 2)
        elif other in known and one not in known:
            known[one] = max(known[other] - 1, 0)
    row = place.copy()
    row[list(known)] = list(known.values())
    return row


@dataclass(slots=True)
class _Walk:
    """The best path of next rates that meets no token twice, looked for depth first."""

    graph: Graph
    rate: Floats
    left: list[Floats]
    best: float
    path: tuple[int, ...] = ()
    steps: int = 0

    def go(self, so_far: tuple[int, ...], gained: float, hops: int) -> None:
        node = so_far[-1]
        if node == self.graph.target:
            self.best, self.path = gained, so_far
            return
        self.steps += 1
        low, high = np.searchsorted(self.graph.tail, (node, node + 1))
        heads, rates = self.graph.head[low:high], self.rate[low:high]
        hopes = gained + rates + self.left[hops - 1][heads]
        for place in np.argsort(-hopes):
            if hopes[place] <= self.best or self.steps > WALKED:
                return
            head = int(heads[place])
            if head not in so_far:
                self.go((*so_far, head), gained + float(rates[place]), hops - 1)


def _better_path(graph: Graph, flow: Flow) -> list[int]:
    """Return the tokens of a path whose next unit beats the flow's, or nothing."""
    rate = flow.rate[graph.edges]
    paid = float(flow.price[graph.source] - flow.price[graph.target])
    left = [potentials(graph, rate, hops)[0] for hops in range(HOPS + 1)]
    walk = _Walk(graph, rate, left, paid + GAIN)
    walk.go((graph.source,), 0.0, HOPS)
    return list(walk.path)
