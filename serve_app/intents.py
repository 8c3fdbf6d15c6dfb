"""Routes that read and cancel intents, and that explain them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Annotated, Final
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from sep_ray.decomposition.step import Step
from sep_ray.engine.publishing import summed
from sep_ray.execution.attempt import Attempt
from sep_ray.intent.intent import IntentType
from sep_ray.intent.states import TERMINAL, IntentRecord, Status
from sep_ray.journal.board import Summary
from sep_ray.journal.records import IntentFilter
from sep_ray.kernel.errors import Transient
from sep_ray.policy.halts import Sending, covers
from serve_app.answers import (
    CancelAnswer,
    EventAnswer,
    IntentAnswer,
    OpenAnswer,
    PageAnswer,
    SummaryAnswer,
    WhyAnswer,
)
from serve_app.asking import Asked, Caller, id_of
from serve_app.auth import Principal
from serve_app.commands import cancel
from serve_app.explain import Teller, halt_in_words, wanted
from serve_app.parts import Parts
from serve_app.present import intent_answer
from serve_app.problems import Problem
from serve_app.respond import json_response
from serve_app.scope import require_known, within_scope
from serve_app.wire import event_facts

MAX_PAGE: Final = 200
_TX_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}")


async def show_intent(intent_id: str, parts: Asked, principal: Caller) -> Response:
    """One intent with its steps and their transactions."""
    record = await _visible(parts, principal, id_of(intent_id, "intent"))
    (answer,) = await _answers(parts, [record], with_steps=True)
    return json_response(answer)


async def summary(parts: Asked, principal: Caller) -> Response:
    """How many intents are open, by strategy, chain, type and state; says how old that is."""
    found = await _summary(parts)
    counts = [
        OpenAnswer(
            strategy_id=group.strategy_id,
            chain_id=group.chain_id,
            type=IntentType(group.type),
            state=status,
            count=count,
        )
        for (group, status), count in found.counts.items()
        if principal.covers(group.strategy_id)
    ]
    counts.sort(key=lambda each: (each.strategy_id, each.chain_id, each.type, each.state))
    behind = max(0, await parts.store.newest() - found.as_of_seq)
    return json_response(SummaryAnswer(as_of_seq=found.as_of_seq, behind=behind, open=counts))


async def _summary(parts: Parts) -> Summary:
    """Read the board; count in the database where there is none, or it does not answer."""
    try:
        found = await parts.board.summary() if parts.board else None
    except Transient:
        found = None
    return found or await summed(parts.store)


async def list_intents(
    parts: Asked,
    principal: Caller,
    strategy_id: Annotated[str | None, Query(max_length=64)] = None,
    state: Annotated[Status | None, Query()] = None,
    type: Annotated[IntentType | None, Query()] = None,
    chain_id: Annotated[int | None, Query(ge=1)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Intents, newest first. A cursor belongs to the filters it was given for."""
    if chain_id is not None:
        parts.book.require_chain(chain_id)
    found = IntentFilter(
        strategy_id=within_scope(principal, strategy_id),
        status=state.value if state else None,
        type=type.value if type else None,
        chain_id=chain_id,
    )
    query = f"intents?{found}"
    before = parts.cursors.read(cursor, query) if cursor else None
    records = await parts.store.page_of_intents(found, before, limit + 1)
    if not records:
        await require_known(parts.store, principal, strategy_id)
    more, shown = len(records) > limit, records[:limit]
    last = parts.cursors.write(shown[-1].intent.id, query) if more else None
    answers = await _answers(parts, shown, with_steps=False)
    return json_response(PageAnswer(intents=answers, next=last))


