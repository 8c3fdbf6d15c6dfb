"""Single paths between two tokens, quoted exactly: all where they are few, else the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Final

from sep_ray.intent.intent import Side
from sep_ray.kernel.units import PPM
from sep_ray.routing.plan import Hop, Path, RouteRequest
from sep_ray.routing.pools.pool import Pool, Quote, Venue
from sep_ray.routing.prices import Ratio, pool_price
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot

FEW: Final = 96
"""Up to so many paths are all quoted; of more, those that `single.best_paths` ranks first."""


Asked = tuple[str, str, int]
"""A pool's address, the token that goes in, and the fixed amount."""


@dataclass(frozen=True, slots=True)
class Way:
    """Pools one after the other, with what is the same for every amount.

    `tokens` are one more than the pools. `mid` is the product of the pools' prices, `kept` that
    after their fees; `depths` are the virtual reserves of what goes into each pool.
    """

    pools: tuple[Pool, ...]
    tokens: tuple[str, ...]
    addresses: tuple[str, ...]
    v2_hops: int
    fee_ppm: int
    mid: Ratio
    kept: Ratio
    depths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Quoted:
    """A way with what each of its pools takes and gives."""

    way: Way
    quotes: tuple[Quote, ...]

    @property
    def amount_in(self) -> int:
        return self.quotes[0].amount_in

    @property
    def amount_out(self) -> int:
        return self.quotes[-1].amount_out

    def path(self) -> Path:
        """Return it as a plan names it."""
        ends = pairwise(self.way.tokens)
        return Path(
            hops=tuple(
                Hop(
                    pool=pool.address,
                    venue=pool.venue,
                    fee_ppm=pool.fee_ppm,
                    token_in=token_in,
                    token_out=token_out,
                    amount_in=quote.amount_in,
                    amount_out=quote.amount_out,
                    ticks_crossed=quote.ticks_crossed,
                )
                for pool, quote, (token_in, token_out) in zip(
                    self.way.pools, self.quotes, ends, strict=True
                )
            )
        )


@dataclass(slots=True)
class Search:
    """What quoting paths came to: those that work, and how often others failed how."""

    found: list[Quoted] = field(default_factory=list)
    failed: Counter[Reason] = field(default_factory=Counter)

    @property
    def considered(self) -> int:
        return len(self.found) + self.failed.total()

    def keep(self, path: Quoted | NoRoute) -> None:
        if isinstance(path, NoRoute):
            self.failed[path.reason] += 1
        else:
            self.found.append(path)


def search(snapshot: Snapshot, request: RouteRequest) -> Search:
    """Quote the paths of at most `max_hops` pools, no token met twice, shorter ones first."""
    result, known = Search(), dict[Asked, Quote | NoRoute]()
    ways = snapshot.once(("ways", *_scope(request)), lambda: _first_ways(snapshot, request))
    if len(ways) > FEW:
        ranked = _ranked(snapshot, request)
        ways = tuple(way_through(pools, request.sell.address) for pools in ranked) or ways
    for way in ways:
        result.keep(quoted(way, request.amount, request.side, known))
    return result


def way_through(pools: Sequence[Pool], sell: str) -> Way:
    """Return the way that begins with the sale of `sell` to the first of the pools."""
    tokens, mid, kept = [sell], (1, 1), (1, 1)
    for pool in pools:
        numerator, denominator = pool_price(pool, tokens[-1])
        mid = mid[0] * numerator, mid[1] * denominator
        kept = kept[0] * numerator * (PPM - pool.fee_ppm), kept[1] * denominator * PPM
        tokens.append(pool.token1 if tokens[-1] == pool.token0 else pool.token0)
    return Way(
        pools=tuple(pools),
        tokens=tuple(tokens),
        addresses=tuple(pool.address for pool in pools),
        v2_hops=sum(pool.venue is Venue.UNISWAP_V2 for pool in pools),
        fee_ppm=sum(pool.fee_ppm for pool in pools),
        mid=mid,
        kept=kept,
        depths=tuple(pool.depth(token) for pool, token in zip(pools, tokens, strict=False)),
    )


