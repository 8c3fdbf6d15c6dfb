"""Single paths between two tokens, quoted exactly: all where they are few, else the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from sep_ray.intent.intent import Side
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.pools.pool import Pool, Quote
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot

FEW: Final = 96
"""Up to so many paths are all quoted; of more, those that `single.best_paths` ranks first."""


@dataclass(frozen=True, slots=True)
class Step:
    """One pool of a quoted path."""

    pool: Pool
    token_in: str
    token_out: str
    quote: Quote


@dataclass(slots=True)
class Search:
    """What quoting paths came to: those that work, and how often others failed how."""

    found: list[tuple[Step, ...]] = field(default_factory=list)
    failed: Counter[Reason] = field(default_factory=Counter)

    @property
    def considered(self) -> int:
        return len(self.found) + self.failed.total()

    def keep(self, path: tuple[Step, ...] | NoRoute) -> None:
        if isinstance(path, NoRoute):
            self.failed[path.reason] += 1
        else:
            self.found.append(path)


def search(snapshot: Snapshot, request: RouteRequest) -> Search:
    """Quote the paths of at most `max_hops` pools, no token met twice, shorter ones first."""
    result = Search()
    paths = list(islice(every_path(snapshot, request), FEW + 1))
    if len(paths) > FEW:
        paths = _ranked(snapshot, request) or paths
    for pools in paths:
        result.keep(quoted(pools, request.sell.address, request.buy.address, request))
    return result


def quoted(
    pools: Sequence[Pool], sell: str, buy: str, request: RouteRequest, amount: int | None = None
) -> tuple[Step, ...] | NoRoute:
    """Quote a path from its fixed end: forwards for SELL, backwards for BUY.

    `amount` is a leg's part of the request's (default: all of it).
    """
    amount = request.amount if amount is None else amount
    if request.side is Side.SELL:
        return _forwards(pools, sell, amount)
    return _backwards(pools, buy, amount)


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


def _forwards(pools: Sequence[Pool], token: str, amount: int) -> tuple[Step, ...] | NoRoute:
    steps: list[Step] = []
    for pool in pools:
        quote = pool.exact_in(token, amount)
        if isinstance(quote, NoRoute):
            return quote
        steps.append(Step(pool, token, _other(pool, token), quote))
        token, amount = _other(pool, token), quote.amount_out
    return tuple(steps)


def _backwards(pools: Sequence[Pool], token: str, amount: int) -> tuple[Step, ...] | NoRoute:
    steps: list[Step] = []
    for pool in reversed(pools):
        token = _other(pool, token)
        quote = pool.exact_out(token, amount)
        if isinstance(quote, NoRoute):
            return quote
        steps.append(Step(pool, token, _other(pool, token), quote))
        amount = quote.amount_in
    return tuple(reversed(steps))


def _other(pool: Pool, token: str) -> str:
    return pool.token1 if token == pool.token0 else pool.token0
