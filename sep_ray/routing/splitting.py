"""How many legs are worth their gas."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sep_ray.routing.legs import exact_legs
from sep_ray.routing.optimum import Optimum
from sep_ray.routing.paths import Quoted
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.ranking import Candidate
from sep_ray.routing.split import Strand, fitted, strands

Describe = Callable[[Sequence[Quoted]], Candidate]


def best_split(whole: Optimum, request: RouteRequest, describe: Describe) -> Candidate | None:
    """Return the split that leaves most net of cost, or None where nothing can be split.

    Free of gas the widest paths are all taken, up to the request's `max_splits`. Else fewer legs
    are tried as well, each set with shares of its own, and the narrowest leg is dropped for as
    long as it does not earn its gas. Every count is compared net, in exact amounts.
    """
    flow = whole.flow
    if not flow.fits:
        return None
    drawn = strands(flow, request.side, request.max_hops, 2 * request.max_splits)
    if not drawn:
        return None
    tried: dict[int, Candidate | None] = {}

    def attempt(count: int) -> Candidate | None:
        if count not in tried:
            tried[count] = _candidate(whole, request, drawn[:count], describe)
        return tried[count]

    most = min(request.max_splits, len(drawn))
    for count in _counts(most, request.gas_price_wei):
        attempt(count)
    best = _better(tried)
    while best is not None and request.gas_price_wei and best > 2 and best - 1 not in tried:
        attempt(best - 1)
        best = _better(tried)
    return None if best is None else tried[best]


def _counts(most: int, gas_price_wei: int) -> list[int]:
    """Return how many legs are tried at first: all, and halves of that where gas costs."""
    found = [most]
    while gas_price_wei and found[-1] > 2:
        found.append(max(found[-1] // 2, 2))
    return found


def _better(tried: dict[int, Candidate | None]) -> int | None:
    found = [(item.rank(), n) for n, item in tried.items() if item]
    return min(found)[1] if found else None


def _candidate(
    whole: Optimum, request: RouteRequest, drawn: Sequence[Strand], describe: Describe
) -> Candidate | None:
    """Return the exact candidate of some paths with the shares that suit them best."""
    paths = [strand.edges for strand in drawn]
    amount, side, hops = request.amount, request.side, request.max_hops
    found = fitted(whole.graph, paths, amount, side, hops, len(drawn), whole.flow)
    legs = exact_legs(whole.graph, found, request) if found else None
    return None if legs is None else describe(legs)
