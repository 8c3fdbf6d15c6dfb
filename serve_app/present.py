"""The core's records as answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Context, Decimal, Inexact
from itertools import groupby
from json import loads
from uuid import UUID

from sep_ray.decomposition.step import Step, StepStatus
from sep_ray.execution.attempt import TERMINAL as SETTLED
from sep_ray.execution.attempt import Attempt
from sep_ray.intent.intent import Constraints, Intent, IntentType, Side
from sep_ray.intent.states import TERMINAL as ENDED
from sep_ray.intent.states import IntentRecord
from sep_ray.kernel.units import PPM, Asset
from sep_ray.portfolio.ledger import HOLDINGS, Holding
from sep_ray.settlement.weighed import Choice
from sep_ray.strategy.record import StrategyRecord
from serve_app.answers import (
    AmountAnswer,
    AssetHoldings,
    ConstraintsAnswer,
    IntentAnswer,
    StepAnswer,
    StrategyAnswer,
    StrategyHoldings,
    TargetAnswer,
    TransactionAnswer,
)
from serve_app.assets import AssetBook
from serve_app.explain import readable, wanted
from serve_app.transfer_answers import AlternativeAnswer, ChoiceAnswer

_EXACT = Context(prec=200, traps=[Inexact])


def amount(book: AssetBook, asset: Asset, units: int) -> AmountAnswer:
    """Return an exact amount in both forms."""
    token = book.token(asset)
    return AmountAnswer(
        asset=str(asset),
        symbol=token.symbol if token else None,
        units=str(units),
        amount=token.format(units) if token else None,
    )


def intent_answer(
    record: IntentRecord,
    book: AssetBook,
    steps: Sequence[Step],
    attempts: Sequence[Attempt],
    *,
    with_steps: bool,
) -> IntentAnswer:
    """Return an intent with what its steps (of this intent only) came to."""
    by_step: dict[UUID | None, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_step[attempt.step_id].append(attempt)
    intent = record.intent
    landed = [a.inclusion for a in attempts if a.inclusion is not None]
    sold, bought, quoted = _sums(intent, steps)
    return IntentAnswer(
        id=str(intent.id),
        strategy_id=intent.strategy_id,
        type=intent.type.value,
        chain_id=intent.chain_id,
        state=record.status.value,
        final=_is_final(record, attempts),
        reason=record.reason.value if record.reason else None,
        detail=readable(record.detail, book),
        wanted=wanted(intent, book),
        sell=str(intent.sell) if intent.sell else None,
        buy=str(intent.buy) if intent.buy else None,
        side=intent.side.value,
        asked=_asked(intent, book),
        targets=_targets(intent, book),
        tolerance=share(intent.tolerance),
        constraints=_constraints(intent.constraints, _limit_price(intent, book)),
        note=intent.note,
        principal=record.principal,
        score=record.score,
        score_source=record.score_source,
        why=record.why,
        sold=amount(book, intent.sell, sold) if intent.sell else None,
        bought=amount(book, intent.buy, bought) if intent.buy else None,
        quoted=_quoted(intent, book, quoted),
        slippage_bp=None if intent.type is IntentType.REBALANCE else _of_steps(steps),
        gas_used=sum(inclusion.gas_used for inclusion in landed),
        tx_hashes=[inclusion.tx_hash for inclusion in landed],
        created_at=intent.created_at,
        updated_at=record.updated_at,
        deadline=intent.deadline,
        steps=[step_answer(s, book, by_step[s.id]) for s in steps] if with_steps else None,
    )


def _is_final(record: IntentRecord, attempts: Sequence[Attempt]) -> bool:
    """Whether nothing can change the end: a fill whose block may still go can be withdrawn (P7)."""
    ended = record.status in ENDED
    return ended and all(attempt.status in SETTLED for attempt in attempts)


def step_answer(step: Step, book: AssetBook, attempts: Sequence[Attempt]) -> StepAnswer:
    """Return a step with the transactions made for it."""
    fixed, other = (step.sell, step.buy) if step.side is Side.SELL else (step.buy, step.sell)
    return StepAnswer(
        id=str(step.id),
        ordinal=step.ordinal,
        kind=step.kind.value,
        chain_id=step.chain_id,
        after=[str(each) for each in step.after],
        state=step.status.value,
        reason=step.reason.value if step.reason else None,
        detail=step.detail,
        side=step.side.value,
        asked=amount(book, fixed, step.amount),
        quoted=amount(book, other, step.quoted) if step.quoted else None,
        sold=amount(book, step.sell, step.sold),
        bought=amount(book, step.buy, step.bought),
        slippage_bp=_of_steps([step]),
        due=step.due,
        deadline=step.deadline,
        tries=step.tries,
        transactions=[_transaction(attempt) for attempt in attempts],
    )


def holdings_answer(holdings: Sequence[Holding], book: AssetBook) -> list[StrategyHoldings]:
    """Return balances by strategy, asset and bucket."""
    ordered = sorted(holdings, key=lambda h: (h.strategy_id, h.asset, h.bucket.value))
    answer = []
    for strategy_id, owned in groupby(ordered, key=lambda h: h.strategy_id):
        assets = []
        for asset, lines in groupby(owned, key=lambda h: h.asset):
            token = book.token(asset)
            assets.append(
                AssetHoldings(
                    asset=str(asset),
                    symbol=token.symbol if token else None,
                    decimals=token.decimals if token else None,
                    buckets={h.bucket.value: amount(book, asset, h.units) for h in lines},
                )
            )
        answer.append(StrategyHoldings(strategy_id=strategy_id, assets=assets))
    return answer


def totals_answer(holdings: Sequence[Holding], book: AssetBook) -> list[AmountAnswer]:
    """Return what is held of each asset over these holdings."""
    sums: dict[Asset, int] = defaultdict(int)
    for holding in holdings:
        if holding.bucket in HOLDINGS:
            sums[holding.asset] += holding.units
    return [amount(book, asset, units) for asset, units in sorted(sums.items())]


def strategy_answer(record: StrategyRecord) -> StrategyAnswer:
    """Return a strategy without its code."""
    return StrategyAnswer(
        id=record.id,
        source=record.source,
        params=loads(record.params or "{}"),
        state=record.status.value,
        detail=record.detail,
        created_at=record.created_at,
    )


def choice_answer(choice: Choice, book: AssetBook, target: Asset) -> ChoiceAnswer:
    """Return why this bridge, or none, carries something that arrives as `target`."""
    return ChoiceAnswer(
        reason=choice.reason,
        alternatives=[
            AlternativeAnswer(
                bridge=each.bridge,
                mode=each.mode,
                arrives=amount(book, target, each.units_out),
                p50_ms=each.p50_ms,
                p95_ms=each.p95_ms,
                trust=each.trust,
                cost_ppm=each.cost_ppm,
                verdict=each.verdict,
            )
            for each in choice.alternatives
        ],
    )


def share(ppm: int) -> str:
    """Write parts per million as a decimal fraction."""
    return f"{(Decimal(ppm) / PPM).normalize():f}"


def _transaction(attempt: Attempt) -> TransactionAnswer:
    landed = attempt.inclusion
    return TransactionAnswer(
        id=str(attempt.id),
        purpose=attempt.purpose.value,
        state=attempt.status.value,
        nonce=attempt.nonce,
        tx_hashes=[version.tx_hash for version in attempt.signed],
        block_number=landed.block_number if landed else None,
        gas_used=landed.gas_used if landed else None,
        gas_cost_wei=str(landed.cost_wei) if landed else None,
        detail=attempt.detail,
    )


def _sums(intent: Intent, steps: Sequence[Step]) -> tuple[int, int, int]:
    if intent.type is IntentType.REBALANCE:
        return 0, 0, 0
    done = [step for step in steps if step.status is StepStatus.DONE]
    return (
        sum(step.sold for step in done),
        sum(step.bought for step in done),
        sum(step.quoted for step in done),
    )


def _quoted(intent: Intent, book: AssetBook, units: int) -> AmountAnswer | None:
    other = intent.buy if intent.side is Side.SELL else intent.sell
    return amount(book, other, units) if other and units else None


def _asked(intent: Intent, book: AssetBook) -> AmountAnswer | None:
    fixed = intent.sell if intent.side is Side.SELL else intent.buy
    return amount(book, fixed, intent.amount) if fixed and intent.amount is not None else None


def _targets(intent: Intent, book: AssetBook) -> list[TargetAnswer]:
    tokens = [(target, book.token(target.asset)) for target in intent.targets]
    return [
        TargetAnswer(
            asset=str(target.asset),
            symbol=token.symbol if token else None,
            weight=share(target.weight),
            pooled=[str(asset) for asset in target.pooled],
        )
        for target, token in tokens
    ]


def _limit_price(intent: Intent, book: AssetBook) -> str | None:
    """Write the limit in whole tokens bought per token sold; as a fraction if it does not end."""
    limit = intent.constraints.limit
    if limit is None:
        return None
    sell, buy = (book.token(asset) if asset else None for asset in (intent.sell, intent.buy))
    shift = sell.decimals - buy.decimals if sell and buy else 0
    try:
        price = _EXACT.divide(Decimal(limit.numerator), Decimal(limit.denominator))
        return f"{price.scaleb(shift, _EXACT).normalize(_EXACT):f}"
    except Inexact:
        return f"{limit.numerator}/{limit.denominator} * 10^{shift}"


def _constraints(bounds: Constraints, limit_price: str | None) -> ConstraintsAnswer:
    return ConstraintsAnswer(
        max_slippage=share(bounds.max_slippage),
        time_window_ms=bounds.time_window_ms,
        limit_price=limit_price,
        max_gas=bounds.max_gas,
        max_fee_wei=str(bounds.max_fee_wei) if bounds.max_fee_wei is not None else None,
        venues=sorted(bounds.venues),
        urgency=share(bounds.urgency),
        style=bounds.style.value,
        slices=bounds.schedule.slices,
        catch_up=bounds.schedule.catch_up.value,
        burst_cap=bounds.schedule.burst_cap,
    )


def _of_steps(steps: Sequence[Step]) -> float | None:
    """Return how much worse than quoted the done steps were, in basis points of what was quoted."""
    done = [step for step in steps if step.status is StepStatus.DONE and step.quoted]
    quoted = sum(step.quoted for step in done)
    if not quoted:
        return None
    worse = sum(
        step.quoted - step.bought if step.side is Side.SELL else step.sold - step.quoted
        for step in done
    )
    return round(worse * 10_000 / quoted, 4)
