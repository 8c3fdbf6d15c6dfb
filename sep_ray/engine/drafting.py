"""Which ready steps are sent now, at what limit and out of whose pocket. Pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Protocol

from sep_ray.decomposition.step import Step
from sep_ray.engine.tills import Tills
from sep_ray.execution.fees import Fees
from sep_ray.execution.gas_limit import APPROVAL_GAS, swap_gas_limit
from sep_ray.intent.intent import Side
from sep_ray.intent.states import Reason
from sep_ray.kernel.units import Asset
from sep_ray.portfolio.ledger import TREASURY, Bucket, Holding
from sep_ray.routing.plan import Plan
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.reasons import Reason as RouteReason

PASSING: Final = frozenset(
    {
        RouteReason.BELOW_LIMIT,
        RouteReason.DEADLINE_PASSED,
        RouteReason.POOL_INCONSISTENT,
        RouteReason.OUTSIDE_KNOWN_TICKS,
    }
)
"""Reasons for having no plan that the next block may cure; the step's deadline bounds them."""

REASONS: Final[Mapping[RouteReason, Reason]] = MappingProxyType(
    {
        RouteReason.GAS_ABOVE_MAXIMUM: Reason.GAS_LIMIT,
        RouteReason.PRICE_GUARD: Reason.PRICE_GUARD,
    }
)
"""What a step ends with for want of a plan; all else is NO_ROUTE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A swap to be signed by an account. `reserve` is the most it can take of what is sold."""

    step: Step
    plan: Plan
    reserve: int
    gas_limit: int
    account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A step that cannot be done."""

    step: Step
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """A step that has to wait for another block."""

    step: Step
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scattered:
    """A step whose units are there, but on no single account."""

    step: Step
    reserve: int


Outcome = Draft | Refused | Deferred | Scattered


class Spending(Protocol):
    """Something that takes units of what a step sells from the account."""

    @property
    def step(self) -> Step:
        """Whose units."""

    @property
    def reserve(self) -> int:
        """The most it takes."""


class Purse:
    """What may still be spent in a round: each strategy's available units, and coin for gas."""

    def __init__(
        self, holdings: Iterable[Holding], live: Iterable[Step], coin: Asset, promised_wei: int
    ) -> None:
        """`live` are steps in flight: what they buy is on its way. `promised_wei` is what
        transactions in flight may still pay for gas."""
        self._available = {
            (h.strategy_id, h.asset): h.units for h in holdings if h.bucket is Bucket.AVAILABLE
        }
        self._coming = {(step.strategy_id, step.buy) for step in live}
        self._gas_wei = self._available.get((TREASURY, coin), 0) - promised_wei

    def available(self, step: Step) -> int:
        """Return what the step's strategy may still sell of its asset."""
        return self._available.get((step.strategy_id, step.sell), 0)

    def expects(self, step: Step) -> bool:
        """Whether more of what the step sells is on its way to the strategy."""
        return (step.strategy_id, step.sell) in self._coming

    def pays(self, wei: int) -> bool:
        """Whether the treasury's coin covers so much gas."""
        return wei <= self._gas_wei

    def take(self, draft: Draft, wei: int) -> None:
        """Set a draft's reserve and gas aside."""
        self.spend(draft.step, draft.reserve, wei)
        self._coming.add((draft.step.strategy_id, draft.step.buy))

    def spend(self, step: Step, units: int, wei: int) -> None:
        """Set units of what a step sells aside, and gas."""
        key = step.strategy_id, step.sell
        self._available[key] = self._available.get(key, 0) - units
        self._gas_wei -= wei


def drafted(step: Step, plan: Plan | NoRoute, purse: Purse, tills: Tills, fees: Fees) -> Outcome:
    """Decide about one step; a draft has been taken out of the purse and its account's till."""
    if isinstance(plan, NoRoute):
        return _without_plan(step, plan)
    available = purse.available(step)
    if plan.amount_in > available:
        if purse.expects(step):
            return Deferred(step=step, why="waits for funds on their way")
        detail = f"needs {plan.amount_in}, available {available} of {step.sell}"
        return Refused(step=step, reason=Reason.INSUFFICIENT_BALANCE, detail=detail)
    gas_limit = swap_gas_limit(plan, step.constraints.max_gas, fees.data_gas)
    wei = fees.most_wei(gas_limit + 2 * APPROVAL_GAS, 3)
    if not purse.pays(wei) or not tills.pays(wei):
        return Deferred(step=step, why=f"the treasury's coin does not cover {wei} wei of gas")
    draft = _bounded(step, plan, available, gas_limit)
    account = tills.place(step.sell, draft.reserve, wei)
    if account is None:
        return Scattered(step=step, reserve=draft.reserve)
    purse.take(draft, wei)
    return replace(draft, account=account)


def _bounded(step: Step, plan: Plan, available: int, gas_limit: int) -> Draft:
    """Reserve the exact input, or the most a purchase may cost; never more than there is."""
    if plan.side is Side.SELL:
        return Draft(step=step, plan=plan, reserve=plan.amount_in, gas_limit=gas_limit)
    limit = min(plan.limit, available)
    return Draft(step=step, plan=replace(plan, limit=limit), reserve=limit, gas_limit=gas_limit)


def _without_plan(step: Step, none: NoRoute) -> Outcome:
    words = f"{none.reason.value}: {none.detail}" if none.detail else none.reason.value
    if none.reason in PASSING:
        return Deferred(step=step, why=words)
    return Refused(step=step, reason=REASONS.get(none.reason, Reason.NO_ROUTE), detail=words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Units of a token (address) that a spender must be allowed, and the first step that asks.

    `reset` says that the allowance has to be set to zero first.
    """

    token: str
    spender: str
    units: int
    step: Step
    reset: bool = False


def approvals(
    drafts: Iterable[tuple[Spending, str]],
    allowed: Mapping[tuple[str, str], int],
    in_use: Iterable[tuple[str, str]],
    zero_first: frozenset[str],
) -> list[Approval]:
    """Return the exact approvals a round of (draft, spender) needs, one per token and spender.

    `allowed` is what (token, spender) pairs are allowed as of the head; `in_use` are the pairs
    that swaps in flight draw on. An approval replaces what is left of an earlier one, and is
    mined after all that draw on that one, because it has a later nonce.
    """
    busy = set(in_use)
    units: dict[tuple[str, str], int] = {}
    first: dict[tuple[str, str], Step] = {}
    for draft, spender in drafts:
        pair = draft.step.sell.address, spender
        units[pair] = units.get(pair, 0) + draft.reserve
        first.setdefault(pair, draft.step)
    return [
        Approval(
            token=pair[0],
            spender=pair[1],
            units=need,
            step=first[pair],
            reset=pair[0] in zero_first and (pair in busy or allowed.get(pair, 0) > 0),
        )
        for pair, need in units.items()
        if pair in busy or allowed.get(pair, 0) < need
    ]
