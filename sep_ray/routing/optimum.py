"""The best route over a whole market and what proves it: splits and the certificate together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sep_ray.kernel.units import PPM
from sep_ray.routing.bound import HOPS, Certificate, at_spot, certify
from sep_ray.routing.flow import Flow, best_flow
from sep_ray.routing.graph import Graph, potentials, select
from sep_ray.routing.index import Floats
from sep_ray.routing.order import flow_in_order
from sep_ray.routing.plan import Route, RouteRequest
from sep_ray.routing.snapshot import Snapshot

ENOUGH_PPM: Final = 2
"""A single path so close to the bound at the first prices is as good as any split."""


@dataclass(slots=True)
class Optimum:
    """One request's graph with its best flow, found when it is first needed."""

    graph: Graph
    price: Floats
    circles: bool
    request: RouteRequest
    _flow: Flow | None = None
    _first: Certificate | None = None

    @property
    def flow(self) -> Flow:
        """The best flow; without circles where the market has some that pay."""
        if self._flow is None:
            flow = flow_in_order if self.circles else best_flow
            amount = float(self.request.amount)
            self._flow = flow(self.graph, amount, self.request.side, self.price)
        return self._flow

    @property
    def first(self) -> Certificate:
        """The bound at the first prices: no work, and tight for small amounts."""
        if self._first is None:
            self._first = at_spot(self.graph, self.price, circles=self.circles)
        return self._first

    def certificates(self) -> tuple[Certificate, ...]:
        """Return the bounds at the first prices and, where there is a flow, at the flow's."""
        if not self.flow.fits:
            return (self.first,)
        return self.first, certify(self.graph, self.flow, circles=self.circles)

    def suffices(self, route: Route) -> bool:
        """Whether a route is within ENOUGH_PPM of the bound at the first prices."""
        bound = self.first.bound(route.amount_in)
        return bound is not None and (bound - route.amount_out) * PPM <= ENOUGH_PPM * bound


def optimum(
    snapshot: Snapshot, request: RouteRequest, *, mixing: bool = True, hops: int = HOPS
) -> Optimum | None:
    """Return what is best over all pools that a request allows; None where nothing leads there."""
    graph = select(snapshot.index, request, mixing=mixing, hops=hops)
    if graph is None:
        return None
    price, final = potentials(graph, graph.rate)
    if not np.isfinite(price[graph.source]):
        return None
    return Optimum(graph, price, not final, request)
