"""The certificate: what no route over these pools can exceed.

Weak duality: give every token a price (the bought token's is 1). Whatever a route does, each pool
gains it at most max(p_out * out - p_in * in), the pool's own best trade at those prices, so

    output <= p_sell * input + sum over pools of their best trades            for any prices.

The prices come from the best flow (`flow.py`), where the bound is tight; wrong prices make it
loose, never false. A route's pools may be visited in any order and direction: what a sequence of
swaps does to a pool, one swap does no worse.

Where a circle of pools pays for going round, that profit needs no input and would sit in the bound
however small the request. Then prices also say how many hops came before, so that a circle pays
only what the flow through it can carry. For paths sold > t1 > t2 > t3 > bought that meet no token
twice:

    p3(t)      its rate straight to the bought token
    p2(t | s)  the best of two hops from t that do not lead back to s, where the path came from
    p1(t)      the best of three hops, and p0 that of all four

and a unit gains a pool at most the largest p(k+1)(out) * F' - p(k)(in) over the hops k it may be,
F' its rate there. Two legs that cross a pool between other tokens in opposite directions gain
nothing by that: the price of where a leg is on its way never falls below that of a later hop, but
for p2(t | s) where the best way on leads to s. So p2(t | s) is raised to what the best way is
worth after the fee of any pool through which another leg can come to t, which makes up for it.

A float's error is far below MARGIN, by which everything is rounded outwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from sep_ray.routing.flow import Flow
from sep_ray.routing.graph import Graph
from sep_ray.routing.index import Flags, Floats, Ints

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

    With `circles` it holds for paths of at most four hops that meet no token twice, else for any.
    """
    if circles:
        return _layered(graph, flow.rate[graph.edges])
    return _plain(flow.graph, flow.price - flow.price[graph.target])


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


@dataclass(frozen=True, slots=True)
class _Layers:
    """Prices (logarithms) by the hops that came before; see the module's text."""

    sold: float
    one: Floats
    two: Floats
    back: Floats
    """p2 of a token for who came from `onwards` of it."""
    onwards: Ints
    three: Floats


def _layered(graph: Graph, rate: Floats) -> Certificate:
    """Return the bound for paths of at most four hops that meet no token twice."""
    tail, head = graph.tail, graph.head
    first, last = tail == graph.source, head == graph.target
    inner = np.flatnonzero(~first & ~last)
    layers = _prices(graph, rate, first, last, inner)
    one, three = np.exp(layers.one), np.exp(layers.three)
    sold = float(np.exp(layers.sold))
    extra, volume = _inner(graph, inner, layers)
    ones = np.ones(graph.nodes)
    terms = (
        (first & ~last, one, np.full(graph.nodes, sold)),
        (first & last, ones, np.full(graph.nodes, sold)),
        (last & ~first, ones, three),
    )
    for chosen, out, into in terms:
        places = np.flatnonzero(chosen)
        gain = _hinge(graph, places, out[head[places]], into[tail[places]])
        extra, volume = extra + gain[0], volume + gain[1]
    return Certificate(sold, extra, MARGIN * volume)


def _prices(graph: Graph, rate: Floats, first: Flags, last: Flags, inner: Ints) -> _Layers:
    tail, head = graph.tail[inner], graph.head[inner]
    straight = np.flatnonzero(last & ~first)
    three = _best(graph, graph.tail[straight], rate[straight])
    by_two = rate[inner] + three[head]
    best = _best(graph, tail, by_two)
    onwards = np.full(graph.nodes, -1)
    leading = by_two >= best[tail]
    onwards[tail[leading]] = head[leading]
    aside = head != onwards[tail]
    second = np.maximum(_best(graph, tail[aside], by_two[aside]), three)
    keeps = np.log(graph.index.keeps[graph.edges[inner]])
    fee = _best(graph, tail[aside], keeps[aside])
    two = np.maximum(best, three)
    back = np.minimum(np.maximum(second, two + fee), two)
    coming = np.where(onwards[head] == tail, back[head], two[head])
    one = np.maximum(_best(graph, tail, rate[inner] + coming), three)
    begin = np.flatnonzero(first)
    beyond = np.where(last[begin], 0.0, one[graph.head[begin]])
    sold = float(np.max(rate[begin] + beyond, initial=-np.inf))
    return _Layers(sold, one, two, back, onwards, three)


def _best(graph: Graph, nodes: Ints, values: Floats) -> Floats:
    """Return the largest value by node, -inf where there is none."""
    found: Floats = np.full(graph.nodes, -np.inf)
    np.maximum.at(found, nodes, values)
    return found


def _inner(graph: Graph, places: Ints, layers: _Layers) -> tuple[float, float]:
    """Sum the pools between other tokens, which may be hop 1 or hop 2 of a path (from 0).

    The larger of two hinges in F', (b1*F' - a1) and (b2*F' - a2) with b1 >= b2 and a1 >= a2: the
    one that begins first, and from where they meet the rest of the steeper one.
    """
    tail, head, onwards = graph.tail[places], graph.head[places], layers.onwards
    b1 = np.exp(np.where(onwards[head] == tail, layers.back[head], layers.two[head]))
    a1 = np.exp(layers.one[tail])
    b2 = np.exp(layers.three[head])
    a2 = np.exp(np.where(onwards[tail] == head, layers.two[tail], layers.back[tail]))
    steep = (b1 > 0.0) & (a1 * b2 <= a2 * b1)
    gain = _hinge(graph, places[steep], b1[steep], a1[steep])
    flat = ~steep
    lower = _hinge(graph, places[flat], b2[flat], a2[flat])
    upper = _hinge(graph, places[flat], (b1 - b2)[flat], (a1 - a2)[flat])
    return gain[0] + lower[0] + upper[0], gain[1] + lower[1] + upper[1]


def _hinge(graph: Graph, places: Ints, out: Floats, into: Floats) -> tuple[float, float]:
    """Sum max(out * F(x) - into * x) over edges, leaving out what gives nothing of worth.

    Where what goes in is worth nothing (the flow used up all ways on) a pool gives all it has.
    """
    worth = out > 0.0
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
