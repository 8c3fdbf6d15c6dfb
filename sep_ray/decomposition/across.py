"""REBALANCE over several chains: what is too much where, and by which swaps and bridges it moves.

Targets may name an asset of one chain (a weight for that asset there) or a token wherever it is
(`Target.pooled`: the same token on other chains counts as well, and where it stands is left to the
cheapest way). Swap then bridge, bridge then swap and splits of both are weighed by one objective:
what arrives, net of price impact, gas on both chains, the bridge's fee and the cost of waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sep_ray.decomposition.net import Edge, Task, cheapest
from sep_ray.decomposition.rebalance import Ratio
from sep_ray.intent.intent import Target
from sep_ray.kernel.units import PPM, Asset, Ppm


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """Move `units` of one asset into another; `after` are the places of the legs that fund it
    (none: it is there), and `out_of` what they are to give in all: when they have given, the leg
    takes its share of what came."""

    sell: Asset
    buy: Asset
    units: int
    after: tuple[int, ...] = ()
    out_of: int = 0

    @property
    def crosses(self) -> bool:
        """Whether it needs a bridge."""
        return self.sell.chain_id != self.buy.chain_id


def legs_to_targets(
    targets: Sequence[Target],
    available: Mapping[Asset, int],
    coming: Mapping[Asset, int],
    prices: Mapping[Asset, Ratio],
    edges: Sequence[Edge],
    tolerance: Ppm,
) -> tuple[Leg, ...]:
    """Return the legs that bring holdings to the targets' weights, those funded first; none when
    all are within `tolerance` of the total value.

    Holdings are what is `available` and what is `coming` (may be negative: promised to steps under
    way), so that what is on its way is not moved again; only what is available is moved.
    """
    groups = [frozenset((target.asset, *target.pooled)) for target in targets]
    assets = sorted({asset for group in groups for asset in group})
    worth = {a: _value(max(available.get(a, 0) + coming.get(a, 0), 0), prices[a]) for a in assets}
    total = sum(worth.values())
    gaps = {
        group: sum(worth[a] for a in group) - total * target.weight // PPM
        for group, target in zip(groups, targets, strict=True)
    }
    if all(abs(gap) * PPM <= total * tolerance for gap in gaps.values()):
        return ()
    giving = {group: gap for group, gap in gaps.items() if gap > 0}
    hands = {a: _value(available.get(a, 0), prices[a]) for g in giving for a in g}
    task = Task(hands=hands, surplus=giving, lacks={g: -n for g, n in gaps.items() if n < 0})
    useful = [e for e in edges if e.source in prices and e.target in prices]
    flow, _ = cheapest(useful, task)
    moves = {(useful[n].source, useful[n].target): x for n, x in flow.items()}
    return _legs(moves, hands, available, prices)


def _legs(
    moves: Mapping[tuple[Asset, Asset], int],
    supply: Mapping[Asset, int],
    available: Mapping[Asset, int],
    prices: Mapping[Asset, Ratio],
) -> tuple[Leg, ...]:
    """Turn moved value into legs in an order in which each comes after those that fund it."""
    legs: list[Leg] = []
    done: dict[Asset, list[int]] = {}
    waiting = dict(moves)
    while waiting:
        free = [a for a in sorted({s for s, _ in waiting}) if not any(t == a for _, t in waiting)]
        for asset in free or sorted({s for s, _ in waiting})[:1]:
            out = [(edge, x) for edge, x in waiting.items() if edge[0] == asset]
            inflow = sum(x for (_, target), x in moves.items() if target == asset)
            own = min(sum(x for _, x in out), supply.get(asset, 0)) if asset in supply else 0
            for edge, x in out:
                del waiting[edge]
                first = len(legs)
                legs += _split(edge, x, own, inflow, tuple(done.get(asset, ())), available, prices)
                own = max(own - x, 0)
                done.setdefault(edge[1], []).extend(range(first, len(legs)))
    return tuple(legs)


def _split(
    edge: tuple[Asset, Asset],
    value: int,
    own: int,
    inflow: int,
    after: tuple[int, ...],
    available: Mapping[Asset, int],
    prices: Mapping[Asset, Ratio],
) -> list[Leg]:
    """Return the part that is at hand, and the part that others fund, as a leg each."""
    sell, buy = edge
    here, there = min(value, own), value - min(value, own)
    found = []
    units = min(_units(here, prices[sell]), available.get(sell, 0))
    if units > 0:
        found.append(Leg(sell=sell, buy=buy, units=units))
    later = _units(there, prices[sell])
    if later > 0 and after and inflow:
        found.append(
            Leg(sell=sell, buy=buy, units=later, after=after, out_of=_units(inflow, prices[sell]))
        )
    return found


def _value(units: int, price: Ratio) -> int:
    """Rounded down: dust has no value."""
    return units * price[0] // price[1]


def _units(value: int, price: Ratio) -> int:
    """Rounded down: never more than the value pays for."""
    return value * price[1] // price[0]
