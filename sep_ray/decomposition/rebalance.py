"""REBALANCE sizing: which holdings are too large, which too small, and what to swap for what.

All values are in smallest units of one numeraire asset and exact up to the one division per
asset that turns units into value, which rounds down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sep_ray.intent.intent import Target
from sep_ray.kernel.units import PPM, Asset, Ppm

Ratio = tuple[int, int]
"""A price as numerator/denominator: smallest units of numeraire per smallest unit of asset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Sell exactly `units` of one asset for another."""

    sell: Asset
    buy: Asset
    units: int


def swaps_to_targets(
    targets: Sequence[Target],
    held: Mapping[Asset, int],
    prices: Mapping[Asset, Ratio],
    tolerance: Ppm,
    coming: Mapping[Asset, int] | None = None,
) -> tuple[Swap, ...]:
    """Return the fewest-legs swaps that bring `held` (units) to the targets' weights.

    What is `coming` (negative: promised elsewhere) counts as if it were there, and is not sold.

    Surpluses are matched with deficits, the largest with the largest; a difference within
    `tolerance` of the total value is left alone, and if all are, the answer is empty. With
    ideal prices every asset ends within one numeraire unit plus one smallest unit of its weight.
    """
    more = coming or {}
    counted = {t.asset: max(held.get(t.asset, 0) + more.get(t.asset, 0), 0) for t in targets}
    values = {asset: n * prices[asset][0] // prices[asset][1] for asset, n in counted.items()}
    total = sum(values.values())
    gaps = {t.asset: values[t.asset] - total * t.weight // PPM for t in targets}
    if all(abs(gap) * PPM <= total * tolerance for gap in gaps.values()):
        return ()
    surplus = sorted((a for a in gaps if gaps[a] > 0), key=lambda a: (-gaps[a], a))
    deficit = sorted((a for a in gaps if gaps[a] < 0), key=lambda a: (gaps[a], a))
    swaps: list[Swap] = []
    while surplus and deficit:
        sell, buy = surplus[0], deficit[0]
        value = min(gaps[sell], -gaps[buy])
        numerator, denominator = prices[sell]
        units = min(value * denominator // numerator, held.get(sell, 0))
        if units > 0:
            swaps.append(Swap(sell=sell, buy=buy, units=units))
        gaps[sell] -= value
        gaps[buy] += value
        surplus = [asset for asset in surplus if gaps[asset] > 0]
        deficit = [asset for asset in deficit if gaps[asset] < 0]
    return tuple(swaps)
