"""The certificate: what no route over these pools can exceed.

Weak duality: give every token a price (the bought token's is 1). Whatever a route does, each pool
gains it at most max(p_out * out - p_in * in), the pool's own best trade at those prices, so

    output <= p_sell * input + sum over pools of their best trades            for any prices.

The prices come from the best flow (`flow.py`), where the bound is tight; wrong prices make it
loose, never false. A route's pools may be visited in any order and direction: what a sequence of
swaps does to a pool, one swap does no worse.

Where a circle of pools pays for going round, that profit needs no input and would sit in the bound
however small the request. Then each token has a price for every number of hops behind it: a path of
at most four hops gains, at its hop k through a pool, at most

    max over k of (p[k+1](out) * F' - p[k](in))      for each unit, F' the pool's rate there,

with p[k] the best rate to the bought token in the 4 - k hops left, so that a circle pays only what
the flow through it can carry. Two hops of four-hop paths that cross one pool in opposite directions
between other tokens are at most one hop apart; prices fall with k, so the pair gains nothing.

A float's error is far below MARGIN, by which everything is rounded outwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from sep_ray.routing.flow import Flow
from sep_ray.routing.graph import Graph, potentials
from sep_ray.routing.index import Floats, Ints

MARGIN: Final = 1e-9
"""Of all values that were added up. Sums of thousands of terms err by less than 1e-12."""
HOPS: Final = 4


@dataclass(frozen=True, slots=True)
class Certificate:
    """output <= price * input + extra, for every route; `slack` is what rounding may hide."""

    price: float
    extra: float
    slack: float

    def bound(self, amount_in: int) -> int | None:
        """Return the most that any route could give for an input, rounded up.

        None where prices lie so far apart that floats do not hold it.
        """
        value = self.price * float(amount_in) + self.extra + self.slack
        return math.ceil(value * (1.0 + MARGIN)) + 1 if math.isfinite(value) else None


def certify(graph: Graph, flow: Flow, *, circles: bool) -> Certificate:
    """Return the bound at a flow's prices; `graph` is all that routes may use.

    With `circles` it holds for paths of at most four hops, else for paths of any length.
    """
    if circles:
        return _layered(graph, flow.rate[graph.edges])
    price = np.full(graph.nodes, -np.inf)
    price[:] = flow.price - flow.price[graph.target]
    return _plain(flow.graph, price)


def at_spot(graph: Graph, price: Floats, *, circles: bool) -> Certificate:
    """Return the bound at the prices before anything is traded: tight for small amounts."""
    if circles:
        return _layered(graph, graph.rate)
    return Certificate(float(np.exp(price[graph.source])), 0.0, 0.0)


def _plain(graph: Graph, price: Floats) -> Certificate:
    ratio = price[graph.tail] - price[graph.head]
    places = np.flatnonzero(graph.half > 0.5 * ratio)
    value = np.exp(price)
    extra, volume = _gain(
        graph, places, value[graph.head[places]], value[graph.tail[places]], ratio[places]
    )
    return Certificate(float(value[graph.source]), extra, MARGIN * volume)


def _layered(graph: Graph, rate: Floats) -> Certificate:
    """Return the bound for paths of at most HOPS hops, prices by the hops that are left."""
    left = [potentials(graph, rate, rounds)[0] for rounds in range(HOPS + 1)]
    tail, head = graph.tail, graph.head
    first, last = tail == graph.source, head == graph.target
    direct = first & last
    terms = (
        (first & ~last, left[HOPS - 1], left[HOPS]),
        (direct, left[0], left[HOPS]),
        (last & ~first, left[0], left[1]),
    )
    extra, volume = 0.0, 0.0
    for chosen, out, into in terms:
        places = np.flatnonzero(chosen)
        gain = _hinge(graph, places, np.exp(out[head[places]]), np.exp(into[tail[places]]))
        extra, volume = extra + gain[0], volume + gain[1]
    gain = _inner(graph, np.flatnonzero(~first & ~last), [np.exp(each) for each in left])
    price = float(np.exp(left[HOPS][graph.source]))
    return Certificate(price, extra + gain[0], MARGIN * (volume + gain[1]))


def _inner(graph: Graph, places: Ints, left: list[Floats]) -> tuple[float, float]:
    """Sum the pools between other tokens, which may be hop 1 or hop 2 of a path (from 0).

    The larger of two hinges in F', (b1*F' - a1) and (b2*F' - a2) with b1 >= b2 and a1 >= a2: the
    one that begins first, and from where they meet the rest of the steeper one.
    """
    tail, head = graph.tail[places], graph.head[places]
    b1, a1, b2, a2 = left[2][head], left[3][tail], left[1][head], left[2][tail]
    steep = (b1 > 0.0) & (a1 * b2 <= a2 * b1)
    gain = _hinge(graph, places[steep], b1[steep], a1[steep])
    flat = ~steep
    lower = _hinge(graph, places[flat], b2[flat], a2[flat])
    upper = _hinge(graph, places[flat], (b1 - b2)[flat], (a1 - a2)[flat])
    return gain[0] + lower[0] + upper[0], gain[1] + lower[1] + upper[1]


def _hinge(graph: Graph, places: Ints, out: Floats, into: Floats) -> tuple[float, float]:
    """Sum max(out * F(x) - into * x) over edges, leaving out what is worth nothing."""
    worth = (out > 0.0) & (into > 0.0)
    places, out, into = places[worth], out[worth], into[worth]
    return _gain(graph, places, out, into, np.log(into) - np.log(out))


def _gain(
    graph: Graph, places: Ints, out: Floats, into: Floats, ratio: Floats
) -> tuple[float, float]:
    """Return the best trades' sum and the values that were added up for it."""
    depth = np.maximum(graph.half[places] - 0.5 * ratio, 0.0)
    moves = graph.index.at_depth(graph.edges[places], depth)
    given, taken = out * moves.amount_out, into * moves.amount_in
    return float(np.maximum(given - taken, 0.0).sum()), float((given + taken).sum())
