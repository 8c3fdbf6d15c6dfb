"""What becomes of steps that policy does not let through: they wait where that may help, or end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import structlog

from sep_ray.decomposition.step import Step
from sep_ray.engine.booking import Writer
from sep_ray.engine.lane import Lane
from sep_ray.engine.launching import Job, Launcher
from sep_ray.execution.fees import Fees
from sep_ray.intent.states import Reason
from sep_ray.journal.ports import Journal
from sep_ray.journal.records import Commit, VersionConflict
from sep_ray.kernel.clock import Clock
from sep_ray.policy.codes import Denial
from sep_ray.policy.decide import Denied

log = structlog.get_logger()

MOST_HELD: Final = 10_000
"""Steps remembered as held; forgetting one only means that the journal says so twice."""
UNWRITTEN: Final = frozenset({Denial.HALTED, Denial.REDUCING_ONLY})
"""Codes that are not written down for each step: the halts' own streams say it for all."""


class Sieve:
    """Clears jobs, and sees to the steps of those that are denied. `wait` puts a step off."""

    def __init__(
        self, launcher: Launcher, journal: Journal, clock: Clock, wait: Callable[[UUID], None]
    ) -> None:
        self._launcher = launcher
        self._journal = journal
        self._clock = clock
        self._wait = wait
        self._held: dict[UUID, Denial] = {}
        self.ended = 0
        """How many steps were ended since this was last set to zero."""

    async def clear(self, lane: Lane, jobs: Sequence[Job], fees: Fees) -> list[Job]:
        """Return the jobs that may be signed (P9)."""
        judged = await self._launcher.clear(lane, jobs, fees)
        for job in judged:
            if job.denied is not None and job.step is not None:
                await self._deny(lane, job.step, job.denied)
        return [job for job in judged if job.cleared is not None]

    async def approve(
        self, lane: Lane, approvals: Sequence[Job], spending: Sequence[Job], fees: Fees
    ) -> list[Job]:
        """Return the approvals that may be signed, and after them what may be spent by them.

        Of a token one of whose approvals is denied nothing is spent in this round.
        """
        cleared = await self.clear(lane, approvals, fees)
        denied = len(approvals) - len(cleared)
        asked = [job.step.sell for job in approvals if job.step is not None]
        given = [job.step.sell for job in cleared if job.step is not None]
        shut = {asset for asset in asked if denied and asked.count(asset) > given.count(asset)}
        return [
            job
            for job in (*cleared, *spending)
            if job.step is not None and job.step.sell not in shut
        ]

    async def _deny(self, lane: Lane, step: Step, denied: Denied) -> None:
        writer = Writer(at=self._clock.now(), fence=lane.fence, correlation=lane.correlation)
        words, until = str(denied), denied.free_at
        self._wait(step.id)
        if until is None or until >= step.deadline:
            commit, _ = writer.failed(step, Reason.POLICY_DENIED, words)
            if await self._write(commit):
                self.ended += 1
                log.info("step_failed", step_id=str(step.id), reason="policy_denied", detail=words)
        elif self._held.get(step.id) != denied.code and denied.code not in UNWRITTEN:
            commit, _ = writer.held(step, denied.code.value, words, until)
            if await self._write(commit):
                log.info("step_held", step_id=str(step.id), until=until, why=words)
            self._remember(step.id, denied.code)

    def _remember(self, step_id: UUID, code: Denial) -> None:
        if len(self._held) >= MOST_HELD:
            self._held.clear()
        self._held[step_id] = code

    async def _write(self, commit: Commit) -> bool:
        """Write it down; whether it was: who moved the step meanwhile was first."""
        try:
            await self._journal.commit(commit)
        except VersionConflict:
            return False
        return True
