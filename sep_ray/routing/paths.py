"""Every direct and two-pool way between two tokens, quoted exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from sep_ray.intent.intent import Side
from sep_ray.routing.plan import RouteRequest
from sep_ray.routing.pools.pool import Pool, Quote
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot

MAX_PATHS: Final = 512
"""No more paths than this are quoted for one request; direct ones come first."""


@dataclass(frozen=True, slots=True)
class Step:
    """One pool of a quoted path."""

    pool: Pool
    token_in: str
    token_out: str
    quote: Quote


@dataclass(slots=True)
class Search:
    """What quoting every path came to: the paths that work, and how often others failed how."""

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
    """Quote the direct pools, then all pairs of pools over one token in the middle."""
    result = Search()
    sell, buy = request.sell.address, request.buy.address
    for pool in _allowed(snapshot, request, sell, buy):
        if result.considered < MAX_PATHS:
            result.keep(_quoted((pool,), request))
    for hub in snapshot.neighbours(sell):
        if hub != buy and (request.hubs is None or hub in request.hubs):
            for pools in _over(snapshot, request, hub):
                if result.considered < MAX_PATHS:
                    result.keep(_quoted(pools, request))
    return result


def _allowed(snapshot: Snapshot, request: RouteRequest, one: str, other: str) -> tuple[Pool, ...]:
    pools = snapshot.between(one, other)
    return tuple(p for p in pools if not request.venues or p.venue in request.venues)


def _over(snapshot: Snapshot, request: RouteRequest, hub: str) -> Iterator[tuple[Pool, Pool]]:
    for first in _allowed(snapshot, request, request.sell.address, hub):
        for second in _allowed(snapshot, request, hub, request.buy.address):
            if request.mix_venues or first.venue is second.venue:
                yield first, second


def _quoted(pools: tuple[Pool, ...], request: RouteRequest) -> tuple[Step, ...] | NoRoute:
    """Quote from the fixed end: forwards for SELL, backwards for BUY."""
    if request.side is Side.SELL:
        return _forwards(pools, request.sell.address, request.amount)
    return _backwards(pools, request.buy.address, request.amount)


def _forwards(pools: tuple[Pool, ...], token: str, amount: int) -> tuple[Step, ...] | NoRoute:
    steps: list[Step] = []
    for pool in pools:
        quote = pool.exact_in(token, amount)
        if isinstance(quote, NoRoute):
            return quote
        steps.append(Step(pool, token, _other(pool, token), quote))
        token, amount = _other(pool, token), quote.amount_out
    return tuple(steps)


def _backwards(pools: tuple[Pool, ...], token: str, amount: int) -> tuple[Step, ...] | NoRoute:
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
