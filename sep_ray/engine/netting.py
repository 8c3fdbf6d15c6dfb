"""Opposite sales of different strategies, crossed at the mid before anything is routed. Pure.

Both sides save the pools' fee, the impact and the gas. What is crossed is the smaller side; on the
larger side every sale gets its pro-rata part. All integers: each unit that one side gives the
other receives, so nothing is made or lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sep_ray.decomposition.step import Step, StepKind
from sep_ray.intent.intent import Side
from sep_ray.kernel.units import Asset
from sep_ray.routing.prices import Ratio

LEAST_UNITS: Final = 1_000_000
"""What a crossed sale gives and gets at least: a unit lost to rounding is a millionth then."""
ROUNDS: Final = 8
"""Times sales too small to take part are left out and the rest is divided anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """A sale's part in a crossing: it gives `sold` of what it sells and gets `bought`."""

    step: Step
    sold: int
    bought: int


def crossings(
    steps: Iterable[Step],
    mids: Mapping[tuple[Asset, Asset], Ratio],
    available: Mapping[tuple[str, Asset], int],
    willing: Collection[str],
) -> list[tuple[Crossed, ...]]:
    """Return what can be crossed, pair by pair.

    `mids` are units of the second asset per unit of the first, for the two assets in their order.
    `available` is what each strategy may still spend: a sale counts no further. Only strategies
    that are `willing` take part, and one that wants both ways takes no part in that pair. A limit
    price that the mid does not meet keeps its sale out.
    """
    sales: dict[tuple[Asset, Asset], list[Step]] = {}
    for step in steps:
        if step.kind is StepKind.SWAP and step.side is Side.SELL and step.strategy_id in willing:
            sales.setdefault((step.sell, step.buy), []).append(step)
    found = []
    left = dict(available)
    for low, high in sorted({(min(pair), max(pair)) for pair in sales}):
        mid = mids.get((low, high))
        if mid is None or not all(mid):
            continue
        down, up = sales.get((low, high), []), sales.get((high, low), [])
        both = {s.strategy_id for s in down} & {s.strategy_id for s in up}
        givers = _sized((s for s in down if s.strategy_id not in both), left, mid)
        takers = _sized((s for s in up if s.strategy_id not in both), left, (mid[1], mid[0]))
        crossed = _crossed(givers, takers, mid)
        for part in crossed:
            left[part.step.strategy_id, part.step.sell] -= part.sold
        if crossed:
            found.append(crossed)
    return found


def _sized(
    steps: Iterable[Step], left: Mapping[tuple[str, Asset], int], price: Ratio
) -> list[tuple[Step, int]]:
    """Return sales whose limit the price meets, each with what is there for it."""
    spent: dict[tuple[str, Asset], int] = {}
    sized = []
    for step in sorted(steps, key=lambda each: (-each.priority, each.id)):
        purse = step.strategy_id, step.sell
        units = min(step.amount, left.get(purse, 0) - spent.get(purse, 0))
        if units >= LEAST_UNITS and _meets(step, price):
            spent[purse] = spent.get(purse, 0) + units
            sized.append((step, units))
    return sized


def _meets(step: Step, price: Ratio) -> bool:
    limit = step.constraints.limit
    return limit is None or price[0] * limit.denominator >= limit.numerator * price[1]


def _crossed(
    givers: Sequence[tuple[Step, int]], takers: Sequence[tuple[Step, int]], mid: Ratio
) -> tuple[Crossed, ...]:
    """Divide the smaller side's volume over both sides; sales left with crumbs stay out."""
    for _ in range(ROUNDS):
        if not givers or not takers:
            return ()
        offered, wanted = (sum(units for _, units in side) for side in (givers, takers))
        volume = min(offered, wanted * mid[1] // mid[0])
        paid = min(volume * mid[0] // mid[1], wanted)
        if volume < LEAST_UNITS or paid < LEAST_UNITS:
            return ()
        sold = prorated(volume, [units for _, units in givers])
        spent = prorated(paid, [units for _, units in takers])
        parts = [
            *_parts(givers, sold, prorated(paid, sold)),
            *_parts(takers, spent, prorated(volume, spent)),
        ]
        crumbs = {p.step.id for p in parts if min(p.sold, p.bought) < LEAST_UNITS}
        if not crumbs:
            return tuple(parts)
        givers = [each for each in givers if each[0].id not in crumbs]
        takers = [each for each in takers if each[0].id not in crumbs]
    return ()


def _parts(
    side: Sequence[tuple[Step, int]], sold: Sequence[int], bought: Sequence[int]
) -> list[Crossed]:
    return [
        Crossed(step=step, sold=out, bought=back)
        for (step, _), out, back in zip(side, sold, bought, strict=True)
    ]


def prorated(total: int, weights: Sequence[int]) -> list[int]:
    """Divide `total` by weights, rounded down; the largest remainders get the units left over.

    The parts add up to `total`, and none passes its weight where `total` is at most their sum.
    """
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    rest = sorted(range(len(weights)), key=lambda n: (-(total * weights[n] % whole), n))
    for place in rest[: total - sum(parts)]:
        parts[place] += 1
    return parts
