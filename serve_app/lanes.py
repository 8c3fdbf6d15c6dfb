"""Routes of the operator: accounts that trade, and transactions whose fate a person must decide."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from sep_ray.engine.operating import breaches, resolve_attempt, resume_lane
from sep_ray.engine.rules import MAX_TRIES
from sep_ray.execution.attempt import Attempt, AttemptResolved, AttemptStatus, AttemptWatched
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import NATIVE, Asset, ChainId
from sep_ray.portfolio.events import LaneResumed, LedgerBreached
from serve_app.answers import AmountAnswer, EventAnswer
from serve_app.asking import Asked, Caller, body_of, id_of
from serve_app.auth import Principal
from serve_app.explain import Teller
from serve_app.lane_models import (
    AttemptAnswer,
    AttemptsAnswer,
    AttemptStoryAnswer,
    BreachAnswer,
    LaneAnswer,
    LanesAnswer,
    ResolveBody,
    ResumeAnswer,
    ResumeBody,
)
from serve_app.parts import Parts
from serve_app.present import amount
from serve_app.problems import Problem
from serve_app.respond import json_response
from serve_app.wire import event_facts


async def list_lanes(parts: Asked, principal: Caller) -> Response:
    """Every account that trades: whether it may begin new work, and what does not add up."""
    _whole_platform(principal)
    found, unread = await _lanes(parts)
    rows = await asyncio.gather(
        *(parts.store.stream(f"account/{chain_id}/{lane['account']}") for chain_id, lane in found)
    )
    shown = [
        LaneAnswer(
            chain_id=chain_id,
            account=str(lane["account"]),
            state=str(lane["state"]),
            in_flight=int(lane["in_flight"]),
            next_nonce=int(lane["next_nonce"]),
            epoch=lane["epoch"],
            coin=_coin(parts, chain_id, lane["coin_wei"]),
            refuelling=_coin(parts, chain_id, lane["refuel_wei"] or None),
            short=bool(lane["short"]),
            breaches=[_breach(parts, each) for each in breaches(stream).values()],
        )
        for (chain_id, lane), stream in zip(found, rows, strict=True)
    ]
    return json_response(LanesAnswer(lanes=shown, unread=unread))


async def resume(
    request: Request, chain_id: str, account: str, parts: Asked, principal: Caller
) -> Response:
    """Let a breached account go on with what the chain said it held; the books are corrected."""
    _whole_platform(principal)
    body = await body_of(request, ResumeBody)
    parts.book.named_chain(chain_id, "chain_id")
    decision = LaneResumed(principal=principal.name, note=body.note, strategy_id=body.strategy_id)
    changed = await resume_lane(
        parts.store, parts.clock, ChainId(int(chain_id)), account.lower(), decision
    )
    corrections = [amount(parts.book, asset, units) for asset, units in sorted(changed.items())]
    return json_response(
        ResumeAnswer(chain_id=int(chain_id), account=account.lower(), corrections=corrections)
    )


async def list_attempts(
    parts: Asked,
    principal: Caller,
    state: Annotated[AttemptStatus | None, Query()] = None,
) -> Response:
    """Transactions that are not final yet, by account and nonce."""
    _whole_platform(principal)
    found, unread = await _lanes(parts)
    live = await asyncio.gather(
        *(parts.store.live_attempts(chain_id, str(lane["account"])) for chain_id, lane in found)
    )
    shown = [
        _attempt(attempt)
        for attempts in live
        for attempt in attempts
        if state is None or attempt.status is state
    ]
    return json_response(AttemptsAnswer(attempts=shown, unread=unread))


async def show_attempt(attempt_id: str, parts: Asked, principal: Caller) -> Response:
    """One transaction with everything that happened to it."""
    _whole_platform(principal)
    attempt = await parts.store.attempt(id_of(attempt_id, "attempt"))
    if attempt is None:
        raise Problem("not_found", f"no attempt {attempt_id[:80]}")
    teller = Teller(parts.book)
    rows = await parts.store.stream(attempt.stream_id)
    events = [EventAnswer(**event_facts(row, teller)) for row in rows]
    return json_response(AttemptStoryAnswer(attempt=_attempt(attempt), events=events))


async def resolve(request: Request, attempt_id: str, parts: Asked, principal: Caller) -> Response:
    """Decide about a transaction that waits for a person: it never landed, or look once more."""
    _whole_platform(principal)
    body = await body_of(request, ResolveBody)
    decision: AttemptResolved | AttemptWatched
    if body.decision == "never_landed":
        decision = AttemptResolved(principal=principal.name, detail=body.note)
    else:
        decision = AttemptWatched(principal=principal.name, detail=body.note)
    name = id_of(attempt_id, "attempt")
    if await parts.store.attempt(name) is None:
        raise Problem("not_found", f"no attempt {name}")
    after = await resolve_attempt(parts.store, parts.clock, name, decision, MAX_TRIES)
    return json_response(_attempt(after))


def _whole_platform(principal: Principal) -> None:
    """Accounts serve all strategies: a token for some of them sees none."""
    if principal.strategies is not None:
        raise Problem("out_of_scope", "accounts and their transactions serve all strategies")


async def _lanes(parts: Parts) -> tuple[Sequence[tuple[ChainId, Mapping[str, Any]]], list[str]]:
    found: list[tuple[ChainId, Mapping[str, Any]]] = []
    unread = []
    for chain_id in map(ChainId, parts.book.chains):
        try:
            found += [(chain_id, lane) for lane in await parts.lanes(chain_id)]
        except Transient as error:
            unread.append(f"{chain_id}: {error.message}")
    return found, unread


def _coin(parts: Parts, chain_id: ChainId, wei: int | None) -> AmountAnswer | None:
    return None if wei is None else amount(parts.book, Asset(chain_id, NATIVE), wei)


def _breach(parts: Parts, event: LedgerBreached) -> BreachAnswer:
    return BreachAnswer(
        booked=amount(parts.book, event.asset, event.ledger_units),
        held=amount(parts.book, event.asset, event.chain_units),
        block_number=event.block_number,
        block_hash=event.block_hash,
        detail=event.detail,
    )


def _attempt(attempt: Attempt) -> AttemptAnswer:
    landed = attempt.inclusion
    return AttemptAnswer(
        id=str(attempt.id),
        chain_id=attempt.chain_id,
        account=attempt.account,
        nonce=attempt.nonce,
        purpose=attempt.purpose.value,
        state=attempt.status.value,
        step_id=str(attempt.step_id) if attempt.step_id else None,
        tx_hashes=[version.tx_hash for version in attempt.signed],
        block_number=landed.block_number if landed else None,
        deadline=attempt.deadline,
        detail=attempt.detail,
    )
