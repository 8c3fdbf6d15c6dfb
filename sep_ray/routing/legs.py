"""Shares into legs: exact amounts, quoted in the order in which they will run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sep_ray.routing.graph import Graph
from sep_ray.routing.paths import Quoted, quoted, way_through
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.split import Strand

_SCALE: Final = 1 << 52
"""Shares are floats: so many parts hold all that they can tell apart."""


def exact_legs(
    graph: Graph, strands: Sequence[Strand], request: RouteRequest
) -> list[Quoted] | None:
    """Quote the legs of a split one after the other, or None when one of them cannot be quoted.

    The widest comes first; all but the last are rounded down and the last takes the remainder, so
    that they add up to the request's amount to the unit. A pool that several legs pass is quoted
    for each as those before leave it.
    """
    index = graph.index
    ordered = sorted(strands, key=lambda strand: (-strand.share, strand.edges))
    amounts = [request.amount * int(strand.share * _SCALE) // _SCALE for strand in ordered[:-1]]
    amounts.append(request.amount - sum(amounts))
    uses = Counter(int(index.pool[edge]) for strand in ordered for edge in strand.edges)
    moved: dict[int, Pool] = {}
    legs: list[Quoted] = []
    for strand, amount in zip(ordered, amounts, strict=True):
        places = [int(index.pool[edge]) for edge in strand.edges]
        sell = request.sell.address
        way = way_through([moved.get(place, index.pools[place]) for place in places], sell)
        leg = quoted(way, amount, request.side)
        if isinstance(leg, NoRoute):
            return None
        for place, pool, quote in zip(places, way.pools, leg.quotes, strict=True):
            if uses[place] > 1:
                moved[place] = pool.moved(quote)
        untouched = way_through([index.pools[place] for place in places], sell)
        legs.append(Quoted(untouched, leg.quotes))
    return legs
