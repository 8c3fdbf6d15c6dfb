"""Plans for many trades at once: one snapshot, one question to the cost model.

Trades of one round follow one another through the same pools, so a later one is planned on the
market as the earlier ones leave it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final, Protocol

from sep_ray.decomposition.step import Step
from sep_ray.engine.ports import Model
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.ports import FREE, DataCost, Head
from sep_ray.intent.intent import Constraints, Side
from sep_ray.journal.records import Tick
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import PPM, Asset
from sep_ray.routing.choice import limit_of
from sep_ray.routing.cost import Conditions, CostEstimate, as_floats
from sep_ray.routing.guard import guarded
from sep_ray.routing.plan import Plan, Route, RouteRequest
from sep_ray.routing.planner import Candidates, candidates, choose, rows
from sep_ray.routing.planner import plan as plan_by_formula
from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.prices import Ratio, mid_price
from sep_ray.routing.ranking import TIE_PPM
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.rerun import Rerun, rerun
from sep_ray.routing.snapshot import Snapshot

MAX_SPLITS: Final = 4
"""Legs of one swap. More of them earn fractions of a basis point, and block space is not free."""
MAX_HOPS: Final = 3

EWMA_WEIGHT: Final = 50
"""A new gas price counts one part in so many in the slow average."""


class Snapshots(Protocol):
    """Where snapshots come from."""

    async def read(self, head: Head) -> Snapshot:
        """Return the market right after a block. Raises Transient when it cannot be read."""

    async def confirm(self, head: Head, pools: Iterable[str]) -> frozenset[str]:
        """Hold pools of the snapshot of that block against the chain; return those that differ.

        They are stopped and gone from what `read` gives. Raises Transient when it cannot be done.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What is to be swapped: smallest units of the side named, within the constraints."""

    sell: Asset
    buy: Asset
    amount: int
    side: Side
    constraints: Constraints

    @classmethod
    def of(cls, step: Step) -> Trade:
        """Return what a step asks for."""
        return cls(
            sell=step.sell,
            buy=step.buy,
            amount=step.amount,
            side=step.side,
            constraints=step.constraints,
        )

    def request(
        self, deadline_s: int, gas_price_wei: int, data: DataCost = FREE, *, mix_venues: bool
    ) -> RouteRequest:
        """Return it as routing is asked; `data` is what a rollup charges for its bytes.

        A purchase never mixes venues within a leg, and its legs are several only without V2: no
        router call fixes an output across two families, or through V2 pairs beside other legs
        (they give what the input buys, a few units more than was asked).
        """
        bounds = self.constraints
        selling = self.side is Side.SELL
        exact = (bounds.venues or frozenset(Venue)) - {Venue.UNISWAP_V2}
        return RouteRequest(
            sell=self.sell,
            buy=self.buy,
            amount=self.amount,
            side=self.side,
            max_slippage_ppm=bounds.max_slippage,
            deadline_s=deadline_s,
            gas_price_wei=gas_price_wei,
            limit_price=bounds.limit,
            venues=bounds.venues,
            max_gas=bounds.max_gas,
            mix_venues=mix_venues and selling,
            max_splits=MAX_SPLITS if selling or exact else 1,
            split_venues=frozenset() if selling else exact,
            max_hops=MAX_HOPS,
            data_gas=data.gas,
            data_wei=data.wei,
        )


class WorkingMarket:
    """A snapshot as our own transactions in flight will leave it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.base = snapshot
        self._pools = {pool.address: pool for pool in snapshot.pools}
        self._touched: set[str] = set()
        self._now: Snapshot | None = snapshot
        self._last: Rerun | None = None

    @property
    def now(self) -> Snapshot:
        """The market with all that was taken; it is the base snapshot until something was."""
        if self._now is None:
            pools = tuple(self._pools[pool.address] for pool in self.base.pools)
            self._now = replace(self.base, pools=pools)
        return self._now

    def touches(self, plan: Plan) -> bool:
        """Whether the plan's pools were moved since the base snapshot."""
        return any(pool in self._touched for pool in _pools(plan))

    def holds(self, plan: Plan) -> bool | None:
        """Whether the plan's route still meets its limit here; None when that cannot be told."""
        found = rerun(plan.route, plan.side, self._pools)
        if found is None:
            return None
        if plan.side is Side.SELL:
            return found.route.amount_out >= plan.limit
        return found.route.amount_in <= plan.limit

    def take(self, plan: Plan) -> None:
        """Move the pools as the plan will; a swap that no longer fits moves nothing."""
        found = self._rerun(plan.route, plan.side)
        if found is None:
            return
        self._touched.update(found.moved)
        self._pools.update(found.moved)
        self._now = self._last = None

    def _rerun(self, route: Route, side: Side) -> Rerun | None:
        """Run a route here; what was just quoted anew is not run once more."""
        if self._last is not None and self._last.route is route:
            return self._last
        self._last = rerun(route, side, self._pools)
        return self._last

    def again(self, plan: Plan, request: RouteRequest) -> Plan | None:
        """Quote a plan's route anew; None when it no longer is about as good, or not allowed.

        The bound was proven for the market before: it is dropped.
        """
        found = self._rerun(plan.route, plan.side)
        if found is None or not _as_good(plan, found.route) or _below_limit(found.route, request):
            return None
        route = found.route
        gained = route.amount_out - plan.amount_out
        if plan.side is Side.BUY:
            gained = route.amount_in - plan.amount_in
        return replace(
            plan,
            amount_in=route.amount_in,
            amount_out=route.amount_out,
            limit=limit_of(route, request),
            route=route,
            net=plan.net + gained,
            net_predicted=plan.net_predicted + gained,
            bound=None,
        )


