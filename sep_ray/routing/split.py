"""From a flow to legs: paths with shares, and the shares that suit a given set of paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final

import numpy as np

from sep_ray.intent.intent import Side
from sep_ray.routing.flow import Flow, best_flow
from sep_ray.routing.graph import Graph

SMALLEST: Final = 1e-4
"""Edges that carry less of the whole are left out: what they add is below a hundredth of a bp."""
DUST: Final = 1e-9
REPEATS: Final = 3

Edges = tuple[int, ...]
"""A path as edges of the index."""


@dataclass(frozen=True, slots=True)
class Strand:
    """A path and its share (0..1) of the fixed amount."""

    edges: Edges
    share: float


@dataclass(slots=True)
class _Net:
    """A flow as shares of the whole: conserved at every node, whatever the tokens are worth."""

    source: int
    target: int
    tail: list[int]
    head: list[int]
    share: list[float]
    name: list[int]


def strands(
    flow: Flow, side: Side, hops: int, most: int, smallest: float = SMALLEST
) -> list[Strand]:
    """Draw a flow as paths of at most `hops` edges, widest first, at most `most` of them.

    Shares are of the fixed amount and need not add up to 1: what no short path carries is left.
    """
    net = _shares(flow, side, smallest)
    found: list[Strand] = []
    while net is not None and len(found) < most:
        path = _widest(net, hops)
        width = min((net.share[place] for place in path), default=0.0)
        if width <= DUST:
            break
        for place in path:
            net.share[place] -= width
        found.append(Strand(tuple(net.name[place] for place in path), width))
    return found


def fitted(
    graph: Graph, paths: Sequence[Edges], amount: int, side: Side, hops: int, most: int, flow: Flow
) -> list[Strand]:
    """Return the best shares for what these paths' edges can carry, in at most `most` paths.

    The edges are flooded anew without the others; dropping the narrowest path and flooding again
    ends with shares that add up to 1.
    """
    found: list[Strand] = []
    for _ in range(REPEATS):
        used = np.zeros(len(graph.index.tail), dtype=np.bool_)
        used[[edge for path in paths for edge in path]] = True
        part = graph.only(used[graph.edges])
        again = best_flow(part, float(amount), side, flow.price)
        if not again.fits:
            break
        drawn = strands(again, side, hops, 2 * most, DUST)
        found = sorted(drawn, key=lambda strand: -strand.share)[:most]
        if len(found) == len(drawn) and sum(strand.share for strand in found) > 1.0 - 1e-6:
            break
        paths = [strand.edges for strand in found]
    total = sum(strand.share for strand in found)
    return [Strand(strand.edges, strand.share / total) for strand in found]


def _shares(flow: Flow, side: Side, smallest: float) -> _Net | None:
    """Follow the fixed amount from its end: every node passes on what reaches it in proportion.

    None where the flow goes in a circle.
    """
    graph = flow.graph
    tail, head = graph.tail[flow.active].tolist(), graph.head[flow.active].tolist()
    selling = side is Side.SELL
    near, far = (tail, head) if selling else (head, tail)
    amounts = (flow.moves.amount_in if selling else flow.moves.amount_out).tolist()
    out: dict[int, list[int]] = {}
    for place, node in enumerate(near):
        out.setdefault(node, []).append(place)
    try:
        order = list(TopologicalSorter(_before(near, far)).static_order())
    except CycleError:
        return None
    reaches = {graph.source if selling else graph.target: 1.0}
    share = [0.0] * len(near)
    for node in order:
        total = sum(amounts[place] for place in out.get(node, ()))
        for place in out.get(node, ()):
            share[place] = reaches.get(node, 0.0) * amounts[place] / total if total else 0.0
            reaches[far[place]] = reaches.get(far[place], 0.0) + share[place]
    kept = [place for place, part in enumerate(share) if part > smallest]
    names = graph.edges[flow.active].tolist()
    return _Net(
        source=graph.source,
        target=graph.target,
        tail=[tail[place] for place in kept],
        head=[head[place] for place in kept],
        share=[share[place] for place in kept],
        name=[names[place] for place in kept],
    )


def _before(near: Sequence[int], far: Sequence[int]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for one, other in zip(near, far, strict=True):
        found.setdefault(other, set()).add(one)
    return found


def _widest(net: _Net, hops: int) -> list[int]:
    """Return the widest path of at most `hops` edges as places, or nothing."""
    width: dict[int, tuple[float, list[int]]] = {net.source: (1.0, [])}
    best: tuple[float, list[int]] = 0.0, []
    for _ in range(hops):
        reached: dict[int, tuple[float, list[int]]] = {}
        for place, node in enumerate(net.tail):
            if node in width:
                wide = min(width[node][0], net.share[place])
                if wide > reached.get(net.head[place], best)[0]:
                    reached[net.head[place]] = wide, [*width[node][1], place]
        best = max(best, reached.pop(net.target, best), key=lambda found: found[0])
        width = reached
    return best[1]
