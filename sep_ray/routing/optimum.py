"""The best route over a whole market and what proves it: splits and the certificate together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sep_ray.kernel.units import PPM
from sep_ray.routing.bound import HOPS, Certificate, at_spot, certify
from sep_ray.routing.flow import Flow, best_flow
from sep_ray.routing.graph import Graph, potentials, select
from sep_ray.routing.index import Floats, Index
from sep_ray.routing.order import flow_in_order
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.ranking import Candidate
from sep_ray.routing.snapshot import Snapshot

ENOUGH_PPM: Final = 2
"""A single path so close to the bound at the first prices is as good as any split."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is the same for every amount: the graph, the prices before anything is traded, whether
    circles of pools pay, and the bound at those prices, which is tight for small amounts."""

    graph: Graph
    price: Floats
    circles: bool
    first: Certificate


class Optimum:
    """One request's ground with its best flow, found when it is first needed."""

    def __init__(self, ground: Ground, request: RouteRequest) -> None:
        self.graph, self.first = ground.graph, ground.first
        self._ground, self._request = ground, request
        self._flow: Flow | None = None

    @property
    def flow(self) -> Flow:
        """The best flow; without circles where the market has some that pay."""
        if self._flow is None:
            flow = flow_in_order if self._ground.circles else best_flow
            amount, side = float(self._request.amount), self._request.side
            self._flow = flow(self.graph, amount, side, self._ground.price)
        return self._flow

    def certificates(self) -> tuple[Certificate, ...]:
        """Return the bounds at the first prices and, where there is a flow, at the flow's."""
        if not self.flow.fits:
            return (self.first,)
        return self.first, certify(self.graph, self.flow, circles=self._ground.circles)

    def suffices(self, candidate: Candidate) -> bool:
        """Whether a route is within ENOUGH_PPM of the bound at the first prices."""
        bound = self.first.bound(candidate.amount_in)
        return bound is not None and (bound - candidate.amount_out) * PPM <= ENOUGH_PPM * bound


def optimum(
    snapshot: Snapshot, request: RouteRequest, *, mixing: bool = True, hops: int = HOPS
) -> Optimum | None:
    """Return what is best over all pools that a request allows; None where nothing leads there."""
    scope = request.sell, request.buy, request.venues, request.hubs, mixing, hops
    ground = snapshot.once(
        ("ground", *scope), lambda: _ground(snapshot.index, request, mixing=mixing, hops=hops)
    )
    return None if ground is None else Optimum(ground, request)


def _ground(index: Index, request: RouteRequest, *, mixing: bool, hops: int) -> Ground | None:
    graph = select(index, request, mixing=mixing, hops=hops)
    if graph is None:
        return None
    price, final = potentials(graph, graph.rate)
    if not np.isfinite(price[graph.source]):
        return None
    return Ground(graph, price, not final, at_spot(graph, price, circles=not final))
