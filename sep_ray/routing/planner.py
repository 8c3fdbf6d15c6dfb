"""From a snapshot and a request to a plan, in two phases so that a model may score in between.

    found = candidates(snapshot, request)
    plan = choose(found, model(rows(found)), request)

`plan` does both at once. Candidates are ranked by formula; a model decides only among those near
the best, so that a bad model costs no more than the width of a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sep_ray.intent.intent import Side
from sep_ray.routing.choice import choose
from sep_ray.routing.cost import Conditions, CostEstimate, CostRow, estimate
from sep_ray.routing.features import cost_row, path_price
from sep_ray.routing.paths import Step, search
from sep_ray.routing.plan import Hop, Path, Plan, RouteRequest, route_of
from sep_ray.routing.prices import Ratio, price_between
from sep_ray.routing.ranking import Candidate, Candidates, net_of, rank
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot

__all__ = ["Candidate", "Candidates", "Scorer", "candidates", "choose", "plan", "rows"]

KEEP: Final = 16
"""Candidates that go on to be scored: the best by formula."""
_NO_CONDITIONS: Final = Conditions()
_TELLING: Final = (
    Reason.OUTSIDE_KNOWN_TICKS,
    Reason.POOL_INCONSISTENT,
    Reason.INSUFFICIENT_LIQUIDITY,
    Reason.AMOUNT_TOO_LARGE,
    Reason.AMOUNT_TOO_SMALL,
)
"""Why paths fail, the reason that explains most first."""

Scorer = Callable[[Sequence[CostRow]], Sequence[CostEstimate]]


def plan(
    snapshot: Snapshot,
    request: RouteRequest,
    score: Scorer | None = None,
    conditions: Conditions = _NO_CONDITIONS,
) -> Plan | NoRoute:
    """Find the path that leaves most net of predicted cost, or say why there is none."""
    found = candidates(snapshot, request, conditions)
    if isinstance(found, NoRoute):
        return found
    if score is None:
        return choose(found, None, request)
    return choose(found, score(rows(found)), request, estimated_by="model")


def candidates(
    snapshot: Snapshot, request: RouteRequest, conditions: Conditions = _NO_CONDITIONS
) -> Candidates | NoRoute:
    """Quote every direct and two-pool path and keep the KEEP best by formula (at least one)."""
    refusal = _refusal(snapshot, request)
    if refusal is not None:
        return refusal
    result = search(snapshot, request)
    if not result.found:
        reasons = (reason for reason in _TELLING if reason in result.failed)
        return NoRoute(reason=next(reasons, Reason.NO_PATH), detail=f"{result.considered} paths")
    gas_value = _gas_value(snapshot, request)
    items = [_candidate(steps, snapshot, request, conditions, gas_value) for steps in result.found]
    items.sort(key=lambda item: rank(item.route, item.net, request.side))
    mid = price_between(snapshot, request.sell.address, request.buy.address)
    return Candidates(
        items=tuple(items[:KEEP]),
        block_number=snapshot.block_number,
        block_hash=snapshot.block_hash,
        mid=path_price(result.found[0]) if isinstance(mid, NoRoute) else mid,
        gas_value=gas_value,
        considered=result.considered,
    )


def rows(found: Candidates) -> tuple[CostRow, ...]:
    """Return what a cost model is to score, in the candidates' order."""
    return tuple(item.row for item in found.items)


def _refusal(snapshot: Snapshot, request: RouteRequest) -> NoRoute | None:
    for asset in (request.sell, request.buy):
        if asset.chain_id != snapshot.chain_id or snapshot.token(asset.address) is None:
            return NoRoute(reason=Reason.UNKNOWN_TOKEN, detail=str(asset))
    if request.sell == request.buy:
        return NoRoute(reason=Reason.SAME_TOKEN, detail=str(request.sell))
    if request.amount <= 0:
        return NoRoute(reason=Reason.AMOUNT_TOO_SMALL, detail=str(request.amount))
    if request.deadline_s <= snapshot.block_time_s:
        return NoRoute(reason=Reason.DEADLINE_PASSED, detail=str(request.deadline_s))
    return None


def _gas_value(snapshot: Snapshot, request: RouteRequest) -> Ratio | None:
    """Return the price of one wei in the token whose amount the request leaves open."""
    counted = request.buy if request.side is Side.SELL else request.sell
    if snapshot.wrapped_native is None:
        return None
    price = price_between(snapshot, snapshot.wrapped_native, counted.address)
    return None if isinstance(price, NoRoute) else price


def _candidate(
    steps: tuple[Step, ...],
    snapshot: Snapshot,
    request: RouteRequest,
    conditions: Conditions,
    gas_value: Ratio | None,
) -> Candidate:
    route = route_of([Path(hops=tuple(_hop(step) for step in steps))], request.side)
    row = cost_row(steps, snapshot, request, conditions)
    formula = estimate(row)
    net = net_of(route, formula, gas_value, request)
    return Candidate(route=route, row=row, formula=formula, net=net)


def _hop(step: Step) -> Hop:
    return Hop(
        pool=step.pool.address,
        venue=step.pool.venue,
        fee_ppm=step.pool.fee_ppm,
        token_in=step.token_in,
        token_out=step.token_out,
        amount_in=step.quote.amount_in,
        amount_out=step.quote.amount_out,
        ticks_crossed=step.quote.ticks_crossed,
    )
