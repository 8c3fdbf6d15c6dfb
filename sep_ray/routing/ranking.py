"""Candidates and their order: what a path leaves once its predicted cost is paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sep_ray.intent.intent import Side
from sep_ray.kernel.units import PPM, Rounding, divide
from sep_ray.routing.bound import Certificate
from sep_ray.routing.cost import CostEstimate, CostRow
from sep_ray.routing.plan import Route, RouteRequest
from sep_ray.routing.prices import Ratio, convert

TIE_PPM: Final = 200
"""Candidates within 2 bp of the best, net, count as equal: the cost model breaks the tie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A quoted route with its features, its cost by formula and what it leaves net of that."""

    route: Route
    row: CostRow
    formula: CostEstimate
    net: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The best routes by formula, best first, and what a choice needs to know of the snapshot.

    `gas_value` is the price of one wei in the counted token, None where there is none; `proof`
    bounds every route over the same pools (the least of them counts; none: not asked for).
    """

    items: tuple[Candidate, ...]
    block_number: int
    block_hash: str
    mid: Ratio
    gas_value: Ratio | None
    considered: int
    proof: tuple[Certificate, ...] = ()

    def bound(self, amount_in: int) -> int | None:
        """Return the most that any route could give for `amount_in`; None when not asked for."""
        found = (each.bound(amount_in) for each in self.proof)
        return min((bound for bound in found if bound is not None), default=None)


def gas_cost(gas: int, gas_value: Ratio | None, request: RouteRequest) -> int | None:
    """Return the price of `gas` in the counted token, rounded up; None where gas has no price.

    What a rollup charges for the bytes is part of it.
    """
    if gas_value is None:
        return None
    wei = (gas + request.data_gas) * request.gas_price_wei + request.data_wei
    return convert(wei, gas_value, Rounding.UP)


def net_of(route: Route, cost: CostEstimate, gas_value: Ratio | None, request: RouteRequest) -> int:
    """Return output less gas and drift (SELL) or input plus gas and drift (BUY).

    Costs round up. Gas without a price counts as nothing.
    """
    selling = request.side is Side.SELL
    amount = route.amount_out if selling else route.amount_in
    drift = divide(amount * cost.slippage_ppm, PPM, Rounding.UP)
    paid = drift + (gas_cost(cost.gas, gas_value, request) or 0)
    return amount - paid if selling else amount + paid


def rank(route: Route, net: int, side: Side) -> tuple[int, int, tuple[str, ...]]:
    """Return a sort key, best first: net, then fewer pools, then addresses, so never by chance."""
    return (-net if side is Side.SELL else net), len(route.hops), route.pools


def near(item: Candidate, best: Candidate, side: Side) -> bool:
    """Whether `item` is within TIE_PPM of the best candidate's amount, net by formula."""
    amount = best.route.amount_out if side is Side.SELL else best.route.amount_in
    return abs(best.net - item.net) * PPM <= amount * TIE_PPM
