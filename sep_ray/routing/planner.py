"""From a snapshot and a request to a plan, in two phases so that a model may score in between.

    found = candidates(snapshot, request)
    plan = choose(found, model(rows(found)), request)

`plan` does both at once. Candidates are single paths and, where a request allows several legs, one
split route. They are ranked by formula; a model decides only among those near the best, so that a
bad model costs no more than the width of a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from sep_ray.intent.intent import Side
from sep_ray.kernel.units import MAX_UINT256, Asset
from sep_ray.routing.bound import HOPS, Certificate
from sep_ray.routing.choice import choose
from sep_ray.routing.cost import SPLIT_GAS, Conditions, CostEstimate, CostRow
from sep_ray.routing.features import Describer
from sep_ray.routing.optimum import Optimum, optimum
from sep_ray.routing.paths import Quoted, Search, search
from sep_ray.routing.plan import Plan, RouteRequest
from sep_ray.routing.prices import Ratio, price_between
from sep_ray.routing.ranking import Candidate, Candidates, least_bound, net_of
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot
from sep_ray.routing.splitting import best_split

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
    """Find the route that leaves most net of predicted cost, or say why there is none."""
    found = candidates(snapshot, request, conditions)
    if isinstance(found, NoRoute):
        return found
    if score is None:
        return choose(found, None, request)
    return choose(found, score(rows(found)), request, estimated_by="model")


def candidates(
    snapshot: Snapshot, request: RouteRequest, conditions: Conditions = _NO_CONDITIONS
) -> Candidates | NoRoute:
    """Return the KEEP best routes by formula (at least one): single paths, and a split if asked."""
    refusal = _refusal(snapshot, request)
    if refusal is not None:
        return refusal
    with np.errstate(all="ignore"):  # prices may lie further apart than floats; it is only a search
        return _candidates(snapshot, request, conditions)


def _candidates(
    snapshot: Snapshot, request: RouteRequest, conditions: Conditions
) -> Candidates | NoRoute:
    singles = search(snapshot, request)
    desk = _Desk(snapshot, request, conditions)
    items = [desk.candidate([path]) for path in singles.found]
    items.sort(key=Candidate.rank)
    whole = optimum(snapshot, request) if request.certify else None
    proof = _proof(whole, items)
    split = None if desk.pointless(items, proof) else _split(desk, whole, items)
    if split is not None:
        items.append(split)
        items.sort(key=Candidate.rank)
    if not items:
        return _nothing(singles)
    mid = price_between(snapshot, request.sell.address, request.buy.address)
    return Candidates(
        items=tuple(items[:KEEP]),
        block_number=snapshot.block_number,
        block_hash=snapshot.block_hash,
        mid=_first_mid(singles) if isinstance(mid, NoRoute) else mid,
        gas_value=desk.gas_value,
        considered=singles.considered,
        proof=proof,
    )


def rows(found: Candidates) -> tuple[CostRow, ...]:
    """Return what a cost model is to score, in the candidates' order."""
    return tuple(item.row for item in found.items)


class _Desk:
    """What is needed to turn quoted legs into a candidate."""

    def __init__(self, snapshot: Snapshot, request: RouteRequest, conditions: Conditions) -> None:
        self.snapshot, self.request = snapshot, request
        self.gas_value = _gas_value(snapshot, request)
        self._describer = Describer(snapshot, request, conditions)

    def candidate(self, legs: Sequence[Quoted]) -> Candidate:
        """Describe quoted legs, with their cost by formula."""
        side, formula = self.request.side, self._describer.formula(legs)
        counted = sum(leg.amount_out if side is Side.SELL else leg.amount_in for leg in legs)
        net = net_of(counted, formula, self.gas_value, self.request)
        return Candidate(tuple(legs), side, formula, net, self._describer)

    def pointless(self, items: Sequence[Candidate], proof: Sequence[Certificate]) -> bool:
        """Whether no sale in several legs can leave more than the best single path: not even one
        that gives all the proof allows, for the gas of the two cheapest pools."""
        if not items or self.request.side is not Side.SELL:
            return False
        most, best = least_bound(proof, self.request.amount), items[0]
        if most is None:
            return False
        least = best.formula._replace(gas=SPLIT_GAS)
        return net_of(most, least, self.gas_value, self.request) <= best.net


def _proof(whole: Optimum | None, items: Sequence[Candidate]) -> tuple[Certificate, ...]:
    """Return the certificates; where a path nearly reaches the cheap one, that alone."""
    if whole is None:
        return ()
    if any(whole.suffices(item) for item in items):
        return (whole.first,)
    return whole.certificates()


def _split(desk: _Desk, whole: Optimum | None, items: Sequence[Candidate]) -> Candidate | None:
    """Return the best route of several legs, or None where one path is as good."""
    request = desk.request
    if request.max_splits < 2:
        return None
    if request.split_venues:
        request, whole = replace(request, venues=request.split_venues), None
    if whole is None or request.max_hops < HOPS or not request.mix_venues:
        whole = optimum(desk.snapshot, request, mixing=request.mix_venues, hops=request.max_hops)
    if whole is None:
        return None
    if items and whole.suffices(items[0]):
        return None
    return best_split(whole, request, desk.candidate)


def _nothing(singles: Search) -> NoRoute:
    reasons = (reason for reason in _TELLING if reason in singles.failed)
    return NoRoute(reason=next(reasons, Reason.NO_PATH), detail=f"{singles.considered} paths")


def _unusable(snapshot: Snapshot, asset: Asset) -> tuple[Reason, Asset] | None:
    if asset.chain_id != snapshot.chain_id or snapshot.token(asset.address) is None:
        return Reason.UNKNOWN_TOKEN, asset
    return (Reason.TRANSFER_FEE, asset) if asset.address in snapshot.taxed else None


def _refusal(snapshot: Snapshot, request: RouteRequest) -> NoRoute | None:
    wrong = _unusable(snapshot, request.sell) or _unusable(snapshot, request.buy)
    if wrong is not None:
        return NoRoute(reason=wrong[0], detail=str(wrong[1]))
    if request.sell == request.buy:
        return NoRoute(reason=Reason.SAME_TOKEN, detail=str(request.sell))
    if request.amount <= 0:
        return NoRoute(reason=Reason.AMOUNT_TOO_SMALL, detail=str(request.amount))
    if request.amount > MAX_UINT256:
        return NoRoute(reason=Reason.AMOUNT_TOO_LARGE, detail="above 2^256-1")
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


def _first_mid(singles: Search) -> Ratio:
    """Return the mid of the shortest path's own pools."""
    return singles.found[0].way.mid if singles.found else (1, 1)
