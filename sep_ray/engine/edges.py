"""What it costs to move value from asset to asset: swaps as the pools say now, bridges as they
quote now. For the decision which way to go; the amounts are planned anew when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Final

from sep_ray.decomposition.net import Edge
from sep_ray.engine.appraisal import ChainView
from sep_ray.engine.departing import QUOTE_S, Crossings
from sep_ray.engine.planning import Trade
from sep_ray.intent.intent import BridgeBy, Constraints, Side
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import SepError
from sep_ray.kernel.units import NATIVE, PPM, Asset, ChainId, Rounding
from sep_ray.routing.planner import plan
from sep_ray.routing.prices import convert
from sep_ray.routing.reasons import NoRoute
from sep_ray.settlement.choice import HOUR_MS, Terms
from sep_ray.settlement.ports import Bridge, NoQuote, Quote, Want

SWAP_GAS: Final = 200_000
"""Gas of a swap with its approval, for weighing it."""
BRIDGE_GAS: Final = 100_000
"""Gas of a departure's approval."""
PART: Final = 4
"""Where no bridge takes what is asked for first, they are asked for this part of it."""
WINDOW_S: Final = 60
"""How long after its block a probe's deadline lies; it only has to lie ahead."""
SMALL: Final = 16
"""The small probe is this part of the large one."""


