"""The cheapest way to move value between assets, on one chain by swapping and between chains by
bridges: which edges, in which amounts. A pure function in integers of one numeraire.

A minimum-cost flow with convex costs (impact grows with size) and a fixed cost per edge used (gas).
For a given set of edges the flow is found parcel by parcel, each along the cheapest path at the
margin, which may take back what earlier parcels did (successive shortest paths: exact for convex
costs up to the parcel). Fixed costs make the set of edges a choice: small nets try all sets, larger
ones drop edges for as long as that helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from sep_ray.kernel.units import PPM, Asset

PARCELS: Final = 16
"""Into how many parts the value to be moved is cut."""
TRIED_PAIRS: Final = 4
"""Pairs of assets up to which every set of edges is tried."""
_FAR: Final = 1 << 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A way from one asset to another. All in smallest units of the numeraire.

    Moving x costs `fixed + x * ppm / 1e6 + x * x / depth`, rounded up; `depth` None: no impact;
    `most` None: no bound.
    """

    source: Asset
    target: Asset
    fixed: int = 0
    ppm: int = 0
    depth: int | None = None
    most: int | None = None

    def running(self, x: int) -> int:
        """Return what moving x costs beside the fixed cost, rounded up."""
        impact = -(-x * x // self.depth) if self.depth else 0
        return -(-x * self.ppm // PPM) + impact

    def cost(self, x: int) -> int:
        """Return what moving x costs, nothing for nothing."""
        return self.fixed + self.running(x) if x else 0


Flow = dict[int, int]
"""Value moved by edge (its place in the sequence)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be moved.

    * `hands`: what each asset has at hand to give
    * `surplus`, `lacks`: what groups of assets are to give and to receive; any of a group may
    """

    hands: Mapping[Asset, int]
    surplus: Mapping[frozenset[Asset], int]
    lacks: Mapping[frozenset[Asset], int]

    @property
    def total(self) -> int:
        """Return how much can be moved at most."""
        gives = (min(n, sum(self.hands.get(a, 0) for a in g)) for g, n in self.surplus.items())
        return min(sum(gives), sum(self.lacks.values()))


def cheapest(edges: Sequence[Edge], task: Task) -> tuple[Flow, int]:
    """Return flow and cost that fulfil the task as far as edges and hands allow.

    What cannot be moved stays: moving more value always comes before moving it for less.
    """
    pairs = sorted({frozenset((edge.source, edge.target)) for edge in edges}, key=sorted)
    if len(pairs) > TRIED_PAIRS:
        return _dropping(edges, task)
    by_pair = [
        [None, *(n for n, e in enumerate(edges) if {e.source, e.target} == p)] for p in pairs
    ]
    best: tuple[int, int, Flow] | None = None
    for chosen in product(*by_pair):
        allowed = frozenset(n for n in chosen if n is not None)
        flow, moved = _flow(edges, allowed, task)
        cost = _cost(edges, flow)
        if best is None or (-moved, cost) < (-best[0], best[1]):
            best = (moved, cost, flow)
    return (best[2], best[1]) if best else ({}, 0)


def _dropping(edges: Sequence[Edge], task: Task) -> tuple[Flow, int]:
    allowed = frozenset(range(len(edges)))
    flow, moved = _flow(edges, allowed, task)
    cost = _cost(edges, flow)
    while True:
        tried = [(allowed - {n}, *_flow(edges, allowed - {n}, task)) for n in flow]
        better = [
            (_cost(edges, other), sorted(rest), rest, other)
            for rest, other, much in tried
            if much >= moved and _cost(edges, other) < cost
        ]
        if not better:
            return flow, cost
        cost, _, allowed, flow = min(better, key=lambda each: each[:2])


def _cost(edges: Sequence[Edge], flow: Flow) -> int:
    return sum(edges[n].cost(x) for n, x in flow.items())


@dataclass(slots=True)
class _State:
    """How far a flow has come: what is moved over each edge, and what is left to give and lack."""

    hands: dict[Asset, int]
    surplus: dict[frozenset[Asset], int]
    lacks: dict[frozenset[Asset], int]
    flow: Flow

    def gives(self, asset: Asset) -> int:
        """Return what an asset may still give."""
        bound = max((n for group, n in self.surplus.items() if asset in group), default=0)
        return min(self.hands.get(asset, 0), bound)

    def take(self, asset: Asset, size: int) -> None:
        """Let an asset have given so much."""
        self.hands[asset] -= size
        group = next(g for g in self.surplus if asset in g)
        self.surplus[group] -= size


def _flow(edges: Sequence[Edge], allowed: frozenset[int], task: Task) -> tuple[Flow, int]:
    """Return the flow over some of the edges, and how much value it brings."""
    state = _State(dict(task.hands), dict(task.surplus), dict(task.lacks), {})
    total, moved = task.total, 0
    parcel = max(-(-total // PARCELS), 1)
    while moved < total:
        path = _path(edges, allowed, state, min(parcel, total - moved))
        if path is None:
            break
        start, steps, group, size = path
        for n, sign in steps:
            state.flow[n] = state.flow.get(n, 0) + sign * size
        state.take(start, size)
        state.lacks[group] -= size
        moved += size
    return {n: x for n, x in state.flow.items() if x}, moved


_Found = tuple[Asset, list[tuple[int, int]], frozenset[Asset], int]


def _path(
    edges: Sequence[Edge], allowed: frozenset[int], state: _State, parcel: int
) -> _Found | None:
    """Return the cheapest way of another parcel: from where, over which edges (backwards: -1), to
    whom, and how much fits. Bellman-Ford, because edges taken back have negative costs."""
    cost: dict[Asset, int] = {asset: 0 for asset in state.hands if state.gives(asset) > 0}
    came: dict[Asset, tuple[int, int]] = {}
    nodes = {asset for n in allowed for asset in (edges[n].source, edges[n].target)}
    for _ in range(len(nodes)):
        changed = False
        for n in sorted(allowed):
            for sign in (1, -1):
                changed |= _relax(edges, n, sign, state.flow.get(n, 0), parcel, cost, came)
        if not changed:
            break
    ends = [
        (cost[asset], asset, group)
        for group, units in state.lacks.items()
        if units > 0
        for asset in group
        if asset in came
    ]
    if not ends:
        return None
    _, asset, group = min(ends, key=lambda end: end[:2])
    steps = _steps(edges, asset, came)
    start = _start(edges, steps[-1])
    ahead = [(edges[n].most, state.flow.get(n, 0)) for n, sign in steps if sign > 0]
    room = [most - x for most, x in ahead if most is not None]
    back = [state.flow[n] for n, sign in steps if sign < 0]
    size = min(parcel, state.gives(start), state.lacks[group], *room, *back)
    return (start, steps, group, size) if size > 0 else None


def _steps(
    edges: Sequence[Edge], end: Asset, came: Mapping[Asset, tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the way to an asset, last step first."""
    found: list[tuple[int, int]] = []
    while end in came:
        found.append(came[end])
        end = _start(edges, came[end])
    return found


def _start(edges: Sequence[Edge], step: tuple[int, int]) -> Asset:
    n, sign = step
    return edges[n].source if sign > 0 else edges[n].target


def _relax(
    edges: Sequence[Edge],
    n: int,
    sign: int,
    x: int,
    parcel: int,
    cost: dict[Asset, int],
    came: dict[Asset, tuple[int, int]],
) -> bool:
    """Try one edge in one direction; whether it made its end cheaper."""
    edge = edges[n]
    start, end = (edge.source, edge.target) if sign > 0 else (edge.target, edge.source)
    if start not in cost or (sign < 0 and x <= 0) or (sign > 0 and edge.most and x >= edge.most):
        return False
    after = max(x + sign * parcel, 0)
    price = cost[start] + edge.running(after) - edge.running(x)
    if price >= cost.get(end, _FAR) or end in _passed(edges, start, came):
        return False
    cost[end] = price
    came[end] = (n, sign)
    return True


def _passed(
    edges: Sequence[Edge], asset: Asset, came: Mapping[Asset, tuple[int, int]]
) -> set[Asset]:
    """Return the assets on the way to one, with itself: a way never comes by twice."""
    return {asset, *(_start(edges, step) for step in _steps(edges, asset, came))}
