"""The second phase of planning: one candidate becomes the plan, the others its alternatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from sep_ray.intent.intent import Limit, Side
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import PPM, Rounding, divide
from sep_ray.routing.cost import CostEstimate, floored
from sep_ray.routing.plan import Alternative, Lost, Plan, Route, RouteRequest
from sep_ray.routing.ranking import Candidate, Candidates, gas_cost, near, net_of
from sep_ray.routing.reasons import NoRoute, Reason

ALTERNATIVES: Final = 8
"""Losers a plan remembers, the best of them."""
BY_FORMULA: Final = "formula"


def choose(
    found: Candidates,
    estimates: Sequence[CostEstimate] | None,
    request: RouteRequest,
    *,
    estimated_by: str = BY_FORMULA,
) -> Plan | NoRoute:
    """Take the best candidate by formula; estimates decide among those near it.

    `estimates` are one for each candidate (None: the formula's) and are floored by the formula;
    `estimated_by` names where they came from. Fails with BELOW_LIMIT or GAS_ABOVE_MAXIMUM when
    all candidates do, giving the reason of the best of them.
    """
    costs = _costs(found, estimates)
    lost = [_lost(item, cost, request) for item, cost in zip(found.items, costs, strict=True)]
    eligible = [place for place, why in enumerate(lost) if why is None]
    if not eligible:
        return NoRoute(reason=Reason(str(lost[0])), detail=f"{len(lost)} candidates")
    best = found.items[eligible[0]]
    taken = min(
        (place for place in eligible if near(found.items[place], best)),
        key=lambda place: _predicted(found, place, costs[place], request),
    )
    others = islice(_alternatives(found, taken, lost, best), ALTERNATIVES)
    return _plan(found, taken, costs[taken], tuple(others), request, estimated_by)


def limit_of(route: Route, request: RouteRequest) -> int:
    """Return the least output (SELL, rounded up) or the most input (BUY, rounded down).

    The tighter of the allowed slippage off the quote and the limit price.
    """
    price = request.limit_price or Limit(numerator=0, denominator=1)
    slippage = request.max_slippage_ppm
    if request.side is Side.SELL:
        by_slippage = divide(route.amount_out * (PPM - slippage), PPM, Rounding.UP)
        by_price = divide(route.amount_in * price.numerator, price.denominator, Rounding.UP)
        return max(by_slippage, by_price)
    by_slippage = divide(route.amount_in * (PPM + slippage), PPM, Rounding.DOWN)
    if price.numerator == 0:
        return by_slippage
    return min(by_slippage, route.amount_out * price.denominator // price.numerator)


def _costs(found: Candidates, estimates: Sequence[CostEstimate] | None) -> list[CostEstimate]:
    if estimates is None:
        return [item.formula for item in found.items]
    if len(estimates) != len(found.items):
        raise InvariantBroken("one estimate for each candidate", got=len(estimates))
    return [
        floored(item.formula, given) for item, given in zip(found.items, estimates, strict=True)
    ]


def _lost(item: Candidate, cost: CostEstimate, request: RouteRequest) -> Lost | None:
    """Return why a candidate may not be taken, whatever it leaves."""
    price = request.limit_price
    if price is not None:
        wanted = item.amount_in * price.numerator
        if item.amount_out * price.denominator < wanted:
            return Lost.BELOW_LIMIT
    if request.max_gas is not None and cost.gas + request.bytes_gas > request.max_gas:
        return Lost.GAS_ABOVE_MAXIMUM
    return None


def _predicted(
    found: Candidates, place: int, cost: CostEstimate, request: RouteRequest
) -> tuple[int, int, tuple[str, ...]]:
    item = found.items[place]
    return item.rank(net_of(item.counted, cost, found.gas_value, request))


def _alternatives(
    found: Candidates, taken: int, lost: Sequence[Lost | None], best: Candidate
) -> Iterator[Alternative]:
    for place, item in enumerate(found.items):
        if place == taken:
            continue
        yield Alternative(
            pools=item.pools,
            amount_in=item.amount_in,
            amount_out=item.amount_out,
            net=item.net,
            lost=lost[place] or (Lost.TIE_BROKEN if near(item, best) else Lost.LESS_NET),
        )


def _plan(
    found: Candidates,
    taken: int,
    cost: CostEstimate,
    alternatives: tuple[Alternative, ...],
    request: RouteRequest,
    estimated_by: str,
) -> Plan:
    item = found.items[taken]
    route, row = item.route, item.row
    return Plan(
        sell=request.sell,
        buy=request.buy,
        side=request.side,
        amount_in=route.amount_in,
        amount_out=route.amount_out,
        limit=limit_of(route, request),
        deadline_s=request.deadline_s,
        block_number=found.block_number,
        block_hash=found.block_hash,
        route=route,
        gas_estimate=cost.gas,
        gas_price_wei=request.gas_price_wei,
        gas_cost=gas_cost(cost.gas, found.gas_value, request),
        slippage_ppm=cost.slippage_ppm,
        inclusion_blocks=cost.inclusion_blocks,
        net=item.net,
        net_predicted=net_of(item.counted, cost, found.gas_value, request),
        estimated_by=estimated_by,
        mid=found.mid,
        impact_ppm=row.impact_ppm,
        fee_ppm=row.fee_ppm,
        considered=found.considered,
        alternatives=alternatives,
        bound=found.bound(route.amount_in),
    )