async def cancel_intent(intent_id: str, parts: Asked, principal: Caller) -> Response:
    """Stop an intent: nothing more begins, what is in flight is settled, then it ends.

    202 when it was asked to stop (asking twice is the same), 409 when it has ended.
    """
    record = await _visible(parts, principal, id_of(intent_id, "intent"))
    after = await cancel(parts.store, parts.clock, record, principal.name)
    parts.hints.add([after.intent.id])
    href = f"/v1/intents/{after.intent.id}"
    answer = CancelAnswer(id=str(after.intent.id), state=after.status.value, href=href)
    return json_response(answer, 202, location=href)


async def why_intent(intent_id: str, parts: Asked, principal: Caller) -> Response:
    """Everything an intent led to, in order and in plain words, from the journal alone."""
    return json_response(await _story(parts, principal, id_of(intent_id, "intent")))


async def why(reference: str, parts: Asked, principal: Caller) -> Response:
    """The same, by a transaction's hash or any id: an intent's, step's, attempt's, transfer's."""
    if _TX_HASH.fullmatch(reference):
        attempt = await parts.store.attempt_by_hash(reference.lower())
        if attempt is None:
            raise Problem("not_found", "no transaction of ours has this hash")
        return json_response(await _story(parts, principal, await _cause(parts, attempt)))
    name = id_of(reference, "intent, step, attempt, transfer or transaction")
    if step := await parts.store.step(name):
        name = step.intent_id
    elif found := await parts.store.attempt(name):
        name = await _cause(parts, found)
    elif transfer := await parts.store.transfer(name):
        name = transfer.intent_id
    return json_response(await _story(parts, principal, name))


async def _story(parts: Parts, principal: Principal, intent_id: UUID) -> WhyAnswer:
    record = await _visible(parts, principal, intent_id)
    teller = Teller(parts.book)
    rows = await parts.store.related(intent_id)
    return WhyAnswer(
        id=str(intent_id),
        wanted=wanted(record.intent, parts.book),
        state=record.status.value,
        reason=record.reason.value if record.reason else None,
        events=[EventAnswer(**event_facts(row, teller)) for row in rows],
        halted=await _halted(parts, record),
    )


async def _halted(parts: Parts, record: IntentRecord) -> list[str]:
    """Say which halts cover an intent that has not ended."""
    if record.status in TERMINAL:
        return []
    intent = record.intent
    steps = await parts.store.steps_of([intent.id])
    chains = {intent.chain_id, *(step.chain_id for step in steps)}
    sent = [
        Sending(chain_id=chain_id, strategy_id=intent.strategy_id, intent_id=intent.id)
        for chain_id in sorted(chains)
    ]
    standing = await parts.store.active_halts()
    found = [halt for halt in standing if any(covers(halt, each) for each in sent)]
    return [f"{halt.principal} {halt_in_words(halt)}" for halt in found]


async def _cause(parts: Parts, attempt: Attempt) -> UUID:
    rows = await parts.store.stream(attempt.stream_id)
    return rows[0].correlation_id


async def _visible(parts: Parts, principal: Principal, intent_id: UUID) -> IntentRecord:
    """Return an intent; one outside the token's scope is not there."""
    record = await parts.store.intent(intent_id)
    if record is None or not principal.covers(record.intent.strategy_id):
        raise Problem("not_found", f"no intent {intent_id}")
    return record


async def _answers(
    parts: Parts, records: list[IntentRecord] | tuple[IntentRecord, ...], *, with_steps: bool
) -> list[IntentAnswer]:
    steps: dict[UUID, list[Step]] = defaultdict(list)
    for step in await parts.store.steps_of([record.intent.id for record in records]):
        steps[step.intent_id].append(step)
    owner = {step.id: name for name, group in steps.items() for step in group}
    attempts: dict[UUID, list[Attempt]] = defaultdict(list)
    for attempt in await parts.store.attempts_of(list(owner)):
        if attempt.step_id is not None:
            attempts[owner[attempt.step_id]].append(attempt)
    return [
        intent_answer(
            record,
            parts.book,
            steps[record.intent.id],
            attempts[record.intent.id],
            with_steps=with_steps,
        )
        for record in records
    ]
