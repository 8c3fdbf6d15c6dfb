"""Candidates and their order: what a path leaves once its predicted cost is paid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sep_ray.intent.intent import Side
from sep_ray.kernel.units import PPM, Rounding, divide
from sep_ray.routing.bound import Certificate
from sep_ray.routing.cost import CostEstimate, CostRow
from sep_ray.routing.features import Describer
from sep_ray.routing.paths import Quoted
from sep_ray.routing.plan import Route, RouteRequest, route_of
from sep_ray.routing.prices import Ratio, convert

TIE_PPM: Final = 200
"""Candidates within 2 bp of the best, net, count as equal: the cost model breaks the tie."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Quoted legs with their cost by formula and what they leave net of that."""

    legs: tuple[Quoted, ...]
    side: Side
    formula: CostEstimate
    net: int
    describer: Describer

    @property
    def row(self) -> CostRow:
        """The features, for a cost model."""
        return self.describer.row(self.legs)

    @property
    def amount_in(self) -> int:
        return sum(leg.amount_in for leg in self.legs)

    @property
    def amount_out(self) -> int:
        return sum(leg.amount_out for leg in self.legs)

    @property
    def counted(self) -> int:
        """The amount that the request leaves open."""
        return self.amount_out if self.side is Side.SELL else self.amount_in

    @property
    def pools(self) -> tuple[str, ...]:
        """The addresses of the pools, leg by leg."""
        if len(self.legs) == 1:
            return self.legs[0].way.addresses
        return tuple(address for leg in self.legs for address in leg.way.addresses)

    @property
    def route(self) -> Route:
        """The legs as a plan names them."""
        return route_of([leg.path() for leg in self.legs], self.side)

    def rank(self, net: int | None = None) -> tuple[int, int, tuple[str, ...]]:
        """Return a sort key, best first: net, then fewer pools, then addresses, so never by chance.

        `net` is another's word for what it leaves (None: by formula).
        """
        leaves = self.net if net is None else net
        return (-leaves if self.side is Side.SELL else leaves), len(self.pools), self.pools


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
        return least_bound(self.proof, amount_in)


def least_bound(proof: Iterable[Certificate], amount_in: int) -> int | None:
    """Return the least of what certificates allow for an input; None where none says anything."""
    found = (each.bound(amount_in) for each in proof)
    return min((bound for bound in found if bound is not None), default=None)


def gas_cost(gas: int, gas_value: Ratio | None, request: RouteRequest) -> int | None:
    """Return the price of `gas` in the counted token, rounded up; None where gas has no price.

    What a rollup charges for the bytes is part of it.
    """
    if gas_value is None:
        return None
    wei = (gas + request.data_gas) * request.gas_price_wei + request.data_wei
    return convert(wei, gas_value, Rounding.UP)


def net_of(counted: int, cost: CostEstimate, gas_value: Ratio | None, request: RouteRequest) -> int:
    """Return output less gas and drift (SELL) or input plus gas and drift (BUY).

    `counted` is that output or input. Costs round up. Gas without a price counts as nothing.
    """
    drift = divide(counted * cost.slippage_ppm, PPM, Rounding.UP)
    paid = drift + (gas_cost(cost.gas, gas_value, request) or 0)
    return counted - paid if request.side is Side.SELL else counted + paid


def near(item: Candidate, best: Candidate) -> bool:
    """Whether `item` is within TIE_PPM of the best candidate's amount, net by formula."""
    return abs(best.net - item.net) * PPM <= best.counted * TIE_PPM
