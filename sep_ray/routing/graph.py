"""The part of a market that one request may use: nodes, edges, and the best rates between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sep_ray.routing.index import Flags, Floats, Index, Ints
from sep_ray.routing.plan import RouteRequest

ROUNDS: Final = 10
"""Rounds after which rates that still improve are taken to be going round in circles."""
_SAME: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Graph:
    """Edges of an index between `source` and `target`, sorted by where they begin.

    A node is a token; where venues may not be mixed, a token of one venue (`node % tokens` is the
    token). No edge leads back to `source` or on from `target`: a route ends where it arrives.
    """

    index: Index
    edges: Ints
    tail: Ints
    head: Ints
    nodes: int
    source: int
    target: int
    groups: Ints
    """Where each node's edges begin, for nodes that have any."""
    begins: Ints
    """Which nodes those are."""
    rate: Floats
    """Logarithm of each edge's first rate, fee paid."""
    half: Floats
    """Half of `rate`: an edge trades once half the difference of log prices is below it."""

    def only(self, kept: Flags) -> Graph:
        """Return the graph of some of its edges."""
        return _graph(self, self.edges[kept], self.tail[kept], self.head[kept])


def select(index: Index, request: RouteRequest, *, mixing: bool, hops: int) -> Graph | None:
    """Return what a request may use, or None when its tokens are not in the index."""
    source = index.number.get(request.sell.address)
    target = index.number.get(request.buy.address)
    if source is None or target is None:
        return None
    tail, head = index.tail, index.head
    keep = (head != source) & (tail != target)
    if request.venues:
        allowed = np.array([name in request.venues for name in index.venues], dtype=np.bool_)
        keep &= allowed[index.venue]
    if request.hubs is not None:
        open_ = np.array([token in request.hubs for token in index.tokens])
        open_[[source, target]] = True
        keep &= open_[tail] & open_[head]
    keep &= _near(tail, head, source, target, hops)
    edges = np.flatnonzero(keep)
    tail, head, count = tail[edges], head[edges], len(index.tokens)
    if not mixing:
        shift = index.venue[edges] * count
        tail = np.where(tail == source, tail, tail + shift)
        head = np.where(head == target, head, head + shift)
        count *= len(index.venues)
    empty = np.zeros(0, dtype=np.int64)
    none = np.zeros(0)
    bare = Graph(index, empty, empty, empty, count, source, target, empty, empty, none, none)
    return _graph(bare, edges, tail, head)


def _near(tail: Ints, head: Ints, source: int, target: int, hops: int) -> Flags:
    """Keep what paths of so many hops can use; three and more are left to whoever draws paths."""
    kept: Flags = np.ones(len(tail), dtype=np.bool_)
    if hops == 1:
        kept = (tail == source) & (head == target)
    if hops == 2:
        kept = (tail == source) | (head == target)
    return kept


def _graph(base: Graph, edges: Ints, tail: Ints, head: Ints) -> Graph:
    order = np.argsort(tail, kind="stable")
    edges, tail, head = edges[order], tail[order], head[order]
    groups = np.flatnonzero(np.diff(tail, prepend=-1))
    rate = base.index.log_rate[edges]
    return replace(
        base,
        edges=edges,
        tail=tail,
        head=head,
        groups=groups,
        begins=tail[groups],
        rate=rate,
        half=rate / 2.0,
    )


def potentials(graph: Graph, rate: Floats, rounds: int = ROUNDS) -> tuple[Floats, bool]:
    """Return the logarithm of the best rate from each node to the target, and whether it is final.

    `rate` are the edges' (logarithms). Not final: after `rounds` (hops) rates still improve, so
    that some circle of pools pays for going round; what is returned counts paths up to there.
    """
    best = np.full(graph.nodes, -np.inf)
    best[graph.target] = 0.0
    if not len(graph.edges):
        return best, True
    for _ in range(rounds):
        found = np.maximum.reduceat(best[graph.head] + rate, graph.groups)
        known = best[graph.begins]
        if not (found > known + _SAME).any():
            return best, True
        best[graph.begins] = np.maximum(found, known)
    return best, False
