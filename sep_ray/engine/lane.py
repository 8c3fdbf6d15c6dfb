"""A lane: one account of one chain, its lease, and its transactions that are not final yet.

What a lane knows is a cache of the journal. Whoever doubts it sets `stale`, and it is read again
before anything else happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from uuid import UUID

from sep_ray.decomposition.step import Step
from sep_ray.execution.attempt import TERMINAL, Attempt, AttemptStatus
from sep_ray.execution.ports import Head, Signer
from sep_ray.execution.verdict import Refusal
from sep_ray.journal.records import Fence, Lease, LeaseLost
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.ids import derived_id
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.portfolio.ledger import Posting
from sep_ray.routing.plan import Plan
from sep_ray.settlement.transfer import Transfer

TRAIL = 64
PENDING = frozenset({AttemptStatus.PREPARED, AttemptStatus.BROADCAST})
LANDED = frozenset({AttemptStatus.INCLUDED, AttemptStatus.REVERTED})


class LaneState(StrEnum):
    """Whether a lane may begin new work, and if not, why."""

    STANDBY = "standby"  # another holds the lease
    RECOVERING = "recovering"  # the journal must be read before anything is sent
    READY = "ready"
    UNSETTLED = "unsettled"  # a reorganisation or a disagreement is being sorted out
    BREACHED = "breached"  # ledger and chain disagree: a person has to look


class Lane:
    """The cache of one account's transactions in flight."""

    def __init__(self, chain_id: ChainId, signer: Signer) -> None:
        self.chain_id = chain_id
        self.signer = signer
        self.account = signer.address
        self.name = f"lane/{chain_id}/{self.account}"
        self.correlation = derived_id("lane", chain_id, self.account)
        self.lease: Lease | None = None
        self.sure_until = Millis(0)
        self.stale = True
        self.breached = False
        self.agrees = False
        self.unsettled: set[UUID] = set()
        self.unbooked: dict[UUID, tuple[Posting, ...]] = {}
        """Lines of what the chain shows and the ledger cannot take yet, of the last head."""
        self.attempts: dict[UUID, Attempt] = {}
        self.steps: dict[UUID, Step] = {}
        self.plans: dict[UUID, Plan] = {}
        self.transfers: dict[UUID, Transfer] = {}
        """Transfers by the attempt of their departure, until that is final."""
        self.doomed: dict[UUID, str] = {}
        """Swaps in flight that would revert now, and why."""
        self.own: set[UUID] = set()
        """Signed here since the journal was last read: nobody else can have sent them."""
        self.refused: dict[UUID, Refusal] = {}
        self.unsure: set[UUID] = set()
        self.missing: dict[UUID, int] = {}
        self.users: set[int] = set()
        """Nonces whose user the chain has shown."""
        self.next_nonce = 0
        self.mined_nonce = 0
        self.seen: Head | None = None
        self.trail: dict[int, str] = {}
        """Hashes of the last heads looked at, by number."""
        self.torn = ""
        """Evidence of a reorganisation deeper than is followed."""
        self.units: dict[Asset, int] = {}
        self.whole = False

    @property
    def state(self) -> LaneState:
        """Return the strongest reason not to begin new work, or READY."""
        if self.lease is None:
            return LaneState.STANDBY
        if self.breached:
            return LaneState.BREACHED
        if self.stale:
            return LaneState.RECOVERING
        if self.unsettled or not self.agrees:
            return LaneState.UNSETTLED
        return LaneState.READY

    @property
    def fence(self) -> Fence:
        """What every write of this lane carries (P5); LeaseLost without a lease."""
        if self.lease is None:
            raise LeaseLost("the lane has no lease", lane=self.name)
        return self.lease.fence

    def require(self, now: Millis) -> None:
        """Raise LeaseLost unless the lease surely lasts by this process's own steady clock."""
        if self.lease is None or now >= self.sure_until:
            raise LeaseLost("the lease may be over", lane=self.name)

    def forget_missing_but(self, attempt_ids: Iterable[UUID]) -> None:
        """Forget since when receipts are missed, but for these: a nonce that is free again after a
        reorganisation is not used, and waited for anew."""
        keep = set(attempt_ids)
        self.missing = {key: since for key, since in self.missing.items() if key in keep}

    def may_work(self, recovering: Fence | None = None) -> bool:
        """Whether it is led and its cache is whole, or led as it was when recovering began."""
        if self.lease is None:
            return False
        return not self.stale or self.lease.fence == recovering

    def held(self, lease: Lease, sure_until: Millis) -> None:
        """Note a lease taken or prolonged; a new epoch means that the journal must be read."""
        if self.lease is None or self.lease.epoch != lease.epoch:
            self.stale = True
        self.lease, self.sure_until = lease, sure_until

    def lost(self) -> None:
        """Forget the lease and with it everything that rested on it."""
        self.lease = None
        self.stale = True

    def load(
        self,
        attempts: Iterable[Attempt],
        steps: Iterable[Step],
        transfers: Iterable[Transfer],
        next_nonce: int,
    ) -> None:
        """Replace the cache by what the journal says."""
        self.attempts = {attempt.id: attempt for attempt in attempts}
        departures = ((each.departure_id, each) for each in transfers)
        self.transfers = {key: each for key, each in departures if key in self.attempts}
        self.steps = {step.id: step for step in steps}
        self.plans = {key: plan for key, plan in self.plans.items() if key in self.attempts}
        self.own.clear()
        self.refused.clear()
        self.unsure.clear()
        self.missing.clear()
        self.unsettled.clear()
        self.doomed.clear()
        self.next_nonce = next_nonce
        self.seen = None
        self.whole = False
        self.agrees = False
        self.stale = False

    def keep(self, attempt: Attempt, step: Step | None, transfer: Transfer | None = None) -> None:
        """Note how an attempt and what it serves stand now; what has ended is forgotten."""
        if transfer is not None and transfer.departure_id == attempt.id:
            self.transfers[attempt.id] = transfer
        if attempt.status in TERMINAL:
            self.attempts.pop(attempt.id, None)
            self.transfers.pop(attempt.id, None)
            self.missing.pop(attempt.id, None)
            self.doomed.pop(attempt.id, None)
            self.own.discard(attempt.id)
            self.refused.pop(attempt.id, None)
            self.unsure.discard(attempt.id)
        else:
            self.attempts[attempt.id] = attempt
        if attempt.status not in PENDING:
            self.plans.pop(attempt.id, None)
        if step is not None and step.version >= self._version_of(step.id):
            self.steps[step.id] = step
        if attempt.status in TERMINAL and attempt.step_id is not None:
            needed = {each.step_id for each in self.attempts.values()}
            if attempt.step_id not in needed:
                self.steps.pop(attempt.step_id, None)

    def note_head(self, head: Head) -> None:
        """Remember a head that all was booked up to."""
        self.seen = head
        self.trail = {n: h for n, h in self.trail.items() if n < head.number}
        self.trail[head.number] = head.hash
        while len(self.trail) > TRAIL:
            del self.trail[min(self.trail)]

    def before_unbooked(self) -> dict[Asset, int]:
        """Return what the account would hold without what the ledger cannot take yet: what the
        ledger must say now."""
        units = dict(self.units)
        for lines in self.unbooked.values():
            for line in lines:
                if line.account == self.account and line.asset in units:
                    units[line.asset] -= line.delta
        return units

    def step_of(self, attempt: Attempt) -> Step | None:
        """Return the step an attempt works for; InvariantBroken when it should be known."""
        if attempt.step_id is None:
            return None
        if attempt.step_id not in self.steps:
            raise InvariantBroken("a live attempt without its step", attempt=str(attempt.id))
        return self.steps[attempt.step_id]

    def pending(self) -> list[Attempt]:
        """Return what is not in a block, by nonce."""
        return self._with(PENDING)

    def undecided(self) -> list[Attempt]:
        """Return what waits for a person, by nonce."""
        return self._with(frozenset({AttemptStatus.NEEDS_OPERATOR}))

    def landed(self) -> list[Attempt]:
        """Return what is in a block that is not final, by nonce."""
        return self._with(LANDED)

    def free(self, coin: Asset) -> dict[Asset, int]:
        """Return what the account holds as of the head last looked at, without what its
        transactions may still take: what is sold or moved, and the most that gas can cost."""
        free = dict(self.units)
        for attempt in self.attempts.values():
            if attempt.status is AttemptStatus.INCLUDED:
                continue
            for asset, units in self._promised(attempt, coin):
                free[asset] = free.get(asset, 0) - units
        return free

    def _promised(self, attempt: Attempt, coin: Asset) -> Iterator[tuple[Asset, int]]:
        if attempt.status in PENDING:
            yield coin, attempt.newest.gas_limit * attempt.newest.max_fee_wei
        if attempt.moving is not None and attempt.status in PENDING:
            yield attempt.moving.asset, attempt.moving.units
        step = self.step_of(attempt)
        if step is not None and step.attempt_id == attempt.id:
            yield step.sell, step.reserved

    def stalled(self, blocks: int) -> bool:
        """Whether the lowest nonce not in a block has been waiting for so many blocks."""
        first = next(iter(self.pending()), None)
        if first is None or first.sent_block is None or self.seen is None:
            return False
        return self.seen.number - first.sent_block >= blocks

    def holes(self) -> list[int]:
        """Return nonces below the highest one in use that no transaction of ours will use."""
        used = {attempt.nonce for attempt in self.attempts.values()}
        top = max((a.nonce for a in self.pending()), default=-1)
        return [nonce for nonce in range(self.mined_nonce, top) if nonce not in used]

    def _version_of(self, step_id: UUID) -> int:
        known = self.steps.get(step_id)
        return known.version if known is not None else 0

    def _with(self, states: frozenset[AttemptStatus]) -> list[Attempt]:
        found = [attempt for attempt in self.attempts.values() if attempt.status in states]
        return sorted(found, key=lambda attempt: attempt.nonce)
