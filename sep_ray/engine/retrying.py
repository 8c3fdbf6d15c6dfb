"""A reverted sale tried again before its revert is final, where the chain itself rules out both.

A revert can be undone: in another block the same bytes may succeed. So a step tries again only when
its last try is final (P3), with one exception. The first try left the exact allowance it was given
untouched. A second one that draws on that very allowance can succeed only if the first does not:
nonces run in order in every history, the allowance is set before both and spent by one of them.

That holds when: it is a sale (it draws its amount exactly), the contract draws on a plain allowance
of the token and nothing else, the allowance is exactly what the step sells, no other swap of
the account that is not final draws on it, and no later approval renewed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sep_ray.decomposition.step import Step, StepRequeued, StepStatus
from sep_ray.engine.drafting import Draft
from sep_ray.engine.lane import Lane
from sep_ray.engine.planning import Planner, Trade, WorkingMarket
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.attempt import TERMINAL, Attempt, AttemptStatus, Purpose
from sep_ray.execution.fees import Fees
from sep_ray.execution.gas_limit import swap_gas_limit
from sep_ray.execution.ports import Accounts, Calls, Head
from sep_ray.intent.intent import Side
from sep_ray.intent.states import Reason
from sep_ray.kernel.clock import Clock
from sep_ray.routing.plan import Plan

LEAST_LEFT_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A second try of a step, and what is said of the first."""

    draft: Draft
    requeued: StepRequeued


class Retrier:
    """Finds reverted sales that may be tried again at once."""

    def __init__(
        self, planner: Planner, accounts: Accounts, calls: Calls, clock: Clock, rules: ChainRules
    ) -> None:
        self._planner = planner
        self._accounts = accounts
        self._calls = calls
        self._clock = clock
        self._rules = rules

    async def retries(
        self, lane: Lane, head: Head, market: WorkingMarket, fees: Fees
    ) -> list[Retry]:
        """Return the second tries to be sent now by a lane that is ready."""
        found: list[Retry] = []
        for attempt in lane.landed():
            step = lane.step_of(attempt)
            if step is None or not self._may_try(attempt, step):
                continue
            if await self._exclusive(lane, attempt, step, head):
                retry = await self._retry(lane, attempt, step, head, market, fees)
                found += [retry] if retry is not None else []
        return found

    def _may_try(self, attempt: Attempt, step: Step) -> bool:
        lost = attempt.status is AttemptStatus.REVERTED and attempt.purpose is Purpose.SWAP
        waits = step.status is StepStatus.WORKING and step.attempt_id == attempt.id
        left = step.deadline - self._clock.now() > LEAST_LEFT_MS
        exact = step.side is Side.SELL and step.reserved == step.amount
        return lost and waits and left and exact and step.tries < self._rules.max_tries

    async def _exclusive(self, lane: Lane, attempt: Attempt, step: Step, head: Head) -> bool:
        """Whether only one of the tries can succeed, whatever the blocks' order."""
        takers, token = self._calls.takers(attempt.to), step.sell.address
        if len(takers) != 1 or token in self._rules.zero_first:
            return False
        if any(self._competes(lane, other, attempt, step) for other in lane.attempts.values()):
            return False
        (allowed,) = await self._accounts.allowances(lane.account, takers[0], [token], head)
        return allowed == step.amount

    def _competes(self, lane: Lane, other: Attempt, attempt: Attempt, step: Step) -> bool:
        """Whether another transaction may draw on the allowance, or renewed it."""
        if other.status in TERMINAL or other.step_id == step.id:
            return other.purpose is Purpose.APPROVAL and other.nonce > attempt.nonce
        if other.purpose is Purpose.APPROVAL:
            return other.to == step.sell.address and other.nonce > attempt.nonce
        if other.purpose in (Purpose.CANCEL, Purpose.TRANSFER, Purpose.REFUEL):
            return False
        sells = lane.step_of(other)
        return sells is None or sells.sell == step.sell

    async def _retry(
        self,
        lane: Lane,
        attempt: Attempt,
        step: Step,
        head: Head,
        market: WorkingMarket,
        fees: Fees,
    ) -> Retry | None:
        left_ms = min(step.deadline - self._clock.now(), self._rules.lifetime_ms)
        price, mix = head.next_base_fee_wei + fees.tip_wei, self._calls.mixes_venues
        deadline_s = head.timestamp + -(-left_ms // 1_000)
        request = Trade.of(step).request(deadline_s, price, fees.data, mix_venues=mix)
        (options,) = await self._planner.options(market.now, [request])
        plan = self._planner.decide(options, market)
        if not isinstance(plan, Plan) or plan.amount_in != step.amount:
            return None
        if self._calls.swap(plan, lane.account).to != attempt.to:
            return None
        market.take(plan)
        gas_limit = swap_gas_limit(plan, step.constraints.max_gas)
        draft = Draft(
            step=step,
            plan=plan,
            reserve=step.reserved,
            gas_limit=gas_limit,
            account=lane.account,
        )
        requeued = StepRequeued(reason=Reason.REVERTED, detail=attempt.detail)
        return Retry(draft=draft, requeued=requeued)