def quoted(
    way: Way, amount: int, side: Side, known: dict[Asked, Quote | NoRoute] | None = None
) -> Quoted | NoRoute:
    """Quote a way from its fixed end: forwards for SELL, backwards for BUY.

    `known` remembers quotes, for ways that begin alike.
    """
    selling, known = side is Side.SELL, {} if known is None else known
    hops = list(zip(way.pools, way.tokens, strict=False))
    quotes: list[Quote] = []
    for pool, token in hops if selling else reversed(hops):
        asked = pool.address, token, amount
        quote = known.get(asked)
        if quote is None:
            quote = (pool.exact_in if selling else pool.exact_out)(token, amount)
            known[asked] = quote
        if isinstance(quote, NoRoute):
            return quote
        quotes.append(quote)
        amount = quote.amount_out if selling else quote.amount_in
    return Quoted(way, tuple(quotes if selling else reversed(quotes)))


def _scope(request: RouteRequest) -> tuple[object, ...]:
    """Return all of a request that says which paths there are."""
    ends = request.sell, request.buy
    return *ends, request.venues, request.hubs, request.mix_venues, request.max_hops


def _first_ways(snapshot: Snapshot, request: RouteRequest) -> tuple[Way, ...]:
    """Return all ways where they are few, else one more than that."""
    paths = islice(every_path(snapshot, request), FEW + 1)
    return tuple(way_through(pools, request.sell.address) for pools in paths)


def _ranked(snapshot: Snapshot, request: RouteRequest) -> list[tuple[Pool, ...]]:
    from sep_ray.routing.graph import select
    from sep_ray.routing.single import best_paths

    hops = request.max_hops
    graph = select(snapshot.index, request, mixing=request.mix_venues, hops=hops)
    if graph is None:
        return []
    index = graph.index
    return [
        tuple(index.pools[index.pool[edge]] for edge in edges)
        for edges in best_paths(graph, request.amount, request.side, hops)
    ]


def every_path(snapshot: Snapshot, request: RouteRequest) -> Iterator[tuple[Pool, ...]]:
    """Yield all that a request allows, shorter ones first."""
    distance = _distances(snapshot, request.buy.address, request.max_hops)
    for hops in range(1, request.max_hops + 1):
        yield from _extended(snapshot, request, distance, (), request.sell.address, hops)


def _extended(
    snapshot: Snapshot,
    request: RouteRequest,
    distance: dict[str, int],
    so_far: tuple[tuple[Pool, str], ...],
    token: str,
    hops: int,
) -> Iterator[tuple[Pool, ...]]:
    """Yield the paths of exactly `hops` more pools, from `token` on."""
    if hops == 0:
        yield tuple(pool for pool, _ in so_far)
        return
    met = {request.sell.address, *(entered for _, entered in so_far)}
    for other in snapshot.neighbours(token):
        last = other == request.buy.address
        if other in met or last != (hops == 1) or distance.get(other, hops) > hops - 1:
            continue
        if not last and request.hubs is not None and other not in request.hubs:
            continue
        for pool in _allowed(snapshot, request, token, other):
            if not so_far or request.mix_venues or so_far[0][0].venue is pool.venue:
                way = (*so_far, (pool, other))
                yield from _extended(snapshot, request, distance, way, other, hops - 1)


def _distances(snapshot: Snapshot, target: str, most: int) -> dict[str, int]:
    """Count the pools between each token and the target, up to `most`."""
    found = {target: 0}
    edge = [target]
    for hops in range(1, most + 1):
        edge = [near for token in edge for near in snapshot.neighbours(token) if near not in found]
        found.update(dict.fromkeys(edge, hops))
    return found


def _allowed(snapshot: Snapshot, request: RouteRequest, one: str, other: str) -> tuple[Pool, ...]:
    pools = snapshot.between(one, other)
    return tuple(p for p in pools if not request.venues or p.venue in request.venues)
