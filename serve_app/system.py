"""Routes about the platform itself: strategies, tokens, health, metrics."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from sep_ray.adapters import metrics
from sep_ray.kernel.units import NATIVE
from serve_app.answers import AssetAnswer, AssetsAnswer, StrategiesAnswer, WhoAnswer
from serve_app.asking import Asked, Caller, body_of
from serve_app.health import Health
from serve_app.parts import Parts
from serve_app.present import strategy_answer
from serve_app.problems import Problem
from serve_app.respond import json_response
from serve_app.schemas import StrategyBody
from serve_app.strategies import Desk


async def list_strategies(parts: Asked, principal: Caller) -> Response:
    """All registered strategies, without their code."""
    records = await parts.store.strategies()
    mine = [strategy_answer(record) for record in records if principal.covers(record.id)]
    return json_response(StrategiesAnswer(strategies=mine))


async def show_strategy(strategy_id: str, parts: Asked, principal: Caller) -> Response:
    """One strategy, without its code."""
    record = await parts.store.strategy(strategy_id)
    if record is None or not principal.covers(strategy_id):
        raise Problem("not_found", f"no strategy {strategy_id[:80]}")
    return json_response(strategy_answer(record))


async def start_strategy(request: Request, parts: Asked, principal: Caller) -> Response:
    """Register a strategy and let it run; its code and parameters are tried first."""
    body = await body_of(request, StrategyBody)
    principal.require_strategy(body.id)
    record = await _desk(parts).start(body, principal.name)
    parts.nudge()
    return json_response(strategy_answer(record), 201, location=f"/v1/strategies/{record.id}")


async def pause_strategy(strategy_id: str, parts: Asked, principal: Caller) -> Response:
    """Let it see the market and submit nothing."""
    return await _change("pause", strategy_id, parts, principal)


async def resume_strategy(strategy_id: str, parts: Asked, principal: Caller) -> Response:
    """Let a paused strategy submit again."""
    return await _change("resume", strategy_id, parts, principal)


async def stop_strategy(strategy_id: str, parts: Asked, principal: Caller) -> Response:
    """End it; it may be started again."""
    return await _change("stop", strategy_id, parts, principal)


async def assets(parts: Asked, _: Caller) -> Response:
    """Every token that an intent may name."""
    known = [
        AssetAnswer(
            asset=str(token.asset),
            chain_id=token.asset.chain_id,
            symbol=token.symbol,
            decimals=token.decimals,
        )
        for token in parts.book.tokens
        if token.asset.address != NATIVE
    ]
    return json_response(AssetsAnswer(assets=known))


async def whoami(parts: Asked, principal: Caller) -> Response:
    """What the token that was sent allows."""
    scope = principal.strategies
    return json_response(
        WhoAnswer(
            principal=principal.name,
            role=principal.role.name.lower(),
            strategies=sorted(scope) if scope is not None else None,
            expires_at=principal.expires_at,
            submissions_per_minute=parts.submissions_per_minute,
        )
    )


async def health(request: Request) -> Response:
    """How every service is; 503 when intents cannot be accepted and carried out."""
    checker: Health = request.app.state.health
    answer = await checker.answer()
    return json_response(answer, 503 if answer.state == "down" else 200)


async def exposition() -> Response:
    """Metrics in Prometheus's text form, summed over all processes of the node."""
    text = await asyncio.to_thread(metrics.exposition)
    return Response(text, media_type=metrics.CONTENT_TYPE)


async def _change(change: str, strategy_id: str, parts: Parts, principal: Caller) -> Response:
    principal.require_strategy(strategy_id)
    record = await _desk(parts).change(strategy_id, change, principal.name)
    parts.nudge()
    return json_response(strategy_answer(record))


def _desk(parts: Parts) -> Desk:
    return Desk(parts.store, parts.clock, parts.trial)
