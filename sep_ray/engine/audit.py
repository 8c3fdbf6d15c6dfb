"""Ledger against chain, head by head (P8): an account holds what the lines that name it add up to.

A surplus that others sent is booked to the treasury with its evidence; anything else that lasts
is a breach: it is journalled, and the account does nothing more until a person has looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import structlog

from sep_ray.engine.canonical import Block, standing
from sep_ray.engine.expecting import expectations, left_to_settlement
from sep_ray.engine.lane import PENDING, Lane
from sep_ray.engine.refuelling import coin_coming
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.ports import Accounts, Chain, Evidence, Head, Transfer
from sep_ray.journal.ports import Attempts, Cursors, Journal, Ledger, Transfers
from sep_ray.journal.records import Append, Commit, VersionConflict
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Indeterminate
from sep_ray.kernel.ids import derived_id
from sep_ray.kernel.points import Point, reached
from sep_ray.kernel.units import NATIVE, Asset
from sep_ray.portfolio import ledger
from sep_ray.portfolio.events import AccountEvent, FundsObserved, LaneResumed, LedgerBreached
from sep_ray.portfolio.ledger import InsufficientBalance, Posting
from sep_ray.settlement.transfer import Transfer as Crossing

log = structlog.get_logger()

REMEMBER_EVERY: Final = 64
"""Heads after which the place up to which arrivals were looked for is stored."""
LOOK_BACK: Final = 256
"""Blocks before that place which are looked at again, for reorganisations."""
TRIES: Final = 3
"""Times that a write to the account's stream is tried when others write there too."""
WITHDRAWN: Final = "withdrawn with its block: "
ACCEPTED: Final = "/accepted/"
"""Marks the proof of what a person accepted: it rests on their word, not on a block."""


class AuditStore(Journal, Attempts, Transfers, Ledger, Cursors, Protocol):
    """What the audit reads and writes."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Funds booked from a block that may still go, and under which correlation."""

    event: FundsObserved
    proof: str
    correlation: UUID

    @property
    def block(self) -> Block:
        return self.event.block_number, self.event.block_hash


