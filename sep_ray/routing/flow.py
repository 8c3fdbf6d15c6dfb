"""The best flow through a market, in floats: prices at which every pool's own best trade fits.

Maximising the output over all pools at once is convex; its dual has one price per token, and for
given prices every pool's most profitable trade is a closed formula (Angeris et al. 2022; Diamandis
et al. 2023, "An Efficient Algorithm for Optimal Routing Through CFMMs"). Minimise over prices p

    sum over pools of max(p_out * out - p_in * in)  +  p_sell * amount        (p_buy = 1)

or, when the output is fixed, minus p_buy * amount with p_sell = 1. Where the gradient, what each
token is short or over, is zero, the trades are the best route. Newton's method in the prices'
logarithms gets there: its matrix is that of a network of resistors, one for each pool that trades.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sep_ray.intent.intent import Side
from sep_ray.routing.graph import Graph
from sep_ray.routing.index import Flags, Floats, Ints, Moves

STEPS: Final = 40
CLOSE: Final = 1e-7
"""A token may be short by so much of the whole: the output is off by its square."""
FAR: Final = 1e-2
"""Beyond this the flow is of no use: the market cannot carry the amount."""
WIDEST: Final = 1.0
"""No price moves by more than a factor of e in a step."""
_REACH: Final = 0.01
_RIDGE: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Flow:
    """Prices and the trades they lead to.

    `graph`: what it runs through. `price`: logarithms by node. `active`: places in the graph's
    edges that trade, `moves` what they trade. `error`: the largest imbalance of a token as a
    share of the whole.
    """

    graph: Graph
    price: Floats
    active: Ints
    moves: Moves
    error: float

    @property
    def rate(self) -> Floats:
        """By edge of the index: the logarithm of its next rate once the flow has passed."""
        index, used = self.graph.index, self.graph.edges[self.active]
        rate = index.log_rate.copy()
        rate[used] = np.log(index.keeps[used]) + 2.0 * np.log(self.moves.root)
        ended = self.moves.root <= index.start[used] * np.exp(-index.last[used])
        rate[used[ended]] = -np.inf
        return rate

    @property
    def fits(self) -> bool:
        """Whether the trades add up to a route."""
        return self.error <= FAR


@dataclass(slots=True)
class _Point:
    """The dual at some prices."""

    price: Floats
    depth: Floats
    active: Ints
    moves: Moves
    value: Floats
    gradient: Floats


class _Dual:
    """The function that is minimised, for one graph, amount and side."""

    def __init__(self, graph: Graph, amount: float, side: Side) -> None:
        self.graph = graph
        self.amount = float(amount)
        selling = side is Side.SELL
        self.fixed = graph.target if selling else graph.source
        self.end = graph.source if selling else graph.target
        self.sign = 1.0 if selling else -1.0

    def at(self, price: Floats) -> _Point:
        """Let every pool trade at these prices and add up what each token is over or short."""
        graph = self.graph
        depth = graph.half - 0.5 * (price[graph.tail] - price[graph.head])
        active = np.flatnonzero(depth > 0.0)
        moves = graph.index.at_depth(graph.edges[active], depth[active])
        tail, head = graph.tail[active], graph.head[active]
        value = np.exp(price)
        gradient: Floats = np.zeros(graph.nodes)
        gradient += np.bincount(head, value[head] * moves.amount_out, graph.nodes)
        gradient -= np.bincount(tail, value[tail] * moves.amount_in, graph.nodes)
        gradient[self.end] += self.sign * value[self.end] * self.amount
        gradient[self.fixed] = 0.0
        return _Point(price, depth, active, moves, value, gradient)

    def error(self, point: _Point) -> float:
        """Return the largest imbalance as a share of the whole."""
        whole = point.value[self.end] * self.amount
        return float(np.abs(point.gradient).max() / whole)

    def step(self, point: _Point, reach: float) -> Floats:
        """Return Newton's step; pools that it may wake (within `reach`) resist already."""
        graph = self.graph
        index = graph.index
        near = np.flatnonzero((point.depth > -reach) & (point.depth <= 0.0))
        both = np.concatenate((point.active, near))
        conducts = np.concatenate(
            (
                point.moves.liquidity * point.moves.root,
                index.seg_liquidity[index.first[graph.edges[near]]]
                * index.start[graph.edges[near]],
            )
        )
        conducts *= 0.5 * point.value[graph.head[both]]
        conducts[point.depth[both] >= index.last[graph.edges[both]]] = 0.0
        return self._solve(point, graph.tail[both], graph.head[both], conducts)

    def _solve(self, point: _Point, tail: Ints, head: Ints, conducts: Floats) -> Floats:
        """Solve the network for the nodes it touches; the others stay where they are."""
        touched = np.zeros(self.graph.nodes, dtype=np.bool_)
        touched[tail] = True
        touched[head] = True
        touched[self.end] = True
        touched[self.fixed] = False
        nodes = np.flatnonzero(touched)
        count = len(nodes)
        place = np.full(self.graph.nodes, count)
        place[nodes] = np.arange(count)
        wide = count + 1
        t, h = place[tail], place[head]
        matrix = np.bincount(
            np.concatenate((t * wide + t, h * wide + h, t * wide + h, h * wide + t)),
            np.concatenate((conducts, conducts, -conducts, -conducts)),
            wide * wide,
        ).astype(np.float64)
        matrix = matrix.reshape(wide, wide)[:count, :count]
        whole = point.value[self.end] * self.amount
        matrix[np.arange(count), np.arange(count)] += _RIDGE * whole
        step = np.zeros(self.graph.nodes)
        step[nodes] = np.linalg.solve(matrix, -point.gradient[nodes])
        return step


def best_flow(graph: Graph, amount: float, side: Side, price: Floats) -> Flow:
    """Return the flow that gives most for `amount` (SELL) or takes least for it (BUY).

    `price` are logarithms to begin with, such as `potentials`; nodes at -inf take no part. A
    flow that does not fit (see `Flow.fits`) says that the market cannot carry the amount.
    """
    known = np.isfinite(price)
    graph = graph if known.all() else _between(graph, known)
    dual = _Dual(graph, amount, side)
    price = np.where(known, price - price[dual.fixed], 0.0)
    point, reach = dual.at(price), _REACH
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(STEPS):
            if not dual.error(point) > CLOSE:
                break
            try:
                step = dual.step(point, reach)
            except np.linalg.LinAlgError:
                break
            largest = float(np.abs(step).max())
            if not np.isfinite(largest):
                break
            if largest > WIDEST:
                step *= WIDEST / largest
            point, share = _search(dual, point, step)
            reach = min(reach, share * largest)
    return Flow(graph, point.price, point.active, point.moves, dual.error(point))


def _between(graph: Graph, known: Flags) -> Graph:
    return graph.only(known[graph.tail] & known[graph.head])


def _search(dual: _Dual, point: _Point, step: Floats) -> tuple[_Point, float]:
    """Go along the step until the function no longer falls much: its slope decides, not its value,
    which floats cannot tell apart near the end."""
    slope = float(point.gradient @ step)
    share = 1.0
    for _ in range(12):
        there = dual.at(point.price + share * step)
        ahead = float(there.gradient @ step)
        if ahead <= -0.5 * slope:
            break
        share *= min(max(slope / (slope - ahead), 0.1), 0.7) if ahead > slope else 0.5
    return there, share
