"""A route once more, through pools as they stand: the same legs, in the same order, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sep_ray.intent.intent import Side
from sep_ray.routing.plan import Hop, Leg, Path, Route
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.reasons import NoRoute


@dataclass(frozen=True, slots=True)
class Rerun:
    """The route with the amounts it gives now, and the pools it passes as it leaves them."""

    route: Route
    moved: Mapping[str, Pool]


def rerun(route: Route, side: Side, pools: Mapping[str, Pool]) -> Rerun | None:
    """Quote a route's legs in their order, each on what those before it leave.

    What is fixed is each leg's input (SELL) or output (BUY). None when a pool is not there or
    cannot take its part.
    """
    moved: dict[str, Pool] = {}
    legs: list[Leg] = []
    for leg in route.legs:
        path = _swap(leg.path, side, pools, moved)
        if path is None:
            return None
        legs.append(Leg(path=path, share_ppm=leg.share_ppm))
    return Rerun(Route(legs=tuple(legs)), moved)


def _swap(path: Path, side: Side, pools: Mapping[str, Pool], moved: dict[str, Pool]) -> Path | None:
    """Quote a path from its fixed end and note in `moved` how it leaves each pool."""
    selling = side is Side.SELL
    amount = path.amount_in if selling else path.amount_out
    hops: list[Hop] = []
    for hop in path.hops if selling else reversed(path.hops):
        pool = moved.get(hop.pool) or pools.get(hop.pool)
        if pool is None:
            return None
        quote = (pool.exact_in if selling else pool.exact_out)(hop.token_in, amount)
        if isinstance(quote, NoRoute):
            return None
        moved[hop.pool] = pool.moved(quote)
        amount = quote.amount_out if selling else quote.amount_in
        hops.append(
            replace(
                hop,
                amount_in=quote.amount_in,
                amount_out=quote.amount_out,
                ticks_crossed=quote.ticks_crossed,
            )
        )
    return Path(hops=tuple(hops if selling else reversed(hops)))
