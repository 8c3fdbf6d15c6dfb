"""May this lane sign, may it send, now? The lease (P5) and the shares of limits (P9) say so.

Before signing, the shares of limits that the bytes take are booked in a commit of the lane, which
the database takes only under the newest epoch and the newest limits. Where no limit counts, one
question answers for both. What was booked for bytes that never became durable is given back by
the lane's next booking, or when it is read from the journal, by whoever leads it then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

import structlog

from sep_ray.engine.gate import Cleared, Gate
from sep_ray.engine.lane import Lane
from sep_ray.journal.ports import Journal, Leases
from sep_ray.journal.records import Commit, Footing, LeaseLost, LimitExceeded, VersionConflict
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import Indeterminate
from sep_ray.policy.usage import Reservation

log = structlog.get_logger()

PROVEN_MS: Final = 100
"""How long a commit that the database took under an epoch proves that it is the newest."""


class EntitlingStore(Journal, Leases, Protocol):
    """What is asked and booked."""


class Entitlement:
    """What signing and sending rest on. Keeps nothing."""

    def __init__(self, store: EntitlingStore, gate: Gate, clock: Clock, steady: Clock) -> None:
        """`steady` never jumps: it judges the hold on leases."""
        self._store = store
        self._gate = gate
        self._clock = clock
        self._steady = steady

    def now(self) -> Millis:
        """Return the steady time, to be handed to `to_send` when a commit has proven the epoch."""
        return self._steady.now()

    async def to_send(self, lane: Lane, proven: Millis | None = None) -> None:
        """Raise LeaseLost unless this process leads the lane now (P5).

        The database says whose epoch stands: when asked now, or by a commit of this lane that was
        begun at `proven` or later. The steady clock, read last, says that nothing has kept this
        process from noticing: who slept for as long as a lease lasts signs and sends nothing.
        """
        await self._led(lane, proven)

    async def to_sign(
        self, lane: Lane, wanted: Mapping[UUID, Cleared], *, again: bool = False
    ) -> bool:
        """Book the shares of what is to be signed by attempt, and grant it to the signer (P9).

        `again`: the attempts are durable, and another version of them is wanted. False, and
        nothing is booked or granted, when somebody was first or the limits have moved on: decide
        anew. Raises LeaseLost like `to_send`.
        """
        shares = [
            replace(share, attempt_id=name, lane="" if again else lane.name)
            for name, cleared in wanted.items()
            for share in cleared.reservations
        ]
        version = self._gate.version
        if any(cleared.version != version for cleared in wanted.values()):
            return False
        if not await (self._book(lane, shares, version) if shares else self._same(lane, version)):
            return False
        for cleared in wanted.values():
            self._gate.grant(lane.signer, cleared)
        return True

    async def give_back(self, lane: Lane) -> None:
        """Give back what the lane booked for bytes that never became durable."""
        if not self._gate.limited:
            return
        await self._store.commit(Commit(at=self._clock.now(), appends=(), fence=lane.fence))

    async def _book(self, lane: Lane, shares: list[Reservation], version: int) -> bool:
        commit = Commit(
            at=self._clock.now(),
            appends=(),
            fence=lane.fence,
            reservations=tuple(shares),
            policy_version=version,
        )
        lane.require(self._steady.now())
        try:
            await self._store.commit(commit)
            lane.require(self._steady.now())
        except LimitExceeded as error:
            log.warning("limit_taken_by_another", lane=lane.name, why=str(error))
            return False
        except VersionConflict:
            await self._gate.reread()
            return False
        except Indeterminate as error:
            lane.stale = True
            log.warning("shares_undecided", lane=lane.name, why=str(error))
            return False
        return True

    async def _same(self, lane: Lane, version: int) -> bool:
        """Whether the limits are still the same, of a lane that is led; they are read if not."""
        footing = await self._led(lane)
        moved = footing is not None and footing.policy_version != version
        if moved:
            await self._gate.reread()
        return not moved

    async def _led(self, lane: Lane, proven: Millis | None = None) -> Footing | None:
        """Ask the database whose epoch stands; None when that is proven already."""
        lane.require(self._steady.now())
        if lane.lease is None or (proven is not None and self._steady.now() - proven <= PROVEN_MS):
            return None
        footing = await self._store.stands(lane.lease)
        if footing is None:
            raise LeaseLost("another process leads the lane", lane=lane.name)
        lane.require(self._steady.now())
        return footing
