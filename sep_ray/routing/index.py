"""A snapshot as arrays: every direction of every pool, ready for thousands of float evaluations.

Built once per snapshot and kept with it. Floats steer the search and price the certificate (with
an outward margin); no amount that is signed comes from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sep_ray.routing.pools.curve import Curve
from sep_ray.routing.pools.pool import Pool

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

STRIDE: Final = 1_000.0
"""Room for one edge's depths in the sorted list of all: no price moves by e^1000."""


@dataclass(frozen=True, slots=True)
class Moves:
    """Where prices take some edges: amounts in and out, the w reached, liquidity there."""

    amount_in: Floats
    amount_out: Floats
    root: Floats
    liquidity: Floats


@dataclass(frozen=True, slots=True)
class Index:
    """Edges (directions of pools, two to a pool) in arrays; segments in one list for all.

    `depth` of a place on a curve is log(start / w): 0 at the current price, rising as one sells.
    Amounts are worked out from differences of depth, so that what is small beside a pool's reserves
    keeps all its digits.
    """

    tokens: tuple[str, ...]
    pools: tuple[Pool, ...]
    number: dict[str, int]
    venues: tuple[str, ...]
    venue: Ints
    """Of each edge, as a place in `venues`."""
    pool: Ints
    tail: Ints
    head: Ints
    keeps: Floats
    log_rate: Floats
    """Logarithm of what the first unit in gives, fee paid."""
    start: Floats
    last: Floats
    """The depth at which what is known ends."""
    keys: Floats
    first: Ints
    seg_top: Floats
    seg_depth: Floats
    seg_liquidity: Floats
    seg_in: Floats
    seg_out: Floats
    full_in: Floats
    """What an edge takes, fee included, until its end."""
    full_out: Floats
    keys_in: Floats
    keys_out: Floats

    def at_depth(self, edges: Ints, depth: Floats) -> Moves:
        """Sell along `edges` until `depth` (0 or more; cut where the edge ends)."""
        depth = np.minimum(depth, self.last[edges])
        place = np.searchsorted(self.keys, edges * STRIDE + depth, side="right") - 1
        further = np.maximum(depth - self.seg_depth[place], 0.0)
        liquidity, top = self.seg_liquidity[place], self.seg_top[place]
        taken = self.seg_in[place] + liquidity / top * np.expm1(further)
        given = self.seg_out[place] - liquidity * top * np.expm1(-further)
        return Moves(taken / self.keeps[edges], given, top * np.exp(-further), liquidity)

    def sold(self, edges: Ints, amount: Floats) -> Floats:
        """Return what selling `amount` along each of `edges` gives; 0 beyond an edge's end."""
        net = amount * self.keeps[edges]
        place = np.searchsorted(self.keys_in, edges * STRIDE + np.log1p(net), side="right") - 1
        liquidity, top = self.seg_liquidity[place], self.seg_top[place]
        with np.errstate(divide="ignore", invalid="ignore"):
            further = (net - self.seg_in[place]) / liquidity * top
            given = self.seg_out[place] + liquidity * top * further / (1.0 + further)
        return np.where(amount < self.full_in[edges], np.nan_to_num(given), 0.0)

    def needed(self, edges: Ints, amount: Floats) -> Floats:
        """Return what buying `amount` along each of `edges` takes; infinite beyond an end."""
        place = np.searchsorted(self.keys_out, edges * STRIDE + np.log1p(amount), side="right") - 1
        liquidity, top = self.seg_liquidity[place], self.seg_top[place]
        with np.errstate(divide="ignore", invalid="ignore"):
            further = (amount - self.seg_out[place]) / liquidity / top
            taken = self.seg_in[place] + liquidity / top * further / (1.0 - further)
        taken = taken / self.keeps[edges]
        return np.where(amount < self.full_out[edges], np.nan_to_num(taken, nan=np.inf), np.inf)


def build(tokens: tuple[str, ...], pools: tuple[Pool, ...]) -> Index:
    """Return the index of pools between tokens; a pool with an unknown token is left out.

    Pools are sorted, so that nothing depends on the order in which they were read.
    """
    number = {token: place for place, token in enumerate(tokens)}
    pools = tuple(sorted(pools, key=lambda pool: pool.address))
    ends: list[tuple[int, int, int]] = []
    curves: list[Curve] = []
    for place, pool in enumerate(pools):
        for sold, bought in ((pool.token0, pool.token1), (pool.token1, pool.token0)):
            curve = pool.curve(sold) if sold in number and bought in number else None
            if curve is not None:
                ends.append((place, number[sold], number[bought]))
                curves.append(curve)
    venues = tuple(sorted({pool.venue.value for pool in pools}))
    table = np.array(ends, dtype=np.int64).reshape(len(ends), 3)
    kind = np.array([venues.index(pool.venue.value) for pool in pools], dtype=np.int64)
    return Index(
        tokens=tokens,
        pools=pools,
        number=number,
        venues=venues,
        venue=kind[table[:, 0]] if len(pools) else table[:, 0],
        pool=table[:, 0],
        tail=table[:, 1],
        head=table[:, 2],
        **_arrays(curves),
    )


def _arrays(curves: list[Curve]) -> dict[str, Any]:
    count = len(curves)
    sizes = np.array([len(curve.ends) for curve in curves], dtype=np.int64)
    first = np.concatenate(([0], np.cumsum(sizes)))
    start = np.array([curve.start for curve in curves], dtype=np.float64)
    keeps = np.array([curve.keeps for curve in curves], dtype=np.float64)
    stop = np.array([w for curve in curves for w in curve.ends], dtype=np.float64)
    liquidity = np.array([x for curve in curves for x in curve.liquidity], dtype=np.float64)
    edge = np.repeat(np.arange(count), sizes)
    top = np.concatenate(([0.0], stop[:-1])) if len(stop) else stop
    top[first[:-1]] = start
    depth = np.log(start[edge] / top)
    end = np.log(start[edge] / stop)
    taken = liquidity / top * np.expm1(end - depth)
    given = -liquidity * top * np.expm1(depth - end)
    seg_in, seg_out = _before(taken, first), _before(given, first)
    tail = first[1:] - 1
    return {
        "keeps": keeps,
        "log_rate": np.log(keeps) + 2.0 * np.log(start),
        "start": start,
        "last": np.log(start / stop[tail]),
        "keys": edge * STRIDE + depth,
        "first": first,
        "seg_top": top,
        "seg_depth": depth,
        "seg_liquidity": liquidity,
        "seg_in": seg_in,
        "seg_out": seg_out,
        "full_in": (seg_in + taken)[tail] / keeps,
        "full_out": (seg_out + given)[tail],
        "keys_in": edge * STRIDE + np.log1p(seg_in),
        "keys_out": edge * STRIDE + np.log1p(seg_out),
    }


def _before(amounts: Floats, first: Ints) -> Floats:
    """Return the sum of each edge's amounts before every segment.

    Summed edge by edge: a sum over all would drown small edges in the rounding of large ones.
    """
    found = np.zeros_like(amounts)
    for low, high in zip(first[:-1].tolist(), first[1:].tolist(), strict=True):
        if high - low > 1:
            np.cumsum(amounts[low : high - 1], out=found[low + 1 : high])
    return found
