"""What an intent would lead to now: decomposed and planned like a real one, then thrown away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from sep_ray.decomposition.decompose import Refusal, decompose
from sep_ray.decomposition.step import Step, StepKind
from sep_ray.engine.facts import FactSource
from sep_ray.engine.planning import Trade
from sep_ray.intent.intent import Intent, Side
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.routing.plan import Plan
from sep_ray.routing.reasons import NoRoute
from sep_ray.settlement.choice import Chosen, NoBridge
from serve_app.assets import AssetBook
from serve_app.explain import wanted
from serve_app.plan_answers import PlanAnswer, PlanStep
from serve_app.present import amount, choice_answer

Quote = Callable[[ChainId, Trade], Awaitable[Plan | NoRoute]]
Weigh = Callable[[Step], Awaitable[Chosen | NoBridge]]
MOST: Final = 20
"""Steps that are quoted; of a long schedule the later slices would say the same."""


class DryRun:
    """Implements the API's Planner port."""

    def __init__(
        self, facts: FactSource, quote: Quote, weigh: Weigh, book: AssetBook, clock: Clock
    ) -> None:
        """`quote` plans a swap, `weigh` chooses the bridge of a step, neither for real."""
        self._facts = facts
        self._weigh = weigh
        self._quote = quote
        self._book = book
        self._clock = clock

    async def plan(self, intent: Intent) -> PlanAnswer:
        """Return the steps there would be, each with its plan on the newest snapshot.

        Raises Transient while the chain is not being read.
        """
        known = await self._facts.gather([intent], self._clock.now())
        slices = intent.constraints.schedule.slices
        steps = decompose(intent, known.facts(intent, slices), self._clock.now(), 0.0)
        if isinstance(steps, Refusal):
            return self._answer(intent, [], f"{steps.reason.value}: {steps.detail}")
        if not steps:
            return self._answer(intent, [], "already_on_target: nothing to do")
        answers: list[PlanStep] = []
        block: int | None = None
        places = {step.id: place for place, step in enumerate(steps)}
        for step in steps[:MOST]:
            after = [places[each] for each in step.after]
            if step.kind is StepKind.BRIDGE:
                chosen = await self._weigh(step)
                answers.append(self._movement(step, after, chosen))
                refused = _unbridged(chosen)
            else:
                outcome = await self._quote(step.chain_id, Trade.of(step))
                refused = _unrouted(outcome)
                if isinstance(outcome, Plan):
                    answers.append(self._step(step, after, outcome))
                    block = outcome.block_number
            if refused is not None:
                return self._answer(intent, answers, refused, block)
        return self._answer(intent, answers, None, block)

    def _answer(
        self, intent: Intent, steps: list[PlanStep], refused: str | None, block: int | None = None
    ) -> PlanAnswer:
        return PlanAnswer(
            block_number=block, wanted=wanted(intent, self._book), steps=steps, refused=refused
        )

    def _movement(self, step: Step, after: list[int], chosen: Chosen | NoBridge) -> PlanStep:
        quote = chosen.quote if isinstance(chosen, Chosen) else None
        target = quote.target if quote is not None else step.buy
        way = f"chain {step.sell.chain_id} to chain {target.chain_id}"
        return PlanStep(
            kind="bridge",
            after=after,
            sell=amount(self._book, step.sell, step.amount),
            buy=amount(self._book, target, quote.units_out if quote is not None else 0),
            limit=amount(self._book, target, quote.least_out) if quote is not None else None,
            path=[] if quote is None else [f"{way} by {quote.bridge}"],
            gas=0 if quote is None else quote.departure_gas + quote.claim_gas,
            impact_bp=0.0,
            upper_bound=None,
            gap_bp=None,
            bridge=choice_answer(chosen.choice, self._book, target),
            due=step.due,
            detail=chosen.choice.reason,
        )

    def _step(self, step: Step, after: list[int], plan: Plan) -> PlanStep:
        limited = plan.buy if plan.side is Side.SELL else plan.sell
        legs = plan.route.legs
        shares = [f"{leg.share_ppm / 10_000:g} %: " if len(legs) > 1 else "" for leg in legs]
        hops = [
            (share, hop) for share, leg in zip(shares, legs, strict=True) for hop in leg.path.hops
        ]
        return PlanStep(
            kind="swap",
            after=after,
            sell=amount(self._book, plan.sell, plan.amount_in),
            buy=amount(self._book, plan.buy, plan.amount_out),
            limit=amount(self._book, limited, plan.limit),
            path=[
                f"{share}{self._symbol(step.chain_id, hop.token_in)} to "
                f"{self._symbol(step.chain_id, hop.token_out)} by {hop.venue.value} "
                f"{hop.fee_ppm / 10_000:g} % {hop.pool}"
                for share, hop in hops
            ],
            gas=plan.gas_estimate,
            impact_bp=round(plan.impact_ppm / 100, 4),
            upper_bound=None if plan.bound is None else amount(self._book, plan.buy, plan.bound),
            gap_bp=None if plan.gap_ppm is None else plan.gap_ppm / 100,
            bridge=None,
            due=step.due,
            detail=f"best of {plan.considered} paths, cost estimated by {plan.estimated_by}",
        )

    def _symbol(self, chain_id: ChainId, address: str) -> str:
        token = self._book.token(Asset(chain_id, address))
        return token.symbol if token else address


def _unrouted(outcome: Plan | NoRoute) -> str | None:
    """Return why a swap would not be done, None when it would."""
    if isinstance(outcome, Plan):
        return None
    return f"no_route: {outcome.reason.value} {outcome.detail}".strip()


def _unbridged(chosen: Chosen | NoBridge) -> str | None:
    """Return why a movement would not begin now, None when it would."""
    if isinstance(chosen, Chosen):
        return None
    words = "; ".join(f"{each.bridge}: {each.verdict}" for each in chosen.choice.alternatives)
    return f"no_bridge: {words or chosen.choice.reason}"
