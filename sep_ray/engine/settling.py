"""What the chain says about transactions in flight: receipts, reorganisations, finality.

Only evidence moves a transaction (P6): a receipt in a canonical block, a header that is not the
one we knew, a nonce that somebody else used. Blocks above the head being worked on are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

import structlog

from sep_ray.decomposition.step import Step
from sep_ray.engine.booking import Booking, Writer
from sep_ray.engine.canonical import standing
from sep_ray.engine.crossing import confirmed
from sep_ray.engine.finality import Tag
from sep_ray.engine.lane import PENDING, Lane
from sep_ray.engine.reconciling import (
    Fate,
    Foreign,
    Reconciler,
    Unknown,
    Waits,
    fate,
    undecidable,
)
from sep_ray.engine.rules import ChainRules, Meter
from sep_ray.engine.writing import write, write_all
from sep_ray.execution.attempt import Attempt, AttemptStatus, Purpose
from sep_ray.execution.ports import (
    Accounts,
    Chain,
    Evidence,
    Finality,
    Head,
    Outgoing,
    Receipt,
    Settled,
)
from sep_ray.journal.ports import Intents, Journal
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import SepError
from sep_ray.kernel.points import Point, reached
from sep_ray.kernel.units import Asset
from sep_ray.settlement.transfer import Transfer, TransferStatus

log = structlog.get_logger()

_TOLD: Final[Mapping[AttemptStatus, str]] = {
    AttemptStatus.INCLUDED: "attempt_included",
    AttemptStatus.REVERTED: "attempt_reverted",
    AttemptStatus.FINAL: "attempt_final",
    AttemptStatus.FINAL_REVERTED: "attempt_final",
    AttemptStatus.CANCELLED: "attempt_cancelled",
    AttemptStatus.DROPPED: "attempt_dropped",
    AttemptStatus.NEEDS_OPERATOR: "attempt_needs_operator",
}
REASONS_AT_ONCE: Final = 8
"""Reverts of one block that are asked about; traces are dear."""


Worth = Callable[[Asset, int], int | None]
"""Units of account that units of an asset are worth now; None when nobody can tell."""


class SettlingStore(Journal, Intents, Protocol):
    """What settling reads and writes."""


def _unknown(asset: Asset, units: int) -> int | None:
    return None


class Settler:
    """Books what became of a lane's transactions, head by head."""

    def __init__(
        self,
        chain: Chain,
        accounts: Accounts,
        journal: SettlingStore,
        clock: Clock,
        rules: ChainRules,
        meter: Meter,
        finality: Finality | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        """`finality` is the chain's own word, where it has one. Without `evidence`, a nonce that is
        used without a receipt of ours for as long as facts take to be final went to another."""
        self._reconciler = Reconciler(evidence) if evidence is not None else None
        self._finality = finality
        self.worth: Worth = _unknown
        self._chain = chain
        self._accounts = accounts
        self._journal = journal
        self._clock = clock
        self._rules = rules
        self._meter = meter

    async def settle(self, lane: Lane, head: Head) -> bool:
        """Book everything up to a head; `lane.mined_nonce` must stand as of that head.

        Return whether all transactions mined so far are booked, or it is known to the line what
        of them the ledger cannot take yet: only then can ledger and chain be compared.
        """
        lane.unbooked.clear()
        gone = await self._gone(lane, head)
        waiting = [*lane.pending(), *lane.undecided()]
        mined = [a for a in waiting if a.nonce < lane.mined_nonce]
        receipts = await self._receipts([*gone, *mined], head)
        users = await self._users(lane, mined, receipts, head)
        reasons = await self._reasons([*gone, *mined], receipts)
        reached(Point.RECEIPTS_READ)
        whole = await self._withdraw(lane, gone, receipts, reasons)
        whole &= await self._book(lane, mined, receipts, reasons)
        whole &= await self._give_up(lane, mined, receipts, users, head)
        if lane.stale:  # what stands in the journal is not sure, so nothing of it is final
            return False
        whole &= await self._finalize(lane, head)
        lane.note_head(head)
        return whole

    async def _gone(self, lane: Lane, head: Head) -> list[Attempt]:
        """Return landed attempts whose block is not part of the chain (P7), newest first.

        A head that follows the last one proves that nothing before it changed. A lane that was read
        anew from the journal knows no last one, but still what it had looked at.
        """
        landed = lane.landed()
        follows = lane.seen is not None and _follows(lane.seen, head)
        forked = bool(lane.trail) and not follows and await self._forked(lane, head)
        if lane.seen is not None and not forked:
            return [a for a in reversed(landed) if a.id in lane.unsettled]
        if not landed:
            return []
        known = {(a.inclusion.block_number, a.inclusion.block_hash) for a in landed if a.inclusion}
        stands = await standing(self._chain, known, head.number)
        return [
            a
            for a in reversed(landed)
            if a.inclusion and (a.inclusion.block_number, a.inclusion.block_hash) not in stands
        ]

    async def _forked(self, lane: Lane, head: Head) -> bool:
        """Whether a block looked at before has left the chain; notes how deep that goes at least.

        Heads that were merely missed change nothing, and nobody knows whether they went too.
        """
        newest = max(lane.trail)
        if await standing(self._chain, [(newest, lane.trail[newest])], head.number):
            return False
        stands = [
            number for number, _ in await standing(self._chain, lane.trail.items(), head.number)
        ]
        gone = [number for number in lane.trail if number > max(stands, default=-1)]
        depth = newest - min(gone, default=newest + 1) + 1
        log.warning("chain_reorganised", chain_id=lane.chain_id, depth=depth, was=newest)
        if depth > self._rules.finality.last:
            words = f"at least {depth} blocks" if not stands else f"{depth} blocks"
            lane.torn = (
                f"the chain went back {words} from block {newest} {lane.trail.get(newest)}; "
                f"{self._rules.finality.last} are followed"
            )
        lane.trail = {n: known for n, known in lane.trail.items() if n not in gone}
        return True

    async def _receipts(self, attempts: Sequence[Attempt], head: Head) -> dict[str, Receipt]:
        """Return the receipts of any version of these, by transaction, in blocks up to the head."""
        hashes = [signed.tx_hash for attempt in attempts for signed in attempt.signed]
        if not hashes:
            return {}
        found = await self._chain.receipts(hashes)
        return {r.tx_hash: r for r in found if r is not None and r.block_number <= head.number}

    async def _reasons(
        self, attempts: Sequence[Attempt], receipts: dict[str, Receipt]
    ) -> dict[str, str]:
        """Ask why transactions failed; a reason nobody gives is no reason to stop."""
        reasons: dict[str, str] = {}
        for attempt in attempts:
            receipt = _receipt_of(attempt, receipts)
            if receipt is None or receipt.succeeded or len(reasons) >= REASONS_AT_ONCE:
                continue
            try:
                reasons[receipt.tx_hash] = await self._accounts.revert_reason(receipt.tx_hash)
            except SepError as error:
                log.warning("revert_reason_unknown", tx_hash=receipt.tx_hash, why=str(error))
        return reasons

    async def _withdraw(
        self,
        lane: Lane,
        gone: Sequence[Attempt],
        receipts: dict[str, Receipt],
        reasons: dict[str, str],
    ) -> bool:
        """Withdraw what stood in blocks that are gone; book anew what stands elsewhere.

        Newest first: what a later transaction spent comes back before its source goes.
        """
        whole = True
        for attempt in gone:
            receipt = _receipt_of(attempt, receipts)
            writer, step = self._writer(lane), lane.step_of(attempt)
            if receipt is None:
                booking = writer.unlanded(attempt, step)
            else:
                booking = writer.moved(attempt, step, receipt, reasons.get(receipt.tx_hash, ""))
            if step is not None and attempt.inclusion is not None:
                intent = await self._journal.intent(step.intent_id)
                booking = writer.reopened(booking, intent, attempt.inclusion.block_hash)
            if attempt.id not in lane.unsettled:
                log.warning("attempt_reorganised", **names_of(attempt), again=receipt is not None)
                self._meter.count("attempts_reorganised", self._labels())
            durable = await write(self._journal, lane, booking)
            whole &= durable or attempt.id in lane.unbooked
        return whole

    async def _book(
        self,
        lane: Lane,
        mined: Sequence[Attempt],
        receipts: dict[str, Receipt],
        reasons: dict[str, str],
    ) -> bool:
        writer, bookings = self._writer(lane), []
        for attempt in mined:
            receipt = _receipt_of(attempt, receipts)
            if receipt is not None:
                reason = reasons.get(receipt.tx_hash, "")
                bookings.append(writer.landed(attempt, lane.step_of(attempt), receipt, reason))
        return await self._write_all(lane, bookings)

    async def _users(
        self, lane: Lane, mined: Sequence[Attempt], receipts: dict[str, Receipt], head: Head
    ) -> Mapping[int, Outgoing]:
        """Ask what used the nonces of attempts without a receipt; one of ours is one after all."""
        missing = [a for a in mined if _receipt_of(a, receipts) is None]
        if not missing or self._reconciler is None:
            return {}
        users = await self._reconciler.users(lane, missing, head)
        for attempt in missing:
            user = users.get(attempt.nonce)
            if user is not None and attempt.version_of(user.receipt.tx_hash) is not None:
                receipts[user.receipt.tx_hash] = user.receipt
        return users

    async def _give_up(
        self,
        lane: Lane,
        mined: Sequence[Attempt],
        receipts: dict[str, Receipt],
        users: Mapping[int, Outgoing],
        head: Head,
    ) -> bool:
        """Drop attempts whose nonce another transaction used, once that is final; where the chain
        does not say what used it, ask a person.

        Until then they count as unknown, and the ledger cannot be compared.
        """
        writer, bookings, waiting = self._writer(lane), [], False
        lane.forget_missing_but(attempt.id for attempt in mined)
        for attempt in mined:
            if _receipt_of(attempt, receipts) is not None:
                lane.missing.pop(attempt.id, None)
                continue
            since = lane.missing.setdefault(attempt.id, head.number)
            found = self._fate(attempt, users.get(attempt.nonce), since, head)
            step, tries = lane.step_of(attempt), self._rules.max_tries
            if isinstance(found, Foreign):
                bookings.append(writer.dropped(attempt, step, found.detail, tries))
            elif isinstance(found, Unknown) and undecidable(attempt, found):
                log.error("attempt_undecided", **names_of(attempt), why=found.detail)
                bookings.append(writer.undecided(attempt, step, found.detail))
            waiting |= attempt.status in PENDING and isinstance(found, Waits)
        return await self._write_all(lane, bookings) and not waiting

    def _fate(self, attempt: Attempt, user: Outgoing | None, since: int, head: Head) -> Fate:
        last = max(self._rules.finality.last, 1)
        if self._reconciler is not None:
            return fate(attempt, user, since, head, last)
        if head.number - since < last:
            return Waits()
        return Foreign(f"nonce {attempt.nonce} was used by another transaction, seen at {since}")

    async def _finalize(self, lane: Lane, head: Head) -> bool:
        writer, rule, bookings = self._writer(lane), self._rules.finality, []
        landed = [a for a in lane.landed() if a.id not in lane.unsettled]
        settled = await self._word(landed, head)
        undecided = _first_undecided(lane)
        for attempt in landed:
            step, tries = lane.step_of(attempt), self._rules.max_tries
            block = attempt.inclusion.block_number if attempt.inclusion else head.number
            value = self._value(attempt, step)
            if attempt.purpose is Purpose.SWAP and _in_doubt(attempt, undecided):
                continue
            if rule.ends(block, head, settled, value):
                bookings.append(writer.finalized(attempt, step, head.number, tries))
            elif _unconfirmed(attempt, step) and rule.confirms(block, head, settled, value):
                bookings.append(writer.confirmed(attempt, step, head.number))
            elif (gone := _departed(lane, attempt)) and rule.confirms(block, head, settled, value):
                bookings.append(confirmed(writer, attempt, step, gone, head.number))
        return await self._write_all(lane, bookings)

    async def _word(self, landed: Sequence[Attempt], head: Head) -> Settled | None:
        """Ask the chain what it calls final, where that is asked for and could matter."""
        rule, asked = self._rules.finality, self._finality
        deep = any(
            head.number - a.inclusion.block_number >= rule.depth(0)
            for a in landed
            if a.inclusion is not None
        )
        if rule.tag is Tag.NONE or asked is None or not deep:
            return None
        return await asked.settled()

    def _value(self, attempt: Attempt, step: Step | None) -> int | None:
        """Return what a fact is worth in units of account; what moves no money is worth nothing."""
        if self._rules.finality.value_step is None or step is None:
            return 0
        if attempt.status is not AttemptStatus.INCLUDED or attempt.inclusion is None:
            return 0
        if attempt.purpose is Purpose.DEPARTURE:
            return self.worth(step.sell, attempt.inclusion.left)
        if attempt.purpose is not Purpose.SWAP:
            return 0
        return self.worth(step.sell, step.sold)

    async def _write_all(self, lane: Lane, bookings: Sequence[Booking]) -> bool:
        written = await write_all(self._journal, lane, bookings)
        for booking, durable in zip(bookings, written, strict=True):
            if durable:
                self._tell(booking)
        return all(
            durable or booking.attempt.id in lane.unbooked
            for booking, durable in zip(bookings, written, strict=True)
        )

    def _writer(self, lane: Lane) -> Writer:
        return Writer(at=self._clock.now(), fence=lane.fence, correlation=lane.correlation)

    def _tell(self, booking: Booking) -> None:
        attempt, step = booking.attempt, booking.step
        if not any(a.stream_id == attempt.stream_id for a in booking.commit.appends):
            log.info("fill_confirmed", **names_of(attempt))
            return
        log.info(_TOLD[attempt.status], **names_of(attempt), detail=attempt.detail)
        labels = {**self._labels(), "purpose": attempt.purpose.value}
        self._meter.count(f"attempts_{attempt.status.value.lower()}", labels)
        if attempt.status is AttemptStatus.INCLUDED and attempt.inclusion is not None:
            self._meter.observe("gas_used", labels, attempt.inclusion.gas_used)
            if step is not None and attempt.purpose is Purpose.SWAP:
                log.info(
                    "step_filled",
                    step_id=str(step.id),
                    intent_id=str(step.intent_id),
                    sold=step.sold,
                    bought=step.bought,
                    quoted=step.quoted,
                    block_number=attempt.inclusion.block_number,
                )

    def _labels(self) -> dict[str, str]:
        return {"chain_id": str(self._rules.chain_id)}


def _departed(lane: Lane, attempt: Attempt) -> Transfer | None:
    """Return the transfer whose departure this is, while that is not confirmed."""
    found = lane.transfers.get(attempt.id)
    included = found is not None and found.status is TransferStatus.DEPARTURE_INCLUDED
    return found if included else None


def _in_doubt(attempt: Attempt, undecided: Mapping[UUID, int]) -> bool:
    """Whether an earlier try of the same step may still land: then this one says nothing (P3)."""
    first = undecided.get(attempt.step_id) if attempt.step_id is not None else None
    return first is not None and first < attempt.nonce


def _first_undecided(lane: Lane) -> dict[UUID, int]:
    """Return, by step, the first nonce of its swaps that is in no block."""
    found: dict[UUID, int] = {}
    for each in lane.attempts.values():
        if each.purpose is Purpose.SWAP and each.inclusion is None and each.step_id is not None:
            found[each.step_id] = min(each.nonce, found.get(each.step_id, each.nonce))
    return found


def _unconfirmed(attempt: Attempt, step: Step | None) -> bool:
    """Whether it filled its step, and nothing rests on that yet."""
    swap = attempt.status is AttemptStatus.INCLUDED and attempt.purpose is Purpose.SWAP
    return swap and step is not None and not step.final


def names_of(attempt: Attempt) -> dict[str, object]:
    """Return what a log line about an attempt names."""
    return {
        "attempt_id": str(attempt.id),
        "chain_id": attempt.chain_id,
        "nonce": attempt.nonce,
        "purpose": attempt.purpose.value,
        "tx_hash": attempt.newest.tx_hash,
    }


def _receipt_of(attempt: Attempt, receipts: Mapping[str, Receipt]) -> Receipt | None:
    found = (receipts.get(signed.tx_hash) for signed in attempt.signed)
    return next((receipt for receipt in found if receipt is not None), None)


def _follows(before: Head, head: Head) -> bool:
    """Whether nothing up to `before` can have changed."""
    return head.hash == before.hash or head.parent_hash == before.hash
