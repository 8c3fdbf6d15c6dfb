"""Mid prices out of a snapshot, as exact ratios: for sizing, valuation and gas."""

from __future__ import annotations

from collections.abc import Iterator

from sep_ray.kernel.units import NATIVE, Asset, Rounding, divide
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot

Ratio = tuple[int, int]
"""A price as numerator/denominator: smallest units of quote per smallest unit of base."""


def mid_price(snapshot: Snapshot, base: Asset, quote: Asset) -> Ratio | NoRoute:
    """Return the price before fees of one unit of `base` in units of `quote`, exactly.

    Of all direct pools and two-pool ways the one with the deepest bottleneck speaks (virtual
    reserves, counted in `base`); the direct pool where they are equal. The chain's own coin is
    worth its wrapped form. Fails with UNKNOWN_TOKEN or NO_PATH.
    """
    known = [_address(snapshot, asset) for asset in (base, quote)]
    if known[0] is None or known[1] is None:
        missing = base if known[0] is None else quote
        return NoRoute(reason=Reason.UNKNOWN_TOKEN, detail=str(missing))
    return price_between(snapshot, known[0], known[1])


def price_between(snapshot: Snapshot, base: str, quote: str) -> Ratio | NoRoute:
    """As `mid_price`, for two token addresses of the snapshot's chain."""
    if base == quote:
        return 1, 1
    return snapshot.once(("price", base, quote), lambda: _price(snapshot, base, quote))


def convert(units: int, price: Ratio, rounding: Rounding) -> int:
    """Return `units` of base in units of quote; the division rounds as named."""
    return divide(units * price[0], price[1], rounding)


def pool_price(pool: Pool, token_in: str) -> Ratio:
    """Return the pool's price of `token_in` in its other token, before fees."""
    numerator, denominator = pool.price()
    return (numerator, denominator) if token_in == pool.token0 else (denominator, numerator)


def _price(snapshot: Snapshot, base: str, quote: str) -> Ratio | NoRoute:
    best: tuple[int, Ratio] | None = None
    for depth, ratio in _ways(snapshot, base, quote):
        if best is None or depth > best[0]:
            best = depth, ratio
    if best is None:
        return NoRoute(reason=Reason.NO_PATH, detail=f"no price of {base} in {quote}")
    return best[1]


def _address(snapshot: Snapshot, asset: Asset) -> str | None:
    if asset.chain_id != snapshot.chain_id:
        return None
    if asset.address == NATIVE:
        return snapshot.wrapped_native
    return asset.address if snapshot.token(asset.address) is not None else None


def _ways(snapshot: Snapshot, base: str, quote: str) -> Iterator[tuple[int, Ratio]]:
    direct = _deepest(snapshot, base, quote)
    if direct is not None:
        yield direct.depth(base), pool_price(direct, base)
    for hub in snapshot.neighbours(base):
        first, second = _deepest(snapshot, base, hub), _deepest(snapshot, hub, quote)
        if first is not None and second is not None:
            n1, d1 = pool_price(first, base)
            n2, d2 = pool_price(second, hub)
            yield min(first.depth(base), second.depth(hub) * d1 // n1), (n1 * n2, d1 * d2)


def _deepest(snapshot: Snapshot, one: str, other: str) -> Pool | None:
    """Return the pair's pool with the largest virtual reserve of `one`, if any has liquidity."""
    pools = [p for p in snapshot.between(one, other) if p.depth(one) > 0 and p.depth(other) > 0]
    return max(pools, key=lambda pool: (pool.depth(one), pool.address), default=None)
