"""Processes that are killed right before or right after a transfer's state becomes durable (P11).

A plan and its reserve are written with the departure's bytes, so they are no states to die in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sep_ray.adapters.memory.bridge import Family, Knobs
from sep_ray.journal.records import Commit
from sep_ray.settlement.ports import Sighting, Unread
from sep_ray.settlement.transfer import Transfer, TransferStatus
from tests.fixtures.bridging import DOLLAR, FAR, NEAR, assets
from tests.fixtures.two_chains import TwoChains

USDC, FAR_USDC, FAR_WETH = assets(NEAR)[2], assets(FAR)[2], assets(FAR)[1]
HELD = {NEAR: {"USDC": 50_000 * DOLLAR}, FAR: {"USDC": 1_000 * DOLLAR}}
SENT = 10_000 * DOLLAR
S = TransferStatus


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Reaper:
    """Kills whoever writes a state; what is dead writes nothing more."""

    world: TwoChains
    status: TransferStatus
    durable: bool
    dead: bool = False

    def __post_init__(self) -> None:
        self._commit = self.world.store.commit
        self.world.store.commit = self.commit

    async def commit(self, what: Commit) -> Any:
        if self.dead:
            raise Killed
        moved = (state for state in what.states if isinstance(state, Transfer))
        self.dead = any(each.status is self.status for each in moved)
        if self.dead and not self.durable:
            raise Killed
        rows = await self._commit(what)
        if self.dead:
            raise Killed
        return rows

    async def strike(self) -> None:
        """Let time pass until somebody is killed."""
        for _ in range(150):
            try:
                await self.world.tick()
            except Killed:
                self.world.store.commit = self._commit
                return
        raise AssertionError(f"nobody ever wrote {self.status}: {await self.world.transfers()}")


async def _nothing(world: TwoChains) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """How a state comes about, what is mended afterwards, and how it ends."""

    family: Family
    knobs: dict[str, Any] = field(default_factory=dict)
    before: Callable[[TwoChains], Awaitable[None]] = _nothing
    after: dict[str, Any] = field(default_factory=dict)
    end: TransferStatus = S.ARRIVED


async def _expire(world: TwoChains) -> None:
    flying = await world.until(S.IN_FLIGHT)
    world.bridges["twin"]._signed[flying.reference] = 0


async def _pause(world: TwoChains) -> None:
    world.bridges["twin"].pause(FAR, True)


async def _lose_trace(world: TwoChains) -> None:
    twin = world.bridges["twin"]
    observe = twin.observe

    async def unread(transfer: Transfer) -> Sighting:
        if transfer.status is S.INDETERMINATE:
            return await observe(transfer)
        return Unread(detail="no log of the bridge")

    twin.observe = unread  # type: ignore[method-assign]  # a bridge whose logs are late


ATTESTED = Case(Family.ATTESTED)
CASES = {
    S.DEPARTURE_SIGNED: ATTESTED,
    S.DEPARTURE_INCLUDED: ATTESTED,
    S.DEPARTURE_FINAL: ATTESTED,
    S.IN_FLIGHT: ATTESTED,
    S.CLAIMABLE: ATTESTED,
    S.ARRIVAL_SENT: ATTESTED,
    S.ARRIVAL_INCLUDED: ATTESTED,
    S.ARRIVED: ATTESTED,
    S.DELAYED: Case(Family.ATTESTED, {"completes": False}, after={"completes": True}),
    S.ATTESTATION_EXPIRED: Case(
        Family.ATTESTED, {"valid_s": 2, "latency_s": 8}, _expire, {"valid_s": 1_000}
    ),
    S.SLOW_FILL: Case(Family.FILL, {"completes": False, "slow_after_s": 5}),
    S.MANUAL_REDEEM: Case(Family.PUSHED, {"runs": False}),
    S.DELIVERED_OTHER_ASSET: Case(Family.FILL, {"other": FAR_WETH}),
    S.EXPIRED_REFUND_DUE: Case(
        Family.FILL, {"completes": False, "fill_s": 10, "refund_s": 5}, end=S.REFUNDED
    ),
    S.REFUNDED: Case(
        Family.FILL, {"completes": False, "fill_s": 10, "refund_s": 5}, end=S.REFUNDED
    ),
    S.INDETERMINATE: Case(Family.FILL, before=_lose_trace),
    S.NEEDS_OPERATOR: Case(Family.ATTESTED, before=_pause, end=S.NEEDS_OPERATOR),
}


def test_every_state_that_is_ever_written_alone_has_a_case() -> None:
    assert set(S) - set(CASES) == {S.PLANNED, S.RESERVED, S.ABANDONED}


@pytest.mark.parametrize("durable", [False, True], ids=["unwritten", "written"])
@pytest.mark.parametrize("status", CASES)
async def test_p11_processes_killed_at_every_state_go_on_from_there(
    status: TransferStatus, durable: bool
) -> None:
    case = CASES[status]
    world = TwoChains({"twin": (case.family, Knobs(**case.knobs))})
    await world.ready(HELD)
    reaper = Reaper(world, status, durable) if case.before is not _expire else None
    await world.bridge(USDC, FAR_USDC, SENT)
    await case.before(world)
    await (reaper or Reaper(world, status, durable)).strike()
    world.working = False
    await world.tick(5)
    for name, value in case.after.items():
        setattr(world.bridges["twin"].knobs, name, value)
    world.working = True
    world.start("second")
    ended = await world.until(case.end, seconds=200)
    assert len(await world.transfers()) == 1
    assert max(ended.departed, ended.refunded) == SENT
    await world.tick(3)
    await world.check()