def swap_edges(
    views: Mapping[ChainId, ChainView],
    assets: Sequence[Asset],
    units: Mapping[Asset, int],
    bounds: Constraints,
) -> list[Edge]:
    """Return an edge for each ordered pair of assets of one chain that can be traded.

    Two probes, all that is asked for and a part of it, give fee and depth. Each is what routing
    would do with it; never worse than the best single pool.
    """
    found = []
    for sell, buy in permutations(assets, 2):
        view = views.get(sell.chain_id)
        if view is None or sell.chain_id != buy.chain_id or units.get(sell, 0) < SMALL:
            continue
        large = _loss(view, sell, buy, units[sell], bounds)
        small = _loss(view, sell, buy, units[sell] // SMALL, bounds)
        if large is None or small is None:
            continue
        ppm, depth = _fitted(small, large)
        fixed = _gas(view, SWAP_GAS)
        found.append(Edge(source=sell, target=buy, fixed=fixed, ppm=ppm, depth=depth))
    return found


async def bridge_edges(
    crossings: Mapping[ChainId, Crossings],
    views: Mapping[ChainId, ChainView],
    assets: Sequence[Asset],
    units: Mapping[Asset, int],
    bounds: Constraints,
    now: Millis,
) -> list[Edge]:
    """Return an edge for each ordered pair of assets of two chains that a bridge quotes now."""
    pairs = [
        (sell, buy)
        for sell, buy in permutations(assets, 2)
        if sell.chain_id != buy.chain_id
        and units.get(sell, 0) > 0
        and sell.chain_id in crossings
        and buy.chain_id in crossings[sell.chain_id].fars
    ]
    probes = [
        _bridge_edge(crossings[s.chain_id], views, s, b, units[s], bounds, now) for s, b in pairs
    ]
    return [edge for edge in await asyncio.gather(*probes) if edge is not None]


async def _bridge_edge(
    crossings: Crossings,
    views: Mapping[ChainId, ChainView],
    sell: Asset,
    buy: Asset,
    units: int,
    bounds: Constraints,
    now: Millis,
) -> Edge | None:
    view = views.get(sell.chain_id)
    price = view.mid(sell) if view is not None else None
    if view is None or price is None or isinstance(price, NoRoute):
        return None
    quotes = await _offers(crossings, sell, buy, units, bounds, now)
    bounded = not quotes
    if bounded:
        units //= PART
        quotes = await _offers(crossings, sell, buy, units, bounds, now) if units else []
    if not quotes:
        return None
    par, value = crossings.par(sell, buy, units), max(convert(units, price, Rounding.DOWN), 1)
    hour_ppm = Terms(par_units=par).hour_ppm
    most = value if bounded else None
    edges = [_edge(q, par, most, hour_ppm, view, views.get(buy.chain_id)) for q in quotes]
    if bounds.bridge_by is BridgeBy.FASTEST:
        fastest = min(range(len(quotes)), key=lambda n: quotes[n].p95_ms)
        return edges[fastest]
    return min(edges, key=lambda edge: edge.cost(value))


def _edge(
    quote: Quote, par: int, most: int | None, hour_ppm: int, near: ChainView, far: ChainView | None
) -> Edge:
    lost_ppm = -(-(par - quote.units_out) * PPM // max(par, 1))
    gas = _gas(near, quote.departure_gas + BRIDGE_GAS, quote.fee_wei)
    gas += _gas(far, quote.claim_gas) if far is not None else 0
    return Edge(
        source=quote.source,
        target=quote.target,
        fixed=gas,
        ppm=max(lost_ppm, 0) + quote.p50_ms * hour_ppm // HOUR_MS,
        most=most,
    )


async def _offers(
    crossings: Crossings, sell: Asset, buy: Asset, units: int, bounds: Constraints, now: Millis
) -> list[Quote]:
    """Return what the allowed bridges offer for so many units, within the time allowed."""
    recipient = crossings.fars[buy.chain_id].recipient
    want = Want(
        source=sell, target=buy, units=units, sender=recipient, recipient=recipient, now=now
    )
    allowed = [
        b for b in crossings.bridges if not bounds.bridges or b.traits.name in bounds.bridges
    ]
    answers = await asyncio.gather(*(_quotes(bridge, want) for bridge in allowed))
    return [q for answer in answers for q in answer if q.p95_ms <= bounds.bridge_ms]


async def _quotes(bridge: Bridge, want: Want) -> tuple[Quote, ...]:
    """Return what a bridge offers; one that cannot be asked offers nothing."""
    try:
        async with asyncio.timeout(QUOTE_S):
            answer = await bridge.quote(want)
    except (SepError, TimeoutError):
        return ()
    return () if isinstance(answer, NoQuote) else answer


def _loss(
    view: ChainView, sell: Asset, buy: Asset, units: int, bounds: Constraints
) -> tuple[int, int] | None:
    """Return the value that goes into the best route, and what of it is lost."""
    priced = view.mid(sell), view.mid(buy)
    if isinstance(priced[0], NoRoute) or isinstance(priced[1], NoRoute) or units <= 0:
        return None
    routed = _routed(view, sell, buy, units, bounds)
    if routed is None:
        return None
    out = max([routed, *_direct(view, sell, buy, units, bounds)])
    value = convert(units, priced[0], Rounding.DOWN)
    return value, max(value - convert(out, priced[1], Rounding.DOWN), 0)


def _routed(
    view: ChainView, sell: Asset, buy: Asset, units: int, bounds: Constraints
) -> int | None:
    """Return what routing would get, None where it finds no way."""
    snapshot = view.snapshot
    trade = Trade(sell=sell, buy=buy, amount=units, side=Side.SELL, constraints=bounds)
    request = trade.request(
        snapshot.block_time_s + WINDOW_S, snapshot.base_fee_wei, mix_venues=False
    )
    found = plan(snapshot, replace(request, max_gas=None, limit_price=None, certify=False))
    return None if isinstance(found, NoRoute) else found.amount_out


def _direct(view: ChainView, sell: Asset, buy: Asset, units: int, bounds: Constraints) -> list[int]:
    """Return what each pool of the two alone gives."""
    return [
        quote.amount_out
        for pool in view.snapshot.pools
        if {pool.token0, pool.token1} == {sell.address, buy.address}
        and (not bounds.venues or pool.venue in bounds.venues)
        and not isinstance(quote := pool.exact_in(sell.address, units), NoRoute)
    ]


def _fitted(small: tuple[int, int], large: tuple[int, int]) -> tuple[int, int | None]:
    """Return fee and depth of cost(x) = x * ppm / 1e6 + x * x / depth through two probes."""
    (x, lost_x), (y, lost_y) = small, large
    if x <= 0 or y <= x:
        return 0, None
    rise = lost_y * x - lost_x * y
    depth = (y - x) * x * y // rise if rise > 0 else None
    ppm = lost_x * PPM // x - (x * PPM // depth if depth else 0)
    return max(ppm, 0), depth or None


def _gas(view: ChainView, gas: int, wei: int = 0) -> int:
    """Return what gas and wei are worth in the numeraire, rounded up; 0 where no pool says."""
    price = view.mid(Asset(view.snapshot.chain_id, NATIVE))
    if isinstance(price, NoRoute):
        return 0
    return convert(gas * view.snapshot.base_fee_wei + wei, price, Rounding.UP)
