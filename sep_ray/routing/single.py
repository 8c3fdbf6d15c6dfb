"""The best single paths of up to four hops in a large market, without looking at all of them.

Per token and number of hops only the best way to get there goes on. That cannot lose the winner:
a pool gives more for more, so of two ways to a token the better one is better however it goes on.
Only a path that comes back to a token it has left could gain by having come another way; such a
path exists only where a circle of pools pays, and if one should win, all paths whose first rates
could still beat the best are walked (a pool's average rate never exceeds its first).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sep_ray.intent.intent import Side
from sep_ray.routing.graph import Graph, potentials
from sep_ray.routing.index import Floats, Ints
from sep_ray.routing.split import Edges

KEEP: Final = 16
WALKED: Final = 2_000
"""Ways that are extended at most where circles pay (P12)."""


def best_paths(graph: Graph, amount: int, side: Side, hops: int) -> list[Edges]:
    """Return up to KEEP paths that give most (SELL) or take least (BUY), in floats, best first."""
    ranked = _layers(graph, float(amount), side, hops)
    found = [edges for _, edges in ranked if _simple(graph, edges)]
    if ranked and (not found or found[0] != ranked[0][1]):
        floor = next((value for value, edges in ranked if _simple(graph, edges)), -np.inf)
        better = _walk(graph, float(amount), side, hops, floor)
        found = [better, *found] if better else found
    return found[:KEEP]


@dataclass(frozen=True, slots=True)
class _Way:
    """A graph seen from the fixed end: forwards to sell, backwards to buy; more is better.

    Amounts are as they are when selling, negative when buying.
    """

    graph: Graph
    selling: bool

    @property
    def begin(self) -> int:
        return self.graph.source if self.selling else self.graph.target

    @property
    def end(self) -> int:
        return self.graph.target if self.selling else self.graph.source

    @property
    def near(self) -> Ints:
        return self.graph.tail if self.selling else self.graph.head

    @property
    def far(self) -> Ints:
        return self.graph.head if self.selling else self.graph.tail

    def along(self, places: Ints, amounts: Floats) -> Floats:
        """Return what the edges at `places` make of the amounts; -inf for nothing."""
        edges, index = self.graph.edges[places], self.graph.index
        if not self.selling:
            return -index.needed(edges, -amounts)
        sold = index.sold(edges, amounts)
        return np.where(sold > 0.0, sold, -np.inf)

    def path(self, places: list[int]) -> Edges:
        """Return edges in the order in which they run, of places in the order of the search."""
        edges = tuple(int(self.graph.edges[place]) for place in places)
        return edges if self.selling else edges[::-1]


def _layers(graph: Graph, amount: float, side: Side, hops: int) -> list[tuple[float, Edges]]:
    """Return the best ways over each last edge and number of hops, best first."""
    way = _Way(graph, side is Side.SELL)
    reached = np.full(graph.nodes, -np.inf)
    reached[way.begin] = amount if way.selling else -amount
    came: list[Ints] = []
    found: list[tuple[float, int, int]] = []
    for hop in range(hops):
        places = np.flatnonzero(np.isfinite(reached[way.near]))
        value = way.along(places, reached[way.near[places]])
        last = np.flatnonzero((way.far[places] == way.end) & np.isfinite(value))
        found += [(float(value[each]), hop, int(places[each])) for each in last]
        reached = np.full(graph.nodes, -np.inf)
        np.maximum.at(reached, way.far[places], value)
        reached[way.end] = -np.inf
        best = np.flatnonzero((value >= reached[way.far[places]]) & np.isfinite(value))
        by = np.full(graph.nodes, -1)
        by[way.far[places[best]]] = places[best]
        came.append(by)
    found.sort(key=lambda each: (-each[0], each[1], each[2]))
    return [(value, _back(way, came, hop, place)) for value, hop, place in found[: 2 * KEEP]]


def _back(way: _Way, came: list[Ints], hop: int, place: int) -> Edges:
    places = [place]
    for by in reversed(came[:hop]):
        places.append(int(by[way.near[places[-1]]]))
    return way.path(places[::-1])


def _simple(graph: Graph, edges: Edges) -> bool:
    """Whether a path meets no token twice."""
    index = graph.index
    tokens = [int(index.tail[edges[0]]), *(int(index.head[edge]) for edge in edges)]
    return len(set(tokens)) == len(tokens)


def _walk(graph: Graph, amount: float, side: Side, hops: int, floor: float) -> Edges | None:
    """Return a path that meets no token twice and beats `floor`, the best of them, or None."""
    way = _Way(graph, side is Side.SELL)
    rates = [_optimistic(way, left) for left in range(hops + 1)]
    best: Edges | None = None
    start = amount if way.selling else -amount
    stack: list[tuple[float, int, tuple[int, ...], frozenset[int]]] = [
        (start, way.begin, (), frozenset({way.begin}))
    ]
    for _ in range(WALKED):
        if not stack:
            break
        value, node, so_far, met = stack.pop()
        places = np.flatnonzero(way.near == node)
        values = way.along(places, np.full(len(places), value))
        for place, reached in zip(places.tolist(), values.tolist(), strict=True):
            far, left = int(way.far[place]), hops - len(so_far) - 1
            if far in met or not np.isfinite(reached) or not reached * rates[left][far] > floor:
                continue
            if far == way.end:
                floor, best = reached, way.path([*so_far, place])
            elif left:
                stack.append((reached, far, (*so_far, place), met | {far}))
    return best


def _optimistic(way: _Way, hops: int) -> Floats:
    """Return by node the best factor that so many hops could still multiply an amount by."""
    graph = way.graph
    if way.selling:
        factor: Floats = np.exp(potentials(graph, graph.rate, hops)[0])
        return factor
    cost: Floats = np.full(graph.nodes, -np.inf)
    cost[graph.source] = 0.0
    for _ in range(hops):
        found = cost.copy()
        np.maximum.at(found, graph.head, cost[graph.tail] + graph.rate)
        cost = found
    factor = np.exp(-cost)
    return factor
