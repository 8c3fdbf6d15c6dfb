"""What must hold, whatever happens: checked at every write, every sending, every block and the end.

It keeps its own picture of the journal from the commits that took effect, so that what it says
does not rest on the code it judges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sep_ray.adapters.memory.chain import MemoryChain
from sep_ray.adapters.memory.store import MemoryStore
from sep_ray.decomposition.step import Step, StepStatus
from sep_ray.engine.lane import Lane
from sep_ray.execution.attempt import TERMINAL as SPENT
from sep_ray.execution.attempt import (
    Attempt,
    AttemptBumped,
    AttemptPrepared,
    AttemptStatus,
    Purpose,
    Signed,
)
from sep_ray.execution.fills import Fill, read_fill
from sep_ray.execution.ports import Receipt
from sep_ray.intent.intent import Intent, Side
from sep_ray.intent.states import TERMINAL as ENDED
from sep_ray.intent.states import IntentRecord, IntentReopened, Status
from sep_ray.journal.records import Commit, State
from sep_ray.kernel.units import Asset
from sep_ray.portfolio.events import LedgerBreached
from sep_ray.portfolio.ledger import Bucket
from sep_ray.simulation.market import CHAIN, COIN


@dataclass(frozen=True, slots=True)
class Effect:
    """A swap in a canonical block: of which step, and what it moved."""

    step: Step
    tx_hash: str
    fill: Fill


UNEXPECTED: Final = "an error nobody expected"
"""What the engine raised by mistake; a planted bug that only does this is planted wrongly."""


class Laws:
    """Judges one simulated day. `broken` holds what was found, the first first."""

    def __init__(self, store: MemoryStore, chain: MemoryChain, accounts: Collection[str]) -> None:
        self._store = store
        self._chain = chain
        self._accounts = tuple(accounts)
        self.broken: list[str] = []
        self.accepted: dict[UUID, Intent] = {}
        self.records: dict[UUID, IntentRecord] = {}
        self.steps: dict[UUID, Step] = {}
        self.attempts: dict[UUID, Attempt] = {}
        self._signed: dict[str, tuple[UUID, Signed]] = {}
        self._ends: Counter[UUID] = Counter()

    def say(self, law: str, what: object) -> None:
        """Note a breach."""
        self.broken.append(f"{law}: {what}")

    def signed_by(self, tx_hash: str) -> tuple[Attempt, Signed] | None:
        """Return the journalled attempt and version behind a transaction."""
        found = self._signed.get(tx_hash)
        return (self.attempts[found[0]], found[1]) if found is not None else None

    # As it happens

    def took(self, intents: Iterable[Intent]) -> None:
        """Note submissions that were answered with success (P1)."""
        self.accepted |= {intent.id: intent for intent in intents}

    def committed(self, commit: Commit) -> None:
        """Look at a commit that has just taken effect."""
        if commit.fence is not None and commit.fence not in self._store.fences():
            self.say("P5 a write by a stale epoch", commit.fence)
        for append in commit.appends:
            if append.stream_id.startswith("attempt/") and commit.fence is None:
                self.say("P5 a write about an attempt without a lease", append.stream_id)
            for event in append.events:
                self._read(append.stream_id, event)
        for state in commit.states:
            self._moved(state)
        self._check_sums({state.intent_id for state in commit.states if isinstance(state, Step)})

    def _read(self, stream_id: str, event: object) -> None:
        attempt_id = UUID(stream_id[8:]) if stream_id.startswith("attempt/") else None
        if isinstance(event, AttemptPrepared):
            for each in event.attempt.signed:
                self._signed[each.tx_hash] = event.attempt.id, each
        elif isinstance(event, AttemptBumped) and attempt_id is not None:
            self._signed[event.signed.tx_hash] = attempt_id, event.signed
        elif isinstance(event, IntentReopened):
            self._ends[UUID(stream_id[7:])] -= 1
        elif isinstance(event, LedgerBreached):
            self.say("P8 ledger and chain disagree", event)

    def _moved(self, state: State) -> None:
        if isinstance(state, Attempt):
            self.attempts[state.id] = state
        elif isinstance(state, Step):
            self.steps[state.id] = state
        elif isinstance(state, IntentRecord):
            self._check_end(state)
            self.records[state.intent.id] = state
            if state.status in ENDED:
                self._ends[state.intent.id] += 1
                if self._ends[state.intent.id] > 1:
                    self.say("P2 a second end", state.intent.id)

    def _check_end(self, record: IntentRecord) -> None:
        """An end that tells of fills rests on confirmed ones."""
        if record.status not in (Status.COMPLETED, Status.PARTIALLY_COMPLETED):
            return
        mine = [s for s in self.steps.values() if s.intent_id == record.intent.id]
        if any(step.status is StepStatus.DONE and not step.final for step in mine):
            self.say("P7 an end that rests on a fill that may go", record.intent.id)

    def _check_sums(self, intent_ids: Iterable[UUID]) -> None:
        """The slices of a trade add up to it at every moment."""
        for intent_id in intent_ids:
            record = self.records.get(intent_id)
            amount = record.intent.amount if record is not None else None
            parts = [s.amount for s in self.steps.values() if s.intent_id == intent_id]
            if amount is not None and sum(parts) != amount:
                self.say("slices do not add up", f"{intent_id}: {parts} of {amount}")

    def sending(self, name: str, lanes: Sequence[Lane], signed: Sequence[Signed]) -> None:
        """Look at bytes in the very moment in which a process hands them over."""
        for each in signed:
            found = self.signed_by(each.tx_hash)
            if found is None:
                self.say("P4 sent and not in the journal", f"{name} sends {each.tx_hash}")
                continue
            held = [lane.lease for lane in lanes if lane.account == found[0].account]
            fences = {lease.fence for lease in held if lease is not None}
            if not fences & self._store.fences():
                self.say("P5 sent by a stale epoch", f"{name} sends nonce {found[0].nonce}")

    def mined(self) -> None:
        """Look at the canonical chain: no step twice, no intent over its amount."""
        spent: Counter[UUID] = Counter()
        steps: Counter[UUID] = Counter()
        for effect in self.effects():
            steps[effect.step.id] += 1
            if steps[effect.step.id] > 1:
                self.say("P3 a step took effect twice", effect.step.id)
            selling = effect.step.side is Side.SELL
            spent[effect.step.intent_id] += effect.fill.sold if selling else effect.fill.bought
        for intent_id, units in spent.items():
            amount = self.records[intent_id].intent.amount
            if amount is not None and units > amount:
                self.say("P3 more than was asked for", f"{intent_id}: {units} of {amount}")

    def effects(self) -> Iterator[Effect]:
        """Go through the swaps of the canonical chain."""
        for receipt in self._receipts():
            found = self.signed_by(receipt.tx_hash)
            if found is None:
                self.say("P4 mined and not in the journal", receipt.tx_hash)
                continue
            attempt, version = found
            step = self.steps.get(attempt.step_id) if attempt.step_id is not None else None
            if attempt.purpose is Purpose.SWAP and receipt.succeeded and not version.cancel:
                if step is None:
                    self.say("P3 a swap for nobody", receipt.tx_hash)
                else:
                    pair = step.sell.address, step.buy.address
                    fill = read_fill(receipt, attempt.account, *pair)
                    yield Effect(step, receipt.tx_hash, fill)

    def _receipts(self) -> Iterator[Receipt]:
        for block in self._chain.blocks:
            yield from block.receipts

    # When all is quiet again

    async def unsettled(self) -> str | None:
        """Return what is still under way, or None."""
        for intent_id in self.accepted:
            record = self.records.get(intent_id)
            if record is None or record.status not in ENDED:
                return f"intent {intent_id} is {record.status if record else 'nowhere'}"
        for attempt in self.attempts.values():
            if attempt.status not in SPENT:
                return f"attempt {attempt.id} at nonce {attempt.nonce} is {attempt.status}"
        off = Counter(self._held())
        for account in self._accounts:
            booked = await self._store.account_units(CHAIN, account)
            off.subtract({(account, asset): units for asset, units in booked.items()})
        wrong = {f"{who} {what.address}": units for (who, what), units in off.items() if units}
        return f"chain less ledger: {wrong}" if wrong else None

    def _held(self) -> dict[tuple[str, Asset], int]:
        """Return what each account holds on the chain."""
        after = self._chain.newest.after
        held = {
            (owner, Asset(CHAIN, token)): units
            for (token, owner), units in after.owned.items()
            if owner in self._accounts
        }
        return held | {(owner, COIN): after.coins.get(owner, 0) for owner in self._accounts}

    async def judge(self) -> None:
        """Check everything that must hold once all is quiet."""
        effects = list(self.effects())
        self._judge_intents(effects)
        self._judge_attempts()
        self._judge_nonces()
        for line in await self._store.holdings():
            if line.bucket in (Bucket.RESERVED, Bucket.IN_FLIGHT) and line.units:
                self.say("P8 set aside for nobody", line)

    def _judge_intents(self, effects: Sequence[Effect]) -> None:
        filled = {effect.step.id: effect for effect in effects}
        for intent_id, record in self.records.items():
            if self._ends[intent_id] != 1 or record.reason is None:
                self.say("P2 not exactly one end with a reason", record)
            mine = [e.fill for e in effects if e.step.intent_id == intent_id]
            if record.status in (Status.COMPLETED, Status.PARTIALLY_COMPLETED):
                told = record.sold, record.bought
            else:
                told = 0, 0
            if told != (sum(f.sold for f in mine), sum(f.bought for f in mine)):
                self.say("P3 an end that is not what the chain did", record)
        for step in self.steps.values():
            if (step.status is StepStatus.DONE) != (step.id in filled):
                self.say("P3 a step that is not as the chain did", step)

    def _judge_attempts(self) -> None:
        mined = {receipt.tx_hash: receipt for receipt in self._receipts()}
        for attempt in self.attempts.values():
            found = [mined[s.tx_hash] for s in attempt.signed if s.tx_hash in mined]
            inclusion = attempt.inclusion
            if attempt.status in (AttemptStatus.EXPIRED, AttemptStatus.DROPPED):
                if found:
                    self.say("P6 given up and mined", attempt)
            elif not found or inclusion is None or inclusion.block_hash != found[0].block_hash:
                self.say("P7 booked in a block that does not hold it", attempt)

    def _judge_nonces(self) -> None:
        """Every nonce used belongs to one attempt, and none is left out."""
        for account in self._accounts:
            used = self._chain.newest.after.nonces.get(account, 0)
            owners = Counter(
                a.nonce
                for a in self.attempts.values()
                if a.account == account and a.status is not AttemptStatus.EXPIRED
            )
            if sorted(owners) != list(range(used)):
                self.say("P4 nonces and attempts differ", f"{used} used, {sorted(owners)}")
            for nonce, count in owners.items():
                if count > 1:
                    self.say("P3 two attempts at one nonce", f"{account} {nonce}")
