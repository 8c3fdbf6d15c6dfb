"""Routes of the risk officer: halts and limits (P9, P10)."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Final
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from sep_ray.engine.risk import RiskDesk
from sep_ray.kernel.ids import derived_id
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.codes import MEANING
from sep_ray.policy.halts import Halt, HaltStatus, Scope
from sep_ray.policy.limits import InvalidLimit, Kind, Limit, Listed, Subject, checked
from serve_app.asking import Asked, Caller, body_of, id_of
from serve_app.auth import Principal
from serve_app.parts import Parts
from serve_app.problems import Problem
from serve_app.respond import json_response
from serve_app.risk_models import (
    HaltBody,
    HaltsAnswer,
    LimitAnswer,
    LimitBody,
    LimitsAnswer,
    halt_answer,
    kinds_of,
    limit_answer,
    scope_of,
)
from serve_app.schemas import NAME, NAME_IN_WORDS
from serve_app.submit import idempotency_key

MOST_HALTS: Final = 200
SUMS: Final = frozenset({Kind.WINDOW, Kind.TOTAL, Kind.POSITION})


async def halt(request: Request, parts: Asked, principal: Caller) -> Response:
    """Stop an intent, a strategy, a chain or everything, now. Durable when answered.

    The executors are told while the halt is being written: they stop at once, and go on only if
    it does not become durable within ten seconds.
    """
    key = idempotency_key(dict(request.scope["headers"]))
    body = await body_of(request, HaltBody)
    scope, mode = scope_of(body)
    placed = Halt(
        id=derived_id("halt", principal.name, key) if key else parts.ids.next(),
        scope=scope,
        target=await _target(body, parts, principal),
        mode=mode,
        why=body.why,
        principal=principal.name,
        at=parts.clock.now(),
    )
    told = asyncio.ensure_future(parts.line.tell(placed))
    try:
        placed = await _desk(parts).halt(placed)
        if placed.status is HaltStatus.RELEASED:
            raise Problem("already_ended", f"the halt {placed.id} was released")
    except BaseException:
        told.cancel()
        await parts.line.untell(placed.id)
        raise
    answer = halt_answer(placed, await told)
    return json_response(answer, 201, location=f"/v1/halts/{placed.id}")


async def halts(
    parts: Asked,
    _: Caller,
    released: Annotated[bool, Query(description="Also those that were released")] = False,
) -> Response:
    """Halts that stand, the oldest first; with `released` all, the newest first."""
    found = (
        await parts.store.newest_halts(MOST_HALTS) if released else await parts.store.active_halts()
    )
    return json_response(HaltsAnswer(halts=[halt_answer(each) for each in found]))


async def release(
    halt_id: str,
    parts: Asked,
    principal: Caller,
    why: Annotated[str, Query(max_length=120)] = "",
) -> Response:
    """Let what a halt stopped go on; the release bears the name of whoever asks."""
    name = id_of(halt_id, "halt")
    standing = await parts.store.halt(name)
    if standing is not None:
        await _require_covered(standing, parts, principal)
    found = await _desk(parts).release(name, principal.name, why)
    if found is None:
        raise Problem("not_found", f"no halt {halt_id[:80]}")
    await parts.line.untell(found.id)
    return json_response(halt_answer(found))


async def limits(parts: Asked, _: Caller) -> Response:
    """All limits with what of them is in use, and the codes of denials."""
    book = await parts.store.limits()
    summed = [limit.id for limit in book.limits if limit.kind in SUMS]
    used = await parts.store.limit_usage(summed)
    now = parts.clock.now()
    shown: list[LimitAnswer] = []
    for limit in book.limits:
        since = now - limit.window_ms - limit.slot_ms + 1 if limit.window_ms else 0
        total = sum(slot.amount for slot in used.get(limit.id, ()) if slot.start >= since)
        shown.append(limit_answer(limit, total if limit.kind in SUMS else None))
    codes = {code.value: words for code, words in MEANING.items()}
    return json_response(LimitsAnswer(version=book.version, limits=shown, codes=codes))


async def set_limit(request: Request, parts: Asked, principal: Caller) -> Response:
    """Add a limit, or replace the one of the same name. Holds for the next signature."""
    body = await body_of(request, LimitBody)
    limit = _limit(body, parts)
    _require_own(limit, principal)
    before = (await parts.store.limits()).find(limit.id)
    if before is not None:
        _require_own(before, principal)
    try:
        await _desk(parts).set_limit(checked(limit), principal.name)
    except InvalidLimit as error:
        raise Problem.of_field(
            error.facts["field"].removeprefix("subject."),
            "is not acceptable",
            error.facts["allowed"],
        ) from None
    return json_response(limit_answer(limit, None), 201, location=f"/v1/limits/{limit.id}")


async def remove_limit(limit_id: str, parts: Asked, principal: Caller) -> Response:
    """Remove a limit; what was used of it is remembered if it is set again."""
    limit = (await parts.store.limits()).find(limit_id)
    if limit is not None:
        _require_own(limit, principal)
    if limit is None or await _desk(parts).remove_limit(limit_id, principal.name) is None:
        raise Problem("not_found", f"no limit {limit_id[:80]}")
    return json_response(limit_answer(limit, None))


async def _target(body: HaltBody, parts: Parts, principal: Principal) -> str:
    """Return what is stopped, named as the engine names it, or raise a Problem."""
    scope, _ = scope_of(body)
    if scope is Scope.ALL:
        if body.target:
            raise Problem.of_field("target", "is not needed to stop everything", '""')
        return ""
    if scope is Scope.INTENT:
        record = await parts.store.intent(id_of(body.target, "intent"))
        if record is None or not principal.covers(record.intent.strategy_id):
            raise Problem("not_found", f"no intent {body.target}")
        return str(record.intent.id)
    if scope is Scope.CHAIN:
        return str(parts.book.named_chain(body.target, "target"))
    if not re.fullmatch(NAME, body.target):
        raise Problem.of_field("target", "names no strategy", NAME_IN_WORDS)
    principal.require_strategy(body.target)
    return body.target


async def _require_covered(placed: Halt, parts: Parts, principal: Principal) -> None:
    """Raise a Problem for a halt that also stops what the token does not cover."""
    if principal.strategies is None:
        return
    owner = placed.target if placed.scope is Scope.STRATEGY else ""
    if placed.scope is Scope.INTENT:
        record = await parts.store.intent(UUID(placed.target))
        owner = record.intent.strategy_id if record else ""
    if not principal.covers(owner):
        raise Problem("out_of_scope", "the halt is not of the token's strategies alone")


def _require_own(limit: Limit, principal: Principal) -> None:
    """Raise a Problem for a limit on what the token does not cover."""
    if principal.strategies is not None and limit.subject.strategy_id not in principal.strategies:
        raise Problem("out_of_scope", f"limit {limit.id} is not of the token's strategies alone")


def _limit(body: LimitBody, parts: Parts) -> Limit:
    kind, measure, listed = kinds_of(body)
    if body.chain_id is not None:
        parts.book.require_chain(body.chain_id)
    asset = _asset(body.asset, body.chain_id, "asset", parts) if body.asset is not None else None
    subject = Subject(
        strategy_id=body.strategy_id,
        chain_id=ChainId(body.chain_id) if body.chain_id is not None else None,
        asset=asset,
        contract=body.contract.lower() if body.contract is not None else None,
        selector=body.selector.lower() if body.selector is not None else None,
    )
    members = [each.lower() for each in body.members]
    if listed is Listed.ASSETS:
        members = [str(_asset(each, body.chain_id, "members", parts)) for each in body.members]
    return Limit(
        id=body.id,
        kind=kind,
        measure=measure,
        subject=subject,
        amount=body.amount,
        window_ms=body.window_ms,
        listed=listed,
        members=frozenset(members),
    )


def _asset(text: str, chain_id: int | None, field: str, parts: Parts) -> Asset:
    return parts.book.find(text, chain_id, field, coin=True).asset


def _desk(parts: Parts) -> RiskDesk:
    return RiskDesk(parts.store, parts.clock)
