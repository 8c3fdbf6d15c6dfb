"""What waits in the pool, looked at again in every block: would it still do what was planned?

The planner's own arithmetic on the new snapshot says so; where it cannot, the node is asked to run
the call. What would revert now is planned anew at the same nonce, or its nonce is used up: never
is a second swap sent beside the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from uuid import UUID

import structlog

from sep_ray.decomposition.step import Step, StepStatus
from sep_ray.engine.lane import Lane
from sep_ray.engine.planning import Planner, Trade, WorkingMarket
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.attempt import Attempt, Purpose
from sep_ray.execution.fees import Fees
from sep_ray.execution.ports import Calls, Evidence, Head
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import SepError
from sep_ray.routing.plan import Plan

log = structlog.get_logger()

MOST_VERSIONS: Final = 8
"""Signed versions of one attempt after which it is not planned anew: each costs an eighth more."""


class Watcher:
    """Judges what is in flight, and plans anew what no longer holds."""

    def __init__(
        self,
        planner: Planner,
        calls: Calls,
        clock: Clock,
        rules: ChainRules,
        evidence: Evidence | None = None,
    ) -> None:
        """Without `evidence` the node is not asked: what the arithmetic cannot tell waits."""
        self._planner = planner
        self._calls = calls
        self._clock = clock
        self._rules = rules
        self._evidence = evidence

    async def judge(self, lane: Lane, market: WorkingMarket, head: Head) -> None:
        """Note in `lane.doomed` which swaps would revert now, and move the market as the others
        will. One that was signed for this very head is not judged."""
        lane.doomed.clear()
        for place, attempt in enumerate(lane.pending()):
            if attempt.purpose is not Purpose.SWAP or attempt.newest.cancel:
                continue
            plan = lane.plans.get(attempt.id)
            young = attempt.sent_block is None or attempt.sent_block >= head.number
            if plan is not None and market.holds(plan) is not False:
                market.take(plan)
            elif young:
                continue
            elif plan is not None:
                lane.doomed[attempt.id] = "the market has moved past its limit"
            elif place == 0 and (words := await self._failure(lane, attempt, head)):
                lane.doomed[attempt.id] = words
        for attempt_id, words in lane.doomed.items():
            log.info("attempt_would_revert", attempt_id=str(attempt_id), why=words)

    async def _failure(self, lane: Lane, attempt: Attempt, head: Head) -> str | None:
        """Ask the node to run a call whose plan this process never saw; no answer is no reason."""
        if self._evidence is None:
            return None
        call = self._calls.inside(attempt.newest.raw)
        try:
            return await self._evidence.failure(lane.account, call, head)
        except SepError as error:
            log.warning("simulation_unanswered", attempt_id=str(attempt.id), why=str(error))
            return None

    async def replans(
        self, lane: Lane, market: WorkingMarket, head: Head, fees: Fees
    ) -> Mapping[UUID, Plan]:
        """Return new plans for doomed swaps: through the same contract, within what is reserved.

        None for a try that another of its step came before: it has nothing left to do.
        """
        found: dict[UUID, Plan] = {}
        for attempt in lane.pending():
            step = lane.step_of(attempt)
            if attempt.id not in lane.doomed or step is None or not _works_on(attempt, step):
                continue
            if len(attempt.signed) >= MOST_VERSIONS or self._clock.now() >= attempt.deadline:
                continue
            plan = await self._plan(step, attempt, market, head, fees)
            if plan is not None and self._calls.swap(plan, lane.account).to == attempt.to:
                found[attempt.id] = plan
                market.take(plan)
        return found

    async def _plan(
        self, step: Step, attempt: Attempt, market: WorkingMarket, head: Head, fees: Fees
    ) -> Plan | None:
        left_ms = attempt.deadline - self._clock.now()
        price, mix = head.next_base_fee_wei + fees.tip_wei, self._calls.mixes_venues
        deadline_s = head.timestamp + -(-left_ms // 1_000)
        request = Trade.of(step).request(deadline_s, price, fees.data, mix_venues=mix)
        (options,) = await self._planner.options(market.now, [request])
        plan = self._planner.decide(options, market)
        if not isinstance(plan, Plan) or plan.amount_in > step.reserved:
            return None
        return replace(plan, limit=min(plan.limit, step.reserved)) if _buys(step) else plan


def _works_on(attempt: Attempt, step: Step) -> bool:
    return step.status is StepStatus.WORKING and step.attempt_id == attempt.id


def _buys(step: Step) -> bool:
    return step.side is not step.side.SELL
