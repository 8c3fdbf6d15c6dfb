"""What is under way for a strategy: what its open steps and transfers will add and take. So that
a second decision counts what the first has begun, and does not do it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from sep_ray.decomposition.step import TERMINAL, Step, StepKind, StepStatus
from sep_ray.intent.intent import Side
from sep_ray.intent.states import IntentRecord, Status
from sep_ray.journal.ports import Intents, Steps, Transfers
from sep_ray.journal.records import IntentFilter
from sep_ray.kernel.units import Asset
from sep_ray.settlement.transfer import Transfer

MOST: Final = 1_000
"""Intents of one strategy that may be under way and still be counted."""

Worth = Callable[[Asset, int, Asset], int]
"""Units of the last asset that units of the first are worth at the mid; 0 where unknown."""


class UnderwayStore(Intents, Steps, Transfers, Protocol):
    """What is read."""


async def coming(store: UnderwayStore, strategy_id: str, worth: Worth) -> dict[Asset, int]:
    """Return, per asset, units that come to (negative: go from) a strategy's available ones."""
    records: list[IntentRecord] = []
    for status in (Status.ACTIVE, Status.CANCELLING):
        wanted = IntentFilter(strategy_id=strategy_id, status=status)
        records += await store.page_of_intents(wanted, None, MOST)
    steps = await store.steps_of([record.intent.id for record in records])
    transfers = [t for t in await store.open_transfers(None) if t.strategy_id == strategy_id]
    return projected(steps, transfers, worth)


def projected(
    steps: Sequence[Step], transfers: Iterable[Transfer], worth: Worth
) -> dict[Asset, int]:
    """Add up what open steps will do to the available units, and what transfers will bring.

    A step not begun takes what it sells out of the available; one that has begun has already. A
    bridging step that has begun counts as its transfer, which is looked for where it will be:
    over there, or back here once the bridge owes it back.
    """
    found: dict[Asset, int] = {}

    def add(asset: Asset, units: int) -> None:
        found[asset] = found.get(asset, 0) + units

    for step in steps:
        begun = step.status is StepStatus.WORKING
        if step.status in TERMINAL or (begun and step.kind is StepKind.BRIDGE):
            continue
        sold, bought = _sides(step, worth)
        add(step.buy, bought)
        if not begun:
            add(step.sell, -sold)
    for transfer in transfers:
        if transfer.arrived:
            continue
        if transfer.refund_due:
            add(transfer.source, transfer.departed)
        else:
            add(transfer.target, transfer.quoted_out)
    return found


def _sides(step: Step, worth: Worth) -> tuple[int, int]:
    """Return what a step will sell and buy, as far as that is known."""
    if step.side is Side.BUY:
        return step.reserved or worth(step.buy, step.amount, step.sell), step.amount
    return step.amount, step.quoted or worth(step.sell, step.amount, step.buy)
