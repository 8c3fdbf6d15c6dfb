"""The cheapest way over several chains: as cheap as trying everything, on nets small enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from sep_ray.decomposition.across import legs_to_targets
from sep_ray.decomposition.net import PARCELS, Edge, Task, cheapest
from sep_ray.intent.intent import Target
from sep_ray.kernel.units import Asset, ChainId, Ppm

A1, B1, A2, B2 = (
    Asset(ChainId(chain), "0x" + token * 40) for chain, token in product((1, 2), "ab")
)
UNIT = 1_000_000
TOTAL = PARCELS * 1_000 * UNIT
WAYS = ((A1, B1), (A2, B2), (A1, A2), (B1, B2))
"""Two swaps and two bridges; each has an edge both ways."""
costs = st.tuples(
    st.integers(0, 200 * UNIT),
    st.integers(0, 20_000),
    st.none() | st.integers(10**10, 10**13),
)


def edges_of(drawn: Sequence[tuple[int, int, int | None]]) -> list[Edge]:
    return [
        Edge(source=s, target=t, fixed=fixed, ppm=ppm, depth=depth)
        for (one, two), (fixed, ppm, depth) in zip(WAYS, drawn, strict=True)
        for s, t in ((one, two), (two, one))
    ]


def splits(parcels: int, ways: int) -> Iterator[tuple[int, ...]]:
    if ways == 1:
        yield (parcels,)
        return
    for first in range(parcels + 1):
        for rest in splits(parcels - first, ways - 1):
            yield (first, *rest)


def tried(edges: Sequence[Edge], paths: Sequence[Sequence[tuple[Asset, Asset]]]) -> int:
    """Return the least cost over all ways to split the parcels over the paths."""
    by_ends = {(edge.source, edge.target): edge for edge in edges}
    best = None
    for split in splits(PARCELS, len(paths)):
        flow: dict[tuple[Asset, Asset], int] = {}
        for count, path in zip(split, paths, strict=True):
            for ends in path:
                flow[ends] = flow.get(ends, 0) + count * TOTAL // PARCELS
        cost = sum(by_ends[ends].cost(x) for ends, x in flow.items())
        best = cost if best is None else min(best, cost)
    assert best is not None
    return best


@settings(max_examples=25, deadline=None)
@given(st.lists(costs, min_size=4, max_size=4))
def test_swap_then_bridge_or_bridge_then_swap_or_both(drawn: list[tuple[int, int, int]]) -> None:
    """All of A on one chain is to become B on the other."""
    edges = edges_of(drawn)
    task = Task(hands={A1: TOTAL}, surplus={frozenset({A1}): TOTAL}, lacks={frozenset({B2}): TOTAL})
    flow, cost = cheapest(edges, task)
    assert sum(x for n, x in flow.items() if edges[n].target == B2) == TOTAL
    paths = [[(A1, B1), (B1, B2)], [(A1, A2), (A2, B2)]]
    assert cost <= tried(edges, paths) + 3 * len(WAYS)


@settings(max_examples=25, deadline=None)
@given(st.lists(costs, min_size=4, max_size=4))
def test_money_that_may_arrive_on_either_chain(drawn: list[tuple[int, int, int]]) -> None:
    """Half a million of A on each chain has to become B, wherever that is."""
    edges = edges_of(drawn)
    task = Task(
        hands={A1: TOTAL, A2: 0},
        surplus={frozenset({A1, A2}): TOTAL},
        lacks={frozenset({B1, B2}): TOTAL},
    )
    _, cost = cheapest(edges, task)
    paths = [[(A1, B1)], [(A1, A2), (A2, B2)]]
    assert cost <= tried(edges, paths) + 3 * len(WAYS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(costs, min_size=4, max_size=4),
    st.lists(st.integers(0, 10**24), min_size=4, max_size=4),
    st.lists(st.integers(0, 100), min_size=4, max_size=4).filter(any),
)
def test_legs_never_sell_more_than_there_is_and_wait_for_what_funds_them(
    drawn: list[tuple[int, int, int]], held: list[int], shares: list[int]
) -> None:
    """18 and 6 decimals, dust, weights of zero: legs are ordered and bounded."""
    assets = (A1, B1, A2, B2)
    weights = [share * 1_000_000 // sum(shares) for share in shares]
    weights[weights.index(max(weights))] += 1_000_000 - sum(weights)
    targets = [Target(asset=a, weight=Ppm(w)) for a, w in zip(assets, weights, strict=True)]
    prices = {A1: (2, 10**9), A2: (2, 10**9), B1: (1, 1), B2: (1, 1)}
    scaled = {a: n // (10**12 if a in (B1, B2) else 1) for a, n in zip(assets, held, strict=True)}
    legs = legs_to_targets(targets, scaled, {}, prices, edges_of(drawn), Ppm(1_000))
    for asset in assets:
        assert (
            sum(leg.units for leg in legs if leg.sell == asset and not leg.after) <= scaled[asset]
        )
    for place, leg in enumerate(legs):
        assert leg.units > 0
        assert all(other < place and legs[other].buy == leg.sell for other in leg.after)
        assert bool(leg.after) == (leg.out_of > 0)
