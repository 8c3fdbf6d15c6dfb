"""What a named person may decide where evidence runs out: journalled, with a reason each.

Nothing here rests on a lease: a person's word is checked against the streams' versions alone, and
the lane that works on them reads it at its next head. No balance is invented: a breach is resumed
with what the chain said it held, an undecided attempt can only be given up or looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from sep_ray.engine.audit import ACCEPTED
from sep_ray.engine.booking import Writer
from sep_ray.execution.attempt import Attempt, AttemptResolved, AttemptStatus, AttemptWatched
from sep_ray.journal.ports import Attempts, Journal, Steps
from sep_ray.journal.records import Append, Commit, Recorded
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.ids import derived_id
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.portfolio import ledger
from sep_ray.portfolio.events import FundsObserved, LaneResumed, LedgerBreached
from sep_ray.portfolio.ledger import Posting


class OperatingStore(Journal, Steps, Attempts, Protocol):
    """What decisions read and write."""


def breaches(rows: Sequence[Recorded]) -> dict[Asset, LedgerBreached]:
    """Return, by asset, what an account's stream says does not add up and nobody has resumed."""
    open_: dict[Asset, LedgerBreached] = {}
    for row in rows:
        match row.event:
            case LedgerBreached():
                open_[row.event.asset] = row.event
            case LaneResumed():
                open_.clear()
            case _:
                pass
    return open_


async def resume_lane(
    store: OperatingStore,
    clock: Clock,
    chain_id: ChainId,
    account: str,
    decision: LaneResumed,
) -> dict[Asset, int]:
    """Let a breached account go on; return the units by which the books were corrected.

    The strategy named has more, or less, by the difference that the breach found. Raises Rejected
    when nothing is breached, InsufficientBalance when the strategy cannot bear it, VersionConflict
    when somebody was first.
    """
    stream = f"account/{chain_id}/{account}"
    rows = await store.stream(stream)
    found = breaches(rows)
    if not found:
        raise Rejected("the account is not breached", chain_id=chain_id, account=account)
    events: list[FundsObserved | LaneResumed] = []
    lines: list[Posting] = []
    for asset, breach in sorted(found.items()):
        units = breach.chain_units - breach.ledger_units
        proof = f"{breach.block_hash}{ACCEPTED}{asset.address}"
        words = f"{proof} accepted by {decision.principal}: {decision.note}"
        events.append(
            FundsObserved(
                asset=asset,
                units=units,
                block_number=breach.block_number,
                block_hash=breach.block_hash,
                evidence=words,
            )
        )
        lines += ledger.fund(asset, units, proof, decision.strategy_id, account=account)
    append = Append(
        stream_id=stream,
        expected_version=len(rows),
        events=(*events, decision),
        correlation_id=derived_id("resumed", stream, len(rows)),
    )
    await store.commit(Commit(at=clock.now(), appends=(append,), postings=tuple(lines)))
    return {asset: b.chain_units - b.ledger_units for asset, b in found.items()}


async def resolve_attempt(
    store: OperatingStore,
    clock: Clock,
    attempt_id: UUID,
    decision: AttemptResolved | AttemptWatched,
    max_tries: int,
) -> Attempt:
    """Give an undecided attempt up, or have it looked for once more; return it afterwards.

    Given up, its step's reserve is free and the step may try again. Raises Rejected unless the
    attempt waits for a person, VersionConflict when somebody was first.
    """
    attempt = await store.attempt(attempt_id)
    if attempt is None or attempt.status is not AttemptStatus.NEEDS_OPERATOR:
        stands = attempt.status.value if attempt is not None else "unknown"
        raise Rejected("the attempt does not wait for a person", id=str(attempt_id), state=stands)
    step = await store.step(attempt.step_id) if attempt.step_id is not None else None
    correlation = derived_id("lane", attempt.chain_id, attempt.account)
    writer = Writer(at=clock.now(), fence=None, correlation=correlation)
    if isinstance(decision, AttemptResolved):
        booking = writer.resolved(attempt, step, decision, max_tries)
    else:
        booking = writer.watched(attempt, step, decision)
    await store.commit(booking.commit)
    return booking.attempt
