"""Coin for gas, from an account that has plenty to one that runs short: else it is passed over.

A refuelling is a transaction like any other: cleared by policy, journalled before it is sent, and
booked from its receipt as a move between two of our accounts. Whose the coin is does not change.
There is one at a time for each account that is short: the journal says so, whoever sent it.
Both accounts must be led by one process, else two could give at once: an account whose lease
another process holds waits until that one has an account with plenty, or loses the lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from sep_ray.engine.lane import PENDING, Lane
from sep_ray.engine.launching import Job, Launcher, with_bytes
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.attempt import Attempt, Moving, Purpose
from sep_ray.execution.fees import Fees
from sep_ray.execution.gas_limit import PLAIN_GAS
from sep_ray.execution.ports import Call, Head
from sep_ray.journal.ports import Attempts
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.units import Asset, ChainId

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tank:
    """An account's coin in wei: `held` after the last block, `free` of what its transactions may
    still take, and on its way from our other accounts."""

    account: str
    held: int
    free: int
    coming: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuelling:
    """Coin that one account is to send to another of ours."""

    source: str
    target: str
    wei: int


def refuellings(
    tanks: Sequence[Tank], below_wei: int, to_wei: int, gas_wei: int
) -> list[Refuelling]:
    """Return who fills whose tank up to `to_wei`, the emptiest first; pure.

    Below `below_wei` an account is short. Who gives keeps `to_wei` beside the gas (`gas_wei`) that
    it costs, and gives less than was wanted only if that still lifts the other over the bound. An
    account that coin is on its way to waits for it.
    """
    free = {tank.account: tank.free for tank in tanks}
    short = [tank for tank in tanks if tank.held < below_wei and not tank.coming]
    found = []
    for tank in sorted(short, key=lambda each: (each.held, each.account)):
        others = sorted(free.keys() - {tank.account})
        source = max(others, key=lambda account: free[account], default=None)
        if source is None:
            break
        wei = min(to_wei - tank.held, free[source] - gas_wei - to_wei)
        if wei > 0 and tank.held + wei >= below_wei:
            free[source] -= wei + gas_wei
            found.append(Refuelling(source=source, target=tank.account, wei=wei))
    return found


async def coin_coming(
    store: Attempts, chain_id: ChainId, accounts: Iterable[str], coin: Asset, head: Head
) -> dict[str, int]:
    """Return the coin on its way between our accounts, by target, from all their live attempts.

    What landed above `head` counts: an account read at that head does not hold it yet.
    """
    found: dict[str, int] = {}
    for account in accounts:
        for attempt in await store.live_attempts(chain_id, account):
            moving = attempt.moving
            if moving is not None and moving.asset == coin and _underway(attempt, head):
                found[moving.target] = found.get(moving.target, 0) + moving.units
    return found


def _underway(attempt: Attempt, head: Head) -> bool:
    landed = attempt.inclusion
    above = landed is not None and landed.block_number > head.number
    return attempt.status in PENDING or above


class Refueller:
    """Keeps a chain's accounts in coin."""

    def __init__(
        self,
        launcher: Launcher,
        store: Attempts,
        clock: Clock,
        rules: ChainRules,
        accounts: Sequence[str],
    ) -> None:
        """`accounts` are all of ours on this chain, also those that another process works with."""
        self._launcher = launcher
        self._store = store
        self._clock = clock
        self._rules = rules
        self._accounts = tuple(accounts)

    async def round(self, lane: Lane, ready: Sequence[Lane], head: Head, fees: Fees) -> int:
        """Send what this lane is to give to others that are ready; return how many were sent."""
        chain_id, coin = self._rules.chain_id, self._rules.coin
        below = self._rules.refuel_below_wei
        if all(each.units.get(coin, 0) >= below for each in ready):
            return 0
        if not self._given(lane, ready, fees, {}):
            return 0
        coming = await coin_coming(self._store, chain_id, self._accounts, coin, head)
        given = self._given(lane, ready, fees, coming)
        jobs = with_bytes([self._job(each) for each in given], fees)
        sent = await self._launcher.launch(lane, jobs, fees, head)
        if sent:
            targets = {each.target: str(each.wei) for each in given}
            log.info("accounts_refuelled", chain_id=chain_id, source=lane.account, wei=targets)
        return sent

    def _given(
        self, lane: Lane, ready: Sequence[Lane], fees: Fees, coming: dict[str, int]
    ) -> list[Refuelling]:
        coin, rules = self._rules.coin, self._rules
        tanks = [
            Tank(
                account=each.account,
                held=each.units.get(coin, 0),
                free=each.free(coin).get(coin, 0),
                coming=coming.get(each.account, 0),
            )
            for each in ready
        ]
        gas_wei = fees.most_wei(PLAIN_GAS)
        found = refuellings(tanks, rules.refuel_below_wei, rules.refuel_to_wei, gas_wei)
        return [each for each in found if each.source == lane.account]

    def _job(self, given: Refuelling) -> Job:
        moving = Moving(asset=self._rules.coin, units=given.wei, target=given.target)
        return Job(
            purpose=Purpose.REFUEL,
            call=Call(to=given.target, value_wei=given.wei),
            gas_limit=PLAIN_GAS,
            deadline=Millis(self._clock.now() + self._rules.lifetime_ms),
            moving=moving,
        )
