"""Routes that show money on its way between chains."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from sep_ray.journal.records import Append, Commit, TransferFilter, VersionConflict
from sep_ray.settlement.transfer import (
    OperatorReleased,
    Proof,
    Transfer,
    TransferStatus,
    evolve,
)
from serve_app.answers import EventAnswer
from serve_app.asking import Asked, Caller, body_of, id_of
from serve_app.assets import AssetBook
from serve_app.explain import Teller
from serve_app.intents import MAX_PAGE
from serve_app.present import amount, choice_answer
from serve_app.problems import Problem
from serve_app.respond import json_response
from serve_app.schemas import ReleaseBody
from serve_app.scope import require_known, within_scope
from serve_app.transfer_answers import (
    ProofAnswer,
    TransferAnswer,
    TransfersAnswer,
)
from serve_app.wire import event_facts

TRIES: Final = 3
"""Times that a write is tried while the settlement writes there too."""


async def list_transfers(
    parts: Asked,
    principal: Caller,
    strategy_id: Annotated[str | None, Query(max_length=64)] = None,
    bridge: Annotated[str | None, Query(max_length=64)] = None,
    chain_id: Annotated[int | None, Query(ge=1)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Transfers between chains, newest first; `chain_id` is either end."""
    if chain_id is not None:
        parts.book.require_chain(chain_id)
    wanted = TransferFilter(
        strategy_id=within_scope(principal, strategy_id), bridge=bridge, chain_id=chain_id
    )
    query = f"transfers?{wanted}"
    before = parts.cursors.read(cursor, query) if cursor else None
    found = await parts.store.page_of_transfers(wanted, before, limit + 1)
    if not found:
        await require_known(parts.store, principal, strategy_id)
    more, shown = len(found) > limit, found[:limit]
    last = parts.cursors.write(shown[-1].id, query) if more else None
    answers = [transfer_answer(each, parts.book) for each in shown]
    return json_response(TransfersAnswer(transfers=answers, next=last))


async def show_transfer(transfer_id: str, parts: Asked, principal: Caller) -> Response:
    """One transfer with its timeline, from the journal."""
    name = id_of(transfer_id, "transfer")
    transfer = await parts.store.transfer(name)
    if transfer is None or not principal.covers(transfer.strategy_id):
        raise Problem("not_found", f"no transfer {name}")
    teller = Teller(parts.book)
    rows = await parts.store.stream(transfer.stream_id)
    timeline = [EventAnswer(**event_facts(row, teller)) for row in rows]
    return json_response(transfer_answer(transfer, parts.book, timeline))


async def release_transfer(
    request: Request, transfer_id: str, parts: Asked, principal: Caller
) -> Response:
    """Let the platform go on with a transfer that waits for a person, and say why."""
    body = await body_of(request, ReleaseBody)
    name = id_of(transfer_id, "transfer")
    for _ in range(TRIES):
        transfer = await parts.store.transfer(name)
        if transfer is None or not principal.covers(transfer.strategy_id):
            raise Problem("not_found", f"no transfer {name}")
        if transfer.status is not TransferStatus.NEEDS_OPERATOR:
            raise Problem("not_allowed_now", f"the transfer is {transfer.status.value}")
        event = OperatorReleased(principal=principal.name, detail=body.why)
        now = parts.clock.now()
        after = evolve(transfer, event, now)
        append = Append(
            stream_id=transfer.stream_id,
            expected_version=transfer.version,
            events=(event,),
            correlation_id=transfer.intent_id,
            causation_id=transfer.id,
        )
        try:
            await parts.store.commit(Commit(at=now, appends=(append,), states=(after,)))
        except VersionConflict:
            continue
        return json_response(transfer_answer(after, parts.book))
    raise Problem("unavailable", "the transfer keeps moving", headers={"Retry-After": "1"})


def transfer_answer(
    transfer: Transfer, book: AssetBook, timeline: list[EventAnswer] | None = None
) -> TransferAnswer:
    """Return a transfer as clients read it."""
    came = transfer.arrived_asset or transfer.target
    return TransferAnswer(
        id=str(transfer.id),
        intent_id=str(transfer.intent_id),
        step_id=str(transfer.step_id),
        strategy_id=transfer.strategy_id,
        bridge=transfer.bridge,
        mode=transfer.mode,
        state=transfer.status.value,
        waiting=transfer.waiting.value if transfer.waiting else None,
        detail=transfer.detail,
        from_chain=transfer.source.chain_id,
        to_chain=transfer.target.chain_id,
        offered=amount(book, transfer.source, transfer.units),
        expected=amount(book, transfer.target, transfer.quoted_out),
        least=amount(book, transfer.target, transfer.least_out),
        departed=amount(book, transfer.source, transfer.departed),
        arrived=amount(book, came, transfer.arrived) if transfer.arrival else None,
        refunded=amount(book, transfer.source, transfer.refunded) if transfer.refund else None,
        refund_due=transfer.refund_due,
        fee_wei=str(transfer.fee_wei),
        reference=transfer.reference,
        planned_at=transfer.planned_at,
        departed_at=transfer.departed_at,
        arrived_at=transfer.arrived_at,
        late_after=transfer.late_after,
        expires_at=transfer.expires_at,
        updated_at=transfer.updated_at,
        claims=transfer.claims,
        departure=_proof(transfer.departure),
        arrival=_proof(transfer.arrival),
        refund=_proof(transfer.refund),
        choice=choice_answer(transfer.choice, book, transfer.target),
        timeline=timeline,
    )


def _proof(proof: Proof | None) -> ProofAnswer | None:
    if proof is None:
        return None
    return ProofAnswer(
        chain_id=proof.chain_id,
        block_number=proof.block_number,
        block_hash=proof.block_hash,
        tx_hash=proof.tx_hash,
        log_index=proof.log_index,
    )