class Auditor:
    """Compares one account with the ledger. Keeps what it booked until that is final.

    A disagreement is no breach while a transaction of another account of ours is not booked, or
    while an attempt of this one waits for a person anyway.
    """

    def __init__(
        self,
        lane: Lane,
        chain: Chain,
        accounts: Accounts,
        store: AuditStore,
        clock: Clock,
        rules: ChainRules,
        evidence: Evidence | None = None,
        ours: Sequence[str] = (),
    ) -> None:
        """`ours` are all accounts of this chain: coin comes from one to another without a log."""
        self._ours = tuple(ours)
        self._evidence = evidence
        self._lane = lane
        self._chain = chain
        self._accounts = accounts
        self._store = store
        self._clock = clock
        self._rules = rules
        self._stream = f"account/{lane.chain_id}/{lane.account}"
        self._cursor = f"audit/{lane.chain_id}/{lane.account}"
        self._version = 0
        self._looked = 0
        self._proofs: set[str] = set()
        self._young: list[Observed] = []
        self._off_since: int | None = None
        self._underway = False

    async def start(self) -> None:
        """Read what was observed before."""
        await self._catch_up()
        self._looked = await self._store.cursor(self._cursor)
        self._off_since = None
        self._underway = False

    async def check(self, head: Head, held: dict[Asset, int]) -> bool:
        """Compare `held` (as of the head, but for what is mined and not booked) with the ledger.

        Returns whether they agree, after booking what others sent: what is not booked may wait for
        that very coin (P12). Disagreement that lasts is journalled as a breach.
        """
        if self._lane.breached:
            await self._catch_up()
        await self._withdraw_gone(head)
        totals, off = await self._compare(held)
        if off:
            # In this order: an arrival that is no longer expected is among the totals by then.
            under_way = await self._store.open_transfers(self._lane.chain_id)
            refuelled = await self._refuelled(head)
            totals, off = await self._compare(held)
            off = await self._explain(head, off, totals, under_way, refuelled)
        if not off:
            self._off_since, self._lane.torn = None, ""
            await self._remember(head)
            return True
        if self._off_since is None or self._underway:
            self._off_since = head.number
            log.warning("ledger_off", account=self._lane.account, off=_text(off))
        patient = head.number - self._off_since < self._rules.patience_blocks
        patient = (patient or bool(self._lane.undecided())) and not self._lane.torn
        if not patient and not self._lane.breached:
            await self._breach(head, held, totals, off)
        return False

    async def _compare(self, held: dict[Asset, int]) -> tuple[dict[Asset, int], dict[Asset, int]]:
        """Return what the ledger says, and by how much `held` exceeds it where they differ."""
        totals = await self._store.account_units(self._lane.chain_id, self._lane.account)
        surplus = {asset: units - totals.get(asset, 0) for asset, units in held.items()}
        return totals, {asset: units for asset, units in surplus.items() if units}

    async def _explain(
        self,
        head: Head,
        off: dict[Asset, int],
        totals: dict[Asset, int],
        under_way: Sequence[Crossing],
        refuelled: bool,
    ) -> dict[Asset, int]:
        """Book surpluses that have an explanation; return what is left without one.

        What is an arrival of a transfer under way is left to the settlement, and a surplus of coin
        to who sends some, while that is `refuelled`: its booking says how much it was.
        """
        tokens = any(asset.address != NATIVE for asset in off)
        moved = await self._moved(head) if tokens else ()
        expected = self._expected(off, moved, under_way)
        arrivals = await self._arrivals(moved)
        self._underway |= refuelled
        spent = await self._spent(head) if any(units < 0 for units in off.values()) else []
        left: dict[Asset, int] = {}
        for asset, surplus in off.items():
            coming, logs = expected.get(asset, (0, ()))
            units = surplus - coming
            if units == 0:
                continue
            arrivals = [each for each in arrivals if each.proof not in logs]
            found = _explanation(asset, units, arrivals) if units > 0 else None
            found = found or _spending(asset, units, arrivals, spent)
            coin = asset.address == NATIVE
            if found is None and units > 0 and (asset not in totals if not coin else not refuelled):
                found = (_balance(asset, units, head),)
            if found is None or not await self._observe(asset, found, head):
                left[asset] = units
        return left

    def _expected(
        self, off: dict[Asset, int], moved: Sequence[Transfer], under_way: Sequence[Crossing]
    ) -> dict[Asset, tuple[int, tuple[str, ...]]]:
        lane = self._lane
        expected = expectations(under_way, lane.chain_id, lane.account)
        return left_to_settlement(off, moved, lane.account, expected) if expected else {}

    async def _refuelled(self, head: Head) -> bool:
        """Whether another account of ours is sending this one coin."""
        chain_id, coin = self._lane.chain_id, self._rules.coin
        coming = await coin_coming(self._store, chain_id, self._ours, coin, head)
        return self._lane.account in coming

    async def _moved(self, head: Head) -> tuple[Transfer, ...]:
        start = min(self._looked or head.number, head.number)
        return await self._accounts.arrivals(
            self._lane.account, max(start - LOOK_BACK, 0), head.number
        )

    async def _arrivals(self, moved: Sequence[Transfer]) -> list[_Arrival]:
        """Return what others moved to (or from) the account and is not booked, newest first."""
        ours: dict[str, bool] = {}
        found: list[_Arrival] = []
        self._underway = False
        for transfer in reversed(moved):
            tx_hash = transfer.tx_hash
            if tx_hash not in ours:
                attempt = await self._store.attempt_by_hash(tx_hash)
                ours[tx_hash] = attempt is not None
                self._underway |= attempt is not None and attempt.status in PENDING
            arrival = _arrival(transfer, self._lane.account)
            if not ours[tx_hash] and arrival.proof not in self._proofs:
                found.append(arrival)
        return found

    async def _spent(self, head: Head) -> list[_Arrival]:
        """Return the coin that transactions took which this account sent and we did not.

        Somebody else has the key: what they did is booked as it happened, and said loudly.
        """
        if self._evidence is None:
            return []
        start = self._looked - self._rules.finality.last
        first = max(start, head.number - LOOK_BACK, 0)
        found = []
        for each in await self._evidence.sent_by(self._lane.account, first, head.number):
            receipt = each.receipt
            proof = f"{receipt.block_hash}/tx/{receipt.index}"
            known = await self._store.attempt_by_hash(receipt.tx_hash) is not None
            if known or proof in self._proofs:
                continue
            log.error("foreign_transaction", lane=self._lane.name, tx_hash=receipt.tx_hash)
            words = f"{receipt.tx_hash} nonce {each.nonce} sent with this account's key by others"
            found.append(_Arrival(NATIVE, -each.cost_wei, proof, words))
        return found

    async def _observe(self, asset: Asset, found: Sequence[_Arrival], head: Head) -> bool:
        events = [
            FundsObserved(
                asset=asset,
                units=each.units,
                block_number=head.number,
                block_hash=head.hash,
                evidence=f"{each.proof} {each.words}",
            )
            for each in found
        ]
        correlation = derived_id("observed", self._stream, str(asset), head.hash)
        lines = [
            line
            for each in found
            for line in ledger.fund(asset, each.units, each.proof, account=self._lane.account)
        ]
        reached(Point.OBSERVED)
        if not await self._commit(events, lines, correlation):
            return False
        for event in events:
            self._note(event, correlation)
            log.info("funds_observed", asset=str(asset), units=event.units, evidence=event.evidence)
        return True

    async def _withdraw_gone(self, head: Head) -> None:
        """Withdraw observations whose block is no longer part of the chain (P7).

        One is forgotten only when it is found standing and deep enough: however many heads were
        missed in between, each is looked at once more.
        """
        depth = self._rules.finality.last
        oldest = head.number - depth - LOOK_BACK
        self._young = [each for each in self._young if each.event.block_number > oldest]
        if not self._young:
            return
        blocks = {each.block for each in self._young}
        stands = await standing(self._chain, blocks, max(blocks)[0] + 1)
        final = head.number - depth
        for seen in list(self._young):
            if seen.block not in stands:
                await self._withdraw(seen)
            elif seen.event.block_number <= final:
                self._young.remove(seen)

    async def _withdraw(self, seen: Observed) -> None:
        event = seen.event
        back = FundsObserved(
            asset=event.asset,
            units=-event.units,
            block_number=event.block_number,
            block_hash=event.block_hash,
            evidence=WITHDRAWN + event.evidence,
        )
        account = self._lane.account
        lines = ledger.withdrawn(ledger.fund(event.asset, event.units, seen.proof, account=account))
        if await self._commit([back], lines, seen.correlation):
            self._note(back, seen.correlation)
            log.warning("funds_withdrawn", asset=str(event.asset), units=event.units)

    async def _breach(
        self, head: Head, held: dict[Asset, int], totals: dict[Asset, int], off: dict[Asset, int]
    ) -> None:
        events = [
            LedgerBreached(
                asset=asset,
                ledger_units=totals.get(asset, 0),
                chain_units=held[asset],
                block_number=head.number,
                block_hash=head.hash,
                detail=self._lane.torn or f"it lasted from block {self._off_since}",
            )
            for asset in off
        ]
        log.error("ledger_breached", account=self._lane.account, off=_text(off))
        if await self._commit(events, (), derived_id("breach", self._stream, head.hash)):
            self._lane.breached = True

    async def _commit(
        self, events: Sequence[AccountEvent], lines: Sequence[Posting], correlation: UUID
    ) -> bool:
        """Write to the account's stream; whether it is durable. Allocations are written there
        too, so a conflict is read and the same said once more."""
        for _ in range(TRIES):
            append = Append(
                stream_id=self._stream,
                expected_version=self._version,
                events=tuple(events),
                correlation_id=correlation,
            )
            commit = Commit(
                at=self._clock.now(),
                appends=(append,),
                postings=tuple(lines),
                fence=self._lane.fence,
            )
            try:
                await self._store.commit(commit)
            except VersionConflict:
                await self._catch_up()
            except Indeterminate:
                await self._catch_up()
                return False
            except InsufficientBalance as error:
                log.warning("observation_undecided", why=str(error))
                return False
            else:
                self._version += len(events)
                return True
        return False

    async def _catch_up(self) -> None:
        for row in await self._store.stream(self._stream, self._version):
            self._version = row.version
            match row.event:
                case FundsObserved():
                    self._note(row.event, row.correlation_id)
                case LedgerBreached():
                    self._lane.breached = True
                case LaneResumed():
                    self._lane.breached, self._off_since = False, None
                case _:
                    pass

    def _note(self, event: FundsObserved, correlation: UUID) -> None:
        """Remember what is booked by its proof, and forget what was withdrawn."""
        proof = event.evidence.removeprefix(WITHDRAWN).partition(" ")[0]
        if ACCEPTED in proof:
            return
        if event.evidence.startswith(WITHDRAWN):
            self._proofs.discard(proof)
            self._young = [each for each in self._young if each.proof != proof]
        else:
            self._proofs.add(proof)
            self._young.append(Observed(event, proof, correlation))

    async def _remember(self, head: Head) -> None:
        if head.number - self._looked >= REMEMBER_EVERY or head.number < self._looked:
            await self._store.advance(self._cursor, head.number)
            self._looked = head.number


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Units that came (or, negative, went) by others' doing, the proof, and words on it."""

    asset: str
    units: int
    proof: str
    words: str


