"""Shares into legs: exact amounts, quoted in the order in which they will run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sep_ray.routing.graph import Graph
from sep_ray.routing.paths import Step, quoted
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.split import Strand

_SCALE: Final = 1 << 52
"""Shares are floats: so many parts hold all that they can tell apart."""


def exact_legs(
    graph: Graph, strands: Sequence[Strand], request: RouteRequest
) -> list[tuple[Step, ...]] | None:
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
    legs: list[tuple[Step, ...]] = []
    for strand, amount in zip(ordered, amounts, strict=True):
        places = [int(index.pool[edge]) for edge in strand.edges]
        pools = [moved.get(place, index.pools[place]) for place in places]
        steps = quoted(pools, request.sell.address, request.buy.address, request, amount)
        if isinstance(steps, NoRoute):
            return None
        for place, step in zip(places, steps, strict=True):
            if uses[place] > 1:
                moved[place] = step.pool.moved(step.quote)
        legs.append(
            tuple(
                Step(index.pools[place], step.token_in, step.token_out, step.quote)
                for place, step in zip(places, steps, strict=True)
            )
        )
    return legs
