"""Routes about money: the portfolio, moving units between strategies, dry runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from sep_ray.kernel.errors import SepError
from sep_ray.kernel.ids import derived_id
from sep_ray.kernel.units import Amount, ChainId
from sep_ray.portfolio.events import FundsAllocated
from serve_app.answers import AllocationAnswer, CheckAnswer, Mismatch, PortfolioAnswer
from serve_app.asking import Asked, Caller, body_of
from serve_app.assets import units_of
from serve_app.commands import move_funds
from serve_app.convert import to_intent
from serve_app.parts import Parts
from serve_app.present import amount, holdings_answer, totals_answer
from serve_app.problems import Problem
from serve_app.respond import json_response
from serve_app.schemas import AllocationBody, IntentBody
from serve_app.scope import require_known
from serve_app.submit import idempotency_key


async def portfolio(
    parts: Asked,
    principal: Caller,
    strategy_id: Annotated[str | None, Query(max_length=64)] = None,
    check: Annotated[bool, Query(description="Compare the books with the chains")] = False,
) -> Response:
    """Where every unit is, by strategy, asset and bucket."""
    if strategy_id is not None:
        principal.require_strategy(strategy_id)
    holdings = await parts.store.holdings(strategy_id)
    if not holdings:
        await require_known(parts.store, principal, strategy_id)
    mine = [holding for holding in holdings if principal.covers(holding.strategy_id)]
    answer = PortfolioAnswer(
        strategies=holdings_answer(mine, parts.book),
        totals=totals_answer(mine, parts.book),
        check=await _compared(parts) if check else None,
    )
    return json_response(answer)


async def allocate(request: Request, parts: Asked, principal: Caller) -> Response:
    """Move available units from one strategy to another, once per Idempotency-Key."""
    key = idempotency_key(dict(request.scope["headers"]))
    body = await body_of(request, AllocationBody)
    for strategy_id in (body.source, body.target):
        principal.require_strategy(strategy_id)
    if body.chain_id is not None:
        parts.book.require_chain(body.chain_id)
    token = parts.book.find(body.asset, body.chain_id, "asset", coin=True)
    if body.source == body.target:
        raise Problem.of_field("target", "is the source", "another strategy than source")
    moved = Amount(token.asset, units_of(token, body))
    name = derived_id("allocation", principal.name, key) if key else parts.ids.next()
    event = FundsAllocated(
        asset=moved.asset,
        units=moved.units,
        source=body.source,
        target=body.target,
        principal=principal.name,
    )
    row, new = await move_funds(parts.store, parts.clock, name, moved, event)
    answer = AllocationAnswer(
        source=body.source,
        target=body.target,
        moved=amount(parts.book, moved.asset, moved.units),
        seq=row.seq,
    )
    return json_response(answer, 201 if new else 200)


async def plan(request: Request, parts: Asked, principal: Caller) -> Response:
    """What an intent would lead to now; nothing is recorded, reserved or sent."""
    body = await body_of(request, IntentBody)
    principal.require_strategy(body.strategy_id)
    intent = to_intent(body, parts.book, parts.ids.next(), parts.clock.now())
    if parts.planner is None:
        raise Problem("unavailable", "no chain is being read", headers={"Retry-After": "1"})
    return json_response(await parts.planner.plan(intent))


async def _compared(parts: Parts) -> CheckAnswer:
    assets, mismatches, unread = 0, [], []
    for chain_id in map(ChainId, parts.book.chains):
        if parts.balances is None:
            unread.append(f"{chain_id}: no chain is being read")
            continue
        try:
            pairs = await parts.balances.compare(chain_id)
        except SepError as error:
            unread.append(f"{chain_id}: {error.message}")
            continue
        assets += len(pairs)
        for asset, (booked, held) in sorted(pairs.items()):
            if booked != held:
                token = parts.book.token(asset)
                mismatches.append(
                    Mismatch(
                        asset=str(asset),
                        symbol=token.symbol if token else None,
                        ledger_units=str(booked),
                        chain_units=str(held),
                    )
                )
    return CheckAnswer(assets=assets, mismatches=mismatches, unread=unread)