def _arrival(transfer: Transfer, account: str) -> _Arrival:
    sign = (transfer.target == account) - (transfer.source == account)
    return _Arrival(
        asset=transfer.token,
        units=sign * transfer.units,
        proof=f"{transfer.block_hash}/{transfer.log_index}",
        words=f"{transfer.tx_hash} from {transfer.source} to {transfer.target}",
    )


def _balance(asset: Asset, units: int, head: Head) -> _Arrival:
    """A surplus that speaks for itself: the coin arrives without a log, and an account may hold
    a token before the ledger has ever heard of it."""
    proof = f"{head.hash}/balance/{asset.address}"
    return _Arrival(asset.address, units, proof, "found on the account")


def _explanation(
    asset: Asset, units: int, arrivals: Sequence[_Arrival]
) -> tuple[_Arrival, ...] | None:
    """Return the newest arrivals that make up a surplus to the unit, oldest first, or None."""
    found: list[_Arrival] = []
    for arrival in arrivals:
        if arrival.asset == asset.address:
            found.append(arrival)
            if sum(each.units for each in found) == units:
                return tuple(reversed(found))
    return None


def _spending(
    asset: Asset, units: int, arrivals: Sequence[_Arrival], spent: Sequence[_Arrival]
) -> tuple[_Arrival, ...] | None:
    """Return what others spent from the account with its own key if that is, to the unit, what is
    missing; for a token, what moved in those very transactions."""
    hashes = {each.words.partition(" ")[0] for each in spent}
    found = list(spent)
    if asset.address != NATIVE:
        of_asset = (each for each in arrivals if each.asset == asset.address)
        found = [each for each in of_asset if each.words.partition(" ")[0] in hashes]
    if units < 0 and found and sum(each.units for each in found) == units:
        return tuple(found)
    return None


def _text(off: dict[Asset, int]) -> dict[str, str]:
    return {str(asset): str(units) for asset, units in off.items()}
