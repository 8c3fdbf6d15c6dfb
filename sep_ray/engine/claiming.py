"""Claims: transactions on this chain that bring in what a bridge holds for us here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from sep_ray.engine.crossing import after_all, append_of
from sep_ray.engine.lane import Lane
from sep_ray.engine.launching import Job, Launcher, with_bytes
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.attempt import Purpose
from sep_ray.execution.fees import Fees
from sep_ray.execution.ports import Head
from sep_ray.journal.ports import Journal, Steps, Transfers
from sep_ray.journal.records import Commit, VersionConflict
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import Indeterminate, Rejected, Transient
from sep_ray.settlement.ports import Bridge, Claim
from sep_ray.settlement.transfer import CLAIMS, OperatorNeeded, Transfer

log = structlog.get_logger()

CLAIM_S: Final = 2.0
"""How long a bridge may think about a claim."""


class ClaimingStore(Journal, Steps, Transfers, Protocol):
    """What claiming reads and writes."""


class Claimer:
    """Sends the claims that the settlement asked for by a transfer's state. Keeps nothing."""

    def __init__(
        self,
        launcher: Launcher,
        bridges: Mapping[str, Bridge],
        store: ClaimingStore,
        clock: Clock,
        rules: ChainRules,
    ) -> None:
        self._launcher = launcher
        self._bridges = bridges
        self._store = store
        self._clock = clock
        self._rules = rules

    async def round(self, lane: Lane, head: Head, fees: Fees) -> int:
        """Send every claim that is asked of this lane; return how many became durable."""
        if not self._bridges:
            return 0
        chain_id = self._rules.chain_id
        wanted = [
            each
            for each in await self._store.open_transfers(chain_id)
            if each.status in CLAIMS
            and each.target.chain_id == chain_id
            and each.recipient == lane.account
        ]
        jobs = [await self._job(lane, each) for each in wanted]
        known = with_bytes([job for job in jobs if job is not None], fees)
        return await self._launcher.launch(lane, known, fees, head)

    async def _job(self, lane: Lane, transfer: Transfer) -> Job | None:
        bridge = self._bridges.get(transfer.bridge)
        try:
            if bridge is None:
                raise Rejected("no such bridge here", bridge=transfer.bridge)
            async with asyncio.timeout(CLAIM_S):
                claim = await bridge.claim(transfer)
        except (Transient, Indeterminate, TimeoutError) as error:
            log.warning("claim_waits", transfer_id=str(transfer.id), why=str(error))
            return None
        except Rejected as error:
            await self._ask_operator(lane, transfer, str(error))
            return None
        return await self._signable(transfer, claim)

    async def _signable(self, transfer: Transfer, claim: Claim) -> Job:
        return Job(
            purpose=Purpose.ARRIVAL,
            call=claim.call,
            gas_limit=claim.gas_limit,
            deadline=Millis(self._clock.now() + self._rules.lifetime_ms),
            step=await self._store.step(transfer.step_id),
            claiming=transfer,
        )

    async def _ask_operator(self, lane: Lane, transfer: Transfer, why: str) -> None:
        event = OperatorNeeded(detail=f"the claim cannot be written: {why}")
        now = self._clock.now()
        after = after_all(transfer, [event], now)
        append = append_of(transfer, after, [event])
        commit = Commit(at=now, appends=(append,), states=(after,), fence=lane.fence)
        try:
            await self._store.commit(commit)
        except VersionConflict:
            return
        log.error("transfer_needs_operator", transfer_id=str(transfer.id), why=why)