def _as_good(plan: Plan, route: Route) -> bool:
    """Whether the open side changed by no more than counts as a tie."""
    selling = plan.side is Side.SELL
    before, after = (
        (plan.amount_out, route.amount_out) if selling else (plan.amount_in, route.amount_in)
    )
    return abs(after - before) * PPM <= before * TIE_PPM


def _below_limit(route: Route, request: RouteRequest) -> bool:
    price = request.limit_price
    if price is None:
        return False
    return route.amount_out * price.denominator < route.amount_in * price.numerator


class Planner:
    """Turns requests into plans, asking the cost model once for all of them."""

    def __init__(
        self,
        cost_model: Model | None,
        block_time_ms: int,
        price_tolerance_ppm: int | None = None,
        *,
        plain: bool = False,
    ) -> None:
        """Plans further off an independent price than `price_tolerance_ppm` are refused; `plain`
        ones are single paths without a certificate."""
        self._model = cost_model
        self._plain = plain
        self._tolerance_ppm = price_tolerance_ppm
        self._block_time_ms = block_time_ms
        self._ewma_wei: int | None = None

    @classmethod
    def under(cls, rules: ChainRules, cost_model: Model | None) -> Planner:
        """Make the planner of a chain."""
        tolerance = rules.price_tolerance_ppm
        return cls(cost_model, rules.block_time_ms, tolerance, plain=rules.plain_routes)

    def observe(self, gas_price_wei: int) -> None:
        """Take a block's gas price into the slow average."""
        if self._ewma_wei is None:
            self._ewma_wei = gas_price_wei
        else:
            self._ewma_wei += (gas_price_wei - self._ewma_wei) // EWMA_WEIGHT

    async def options(
        self, snapshot: Snapshot, requests: Sequence[RouteRequest]
    ) -> list[Options | NoRoute]:
        """Return for each request what there is to choose from, scored."""
        conditions = self._conditions()
        if self._plain:
            requests = [replace(each, certify=False, max_splits=1) for each in requests]
        found = [candidates(snapshot, request, conditions) for request in requests]
        scores, source = await self._scores([f for f in found if not isinstance(f, NoRoute)])
        return [
            each if isinstance(each, NoRoute) else Options(each, next(scores), source, request)
            for each, request in zip(found, requests, strict=True)
        ]

    def decide(self, options: Options | NoRoute, market: WorkingMarket) -> Plan | NoRoute:
        """Choose; where earlier trades moved the chosen pools, quote anew on what they leave.

        A path that they made worse by more than a tie is looked for anew, by formula. Whatever
        is chosen must be near an independent price of the block.
        """
        plan = self._chosen(options, market)
        if isinstance(plan, NoRoute):
            return plan
        return guarded(plan, market.base, self._tolerance_ppm)

    def _chosen(self, options: Options | NoRoute, market: WorkingMarket) -> Plan | NoRoute:
        if isinstance(options, NoRoute):
            return options
        plan = choose(
            options.found, options.estimates, options.request, estimated_by=options.source
        )
        if isinstance(plan, NoRoute) or not market.touches(plan):
            return plan
        again = market.again(plan, options.request)
        if again is not None:
            return again
        return plan_by_formula(market.now, options.request, conditions=self._conditions())

    def _conditions(self) -> Conditions:
        return Conditions(gas_price_ewma_wei=self._ewma_wei, block_time_ms=self._block_time_ms)

    async def _scores(
        self, found: Sequence[Candidates]
    ) -> tuple[Iterator[tuple[CostEstimate, ...] | None], str]:
        if self._model is None or not found:
            return iter([None] * len(found)), "formula"
        scored = await self._model.score([as_floats(row) for each in found for row in rows(each)])
        estimates = iter([_estimate(outputs) for outputs in scored.rows])
        shares = [tuple(next(estimates) for _ in each.items) for each in found]
        source = f"{scored.source}: {scored.reason}" if scored.reason else scored.source
        return iter(shares), source


@dataclass(frozen=True, slots=True)
class Options:
    """Candidates of one request with what the model says about each (None: by formula)."""

    found: Candidates
    estimates: tuple[CostEstimate, ...] | None
    source: str
    request: RouteRequest


def _estimate(outputs: Sequence[float]) -> CostEstimate:
    """Read a model's outputs: gas, slippage in ppm, blocks; all rounded up."""
    gas, slippage, blocks = (math.ceil(value) for value in outputs[:3])
    return CostEstimate(gas=gas, slippage_ppm=slippage, inclusion_blocks=max(blocks, 1))


def _pools(plan: Plan) -> Iterator[str]:
    for leg in plan.route.legs:
        for hop in leg.path.hops:
            yield hop.pool


def pair_ticks(snapshot: Snapshot, tokens: Sequence[Asset], at: Millis) -> list[Tick]:
    """Return the mids of every two tokens that have one, base and quote in the assets' order."""
    found: list[Tick] = []
    for base, quote in combinations(sorted(tokens), 2):
        mid = mid_price(snapshot, base, quote)
        if not isinstance(mid, NoRoute):
            numerator, denominator = storable(mid)
            found.append(
                Tick(
                    chain_id=snapshot.chain_id,
                    base=base,
                    quote=quote,
                    block_number=snapshot.block_number,
                    at=at,
                    numerator=numerator,
                    denominator=denominator,
                )
            )
    return found


def storable(price: Ratio) -> Ratio:
    """Return the price in two numbers below 2^256; the smaller of them keeps its dust.

    Prices over two pools are products of squares of 160-bit numbers. The same shift of both
    changes the price by less than one part in the smaller number.
    """
    shift = max(0, max(number.bit_length() for number in price) - 256)
    return max(price[0] >> shift, 1), max(price[1] >> shift, 1)
