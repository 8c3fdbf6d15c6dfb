"""An accepted intent as the prioritizer sees it. Floats here are for scores only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sep_ray.intent.intent import Intent, IntentType, Side
from sep_ray.journal.records import Tick
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import NATIVE, PPM, Asset
from sep_ray.priority.features import PriorityRow, expected_wait_s
from sep_ray.priority.volatility import Volatility, volatility
from sep_ray.routing.prices import Ratio, mid_price
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot

TYPICAL_GAS: Final = 160_000
"""Gas of a one-hop swap with its approval, for weighing gas against notional."""
TURN_S: Final = 12.0
"""What being passed over costs at worst: one block of the slowest chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainView:
    """What the router knows of a chain: its snapshot, unit of account and gas history.

    A turn asks for the same few prices again and again: each is looked up once.
    """

    snapshot: Snapshot
    numeraire: Asset
    usual_base_fee_wei: float
    _mids: dict[Asset, Ratio | NoRoute] = field(default_factory=dict, init=False, compare=False)

    def mid(self, asset: Asset) -> Ratio | NoRoute:
        """Return the mid of an asset in units of account."""
        if asset not in self._mids:
            self._mids[asset] = mid_price(self.snapshot, asset, self.numeraire)
        return self._mids[asset]


def priority_row(
    intent: Intent,
    available: Mapping[Asset, int],
    view: ChainView | None,
    forecast: Volatility,
    waiting: int,
    now: Millis,
) -> PriorityRow:
    """Describe one of `waiting` intents; without a view of its chain, money counts zero."""
    row = PriorityRow(
        id=intent.id,
        type=intent.type.value,
        deadline=intent.deadline,
        notional=0.0,
        portfolio=0.0,
        left_s=(intent.deadline - now) / 1_000,
        window_s=intent.constraints.time_window_ms / 1_000,
        wait_s=expected_wait_s(waiting, TURN_S),
        max_slippage_bp=intent.constraints.max_slippage / 100,
        volatility=forecast,
        urgency=intent.constraints.urgency / PPM,
    )
    if view is None:
        return row
    portfolio = sum(_value(view, asset, units) for asset, units in available.items())
    base_fee = view.snapshot.base_fee_wei
    return replace(
        row,
        notional=_notional(intent, available, view, portfolio),
        portfolio=portfolio,
        gas_cost=_value(view, Asset(intent.chain_id, NATIVE), TYPICAL_GAS * base_fee),
        gas_ratio=base_fee / view.usual_base_fee_wei if view.usual_base_fee_wei > 0 else 1.0,
    )


def _notional(
    intent: Intent, available: Mapping[Asset, int], view: ChainView, portfolio: float
) -> float:
    if intent.type is IntentType.REBALANCE or intent.sell is None or intent.buy is None:
        return portfolio
    if intent.amount is None:
        return _value(view, intent.sell, available.get(intent.sell, 0))
    return _value(view, intent.sell if intent.side is Side.SELL else intent.buy, intent.amount)


def _value(view: ChainView, asset: Asset, units: int) -> float:
    price = view.mid(asset)
    return 0.0 if isinstance(price, NoRoute) else units * price[0] / price[1]


def forecast_of(ticks: Sequence[Tick]) -> Volatility:
    """Return what a pair's ticks, oldest first, say of its moves to come."""
    if len(ticks) < 2:
        return volatility((), 1.0)
    seconds = max((ticks[-1].at - ticks[0].at) / 1_000 / (len(ticks) - 1), 0.001)
    return volatility([tick.numerator / tick.denominator for tick in ticks], seconds)
