"""An intent into steps: a pure function of the intent, the holdings and the prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sep_ray.decomposition.across import Leg, legs_to_targets
from sep_ray.decomposition.net import Edge
from sep_ray.decomposition.rebalance import Ratio, Swap, swaps_to_targets
from sep_ray.decomposition.schedule import instants, parts
from sep_ray.decomposition.step import Step, StepKind, StepStatus
from sep_ray.intent.intent import Intent, IntentType, Side, Style
from sep_ray.intent.states import Reason
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.ids import derived_id
from sep_ray.kernel.units import Asset


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a decomposition may look at, gathered beforehand.

    `available` are the strategy's free units; `prices` mid prices of a REBALANCE's assets in
    one numeraire; `cost` the units of `sell` that buying the amount takes at the mid price
    (None where unknown); `slices` how many parts an ADAPTIVE intent is given. `coming` is what
    steps and transfers under way will add to (or take from) the free units, `edges` are the swaps
    and bridges between the assets of a REBALANCE over several chains, with their costs in the
    numeraire.
    """

    available: Mapping[Asset, int]
    prices: Mapping[Asset, Ratio]
    cost: int | None = None
    slices: int = 1
    coming: Mapping[Asset, int] = field(default_factory=dict)
    edges: Sequence[Edge] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The intent can't be decomposed: it will be REJECTED with this."""

    reason: Reason
    detail: str


def decompose(
    intent: Intent, facts: Facts, now: Millis, priority: float
) -> tuple[Step, ...] | Refusal:
    """Return the intent's steps in order (none: it is already fulfilled), or a refusal.

    A step due now is READY, a later one PENDING. The same intent and facts give the same steps
    with the same ids.
    """
    if len(intent.chains) > 1:
        return _over_chains(intent, facts, now, priority)
    if intent.type is IntentType.REBALANCE:
        trades = _rebalance(intent, facts)
    else:
        trades = _trade(intent, facts)
    if isinstance(trades, Refusal):
        return trades
    count = _slices(intent, facts)
    return tuple(_steps(intent, trades, count, now, priority))


def _trade(intent: Intent, facts: Facts) -> tuple[Swap, ...] | Refusal:
    if intent.sell is None or intent.buy is None:
        raise InvariantBroken("a trade without its assets", intent_id=intent.id)
    available = facts.available.get(intent.sell, 0)
    if intent.type is IntentType.LIQUIDATE:
        if available == 0:
            return Refusal(reason=Reason.NOTHING_TO_SELL, detail=f"no {intent.sell} is available")
        return (Swap(sell=intent.sell, buy=intent.buy, units=available),)
    amount = intent.amount or 0
    needed = amount if intent.side is Side.SELL else facts.cost or 1
    if needed > available:
        return Refusal(
            reason=Reason.INSUFFICIENT_BALANCE,
            detail=f"needs {needed} of {intent.sell}; there are {available} of {intent.sell}",
        )
    return (Swap(sell=intent.sell, buy=intent.buy, units=amount),)


def _over_chains(
    intent: Intent, facts: Facts, now: Millis, priority: float
) -> tuple[Step, ...] | Refusal:
    """Return a graph of swaps and bridges: what funds a step comes before it."""
    if intent.type is not IntentType.REBALANCE:
        moved = _trade(intent, facts)
        if isinstance(moved, Refusal):
            return moved
        legs = tuple(Leg(sell=t.sell, buy=t.buy, units=t.units) for t in moved)
    else:
        refusal = _unfit(intent, facts)
        if refusal is not None:
            return refusal
        legs = legs_to_targets(
            intent.targets,
            facts.available,
            facts.coming,
            facts.prices,
            facts.edges,
            intent.tolerance,
        )
    return tuple(_graph(intent, legs, now, priority))


def _unfit(intent: Intent, facts: Facts) -> Refusal | None:
    assets = [asset for target in intent.targets for asset in (target.asset, *target.pooled)]
    unpriced = [str(asset) for asset in assets if asset not in facts.prices]
    if unpriced:
        return Refusal(reason=Reason.NO_ROUTE, detail=f"no price for {', '.join(unpriced)}")
    if not any(facts.available.get(asset, 0) + facts.coming.get(asset, 0) for asset in assets):
        return Refusal(reason=Reason.INSUFFICIENT_BALANCE, detail="none of the assets is available")
    return None


def _graph(intent: Intent, legs: Sequence[Leg], now: Millis, priority: float) -> list[Step]:
    """Return a step per leg; one that others fund waits, due when the window closes."""
    ids = [derived_id(intent.id, place) for place in range(len(legs))]
    return [
        Step(
            id=ids[place],
            intent_id=intent.id,
            strategy_id=intent.strategy_id,
            ordinal=place,
            chain_id=leg.sell.chain_id,
            sell=leg.sell,
            buy=leg.buy,
            amount=leg.units,
            side=Side.SELL,
            constraints=intent.constraints,
            priority=priority,
            due=intent.deadline if leg.after else now,
            deadline=intent.deadline,
            kind=StepKind.BRIDGE if leg.crosses else StepKind.SWAP,
            after=tuple(ids[other] for other in leg.after),
            out_of=leg.out_of,
            status=StepStatus.PENDING if leg.after else StepStatus.READY,
        )
        for place, leg in enumerate(legs)
    ]


def _rebalance(intent: Intent, facts: Facts) -> tuple[Swap, ...] | Refusal:
    unpriced = [str(t.asset) for t in intent.targets if t.asset not in facts.prices]
    if unpriced:
        return Refusal(reason=Reason.NO_ROUTE, detail=f"no price for {', '.join(unpriced)}")
    if not any(facts.available.get(target.asset, 0) for target in intent.targets):
        return Refusal(reason=Reason.INSUFFICIENT_BALANCE, detail="none of the assets is available")
    return swaps_to_targets(
        intent.targets, facts.available, facts.prices, intent.tolerance, facts.coming
    )


def _slices(intent: Intent, facts: Facts) -> int:
    match intent.constraints.style:
        case Style.IMMEDIATE:
            return 1
        case Style.TWAP:
            return intent.constraints.schedule.slices
        case Style.ADAPTIVE:
            return facts.slices


def _steps(
    intent: Intent, trades: tuple[Swap, ...], count: int, now: Millis, priority: float
) -> list[Step]:
    steps: list[Step] = []
    for trade in trades:
        slices = min(count, trade.units)
        dues = instants(now, intent.deadline, slices)
        for due, amount in zip(dues, parts(trade.units, slices), strict=True):
            steps.append(
                Step(
                    id=derived_id(intent.id, len(steps)),
                    intent_id=intent.id,
                    strategy_id=intent.strategy_id,
                    ordinal=len(steps),
                    chain_id=intent.chain_id,
                    sell=trade.sell,
                    buy=trade.buy,
                    amount=amount,
                    side=intent.side if intent.type is not IntentType.REBALANCE else Side.SELL,
                    constraints=intent.constraints,
                    priority=priority,
                    due=due,
                    deadline=intent.deadline,
                    status=StepStatus.READY if due <= now else StepStatus.PENDING,
                )
            )
    return steps
