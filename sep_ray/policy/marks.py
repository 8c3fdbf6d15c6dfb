"""How a strategy does: its result on each chain, and its best moment. Survives restarts (P9).

Equity is what the strategy holds, at the mids of a block. What it was given or gave back is
taken out: units of an asset it was given are those it holds, plus those it sold, less those it
bought, and each change of them is valued at the mids of the block that first shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId, Rounding
from sep_ray.policy.request import Movement, Price, value_of
from sep_ray.policy.usage import Marks

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainMark:
    """A strategy on one chain: its result, what it was given, in value and in units."""

    strategy_id: str
    chain_id: ChainId
    profit: int
    given: int
    units: tuple[tuple[Asset, int], ...]
    at: Millis


def mark(
    before: ChainMark | None,
    *,
    strategy_id: str,
    chain_id: ChainId,
    held: Mapping[Asset, int],
    given: Mapping[Asset, int],
    prices: Mapping[Asset, Price],
    at: Millis,
) -> ChainMark | None:
    """Return the mark at this moment; None when something it needs has no price.

    `held` and `given` are units by asset; every value is rounded towards zero.
    """
    known = dict(before.units) if before is not None else {}
    equity, total = 0, before.given if before is not None else 0
    for asset in sorted({*held, *given, *known}):
        value = _signed(asset, held.get(asset, 0), prices)
        change = _signed(asset, given.get(asset, 0) - known.get(asset, 0), prices)
        if value is None or change is None:
            return None
        equity += value
        total += change
    return ChainMark(
        strategy_id=strategy_id,
        chain_id=chain_id,
        profit=equity - total,
        given=total,
        units=tuple(sorted((asset, units) for asset, units in given.items() if units)),
        at=at,
    )


def marked(before: Marks | None, chains: Iterable[ChainMark], at: Millis) -> Marks | None:
    """Return a strategy's marks over all its chains; None when there is no chain."""
    rows = list(chains)
    if not rows:
        return before
    profit, given, day = sum(r.profit for r in rows), sum(r.given for r in rows), at // DAY_MS
    new_day = before is None or day > before.day
    return Marks(
        strategy_id=rows[0].strategy_id,
        profit=profit,
        high_profit=profit if before is None else max(profit, before.high_profit),
        day_profit=profit if before is None or new_day else before.day_profit,
        given=given,
        day=day if before is None else max(day, before.day),
        at=at,
    )


def _signed(asset: Asset, units: int, prices: Mapping[Asset, Price]) -> int | None:
    """Value units that may be negative, rounded towards zero; nothing is worth nothing."""
    if units == 0:
        return 0
    moved = Movement(asset=asset, units=abs(units))
    value = value_of(moved, prices, Rounding.DOWN)
    return None if value is None else value if units > 0 else -value
