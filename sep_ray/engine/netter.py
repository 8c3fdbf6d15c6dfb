"""Crosses opposite sales of willing strategies before the rest is routed: one commit, no chain.

A netting is journalled like a fill: its own stream says at which price, the steps say what each
sold and bought, and the ledger moves available units between the strategies, so that for each
asset all of it stays what it was. A sale crossed in part becomes two steps: one that is done, and
itself with what is left. Limits count a crossed sale like the swap it replaces: a sale that policy
denies is left out, and what is crossed takes its shares of the limits in the same commit.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

import structlog

from sep_ray.decomposition.step import Step, StepCreated, StepEvent, StepNetted, StepReduced
from sep_ray.decomposition.step import evolve as evolve_step
from sep_ray.engine.gate import Gate
from sep_ray.engine.lane import Lane
from sep_ray.engine.netting import Crossed, crossings
from sep_ray.engine.rules import ChainRules
from sep_ray.journal.ports import Journal, Ledger, Steps
from sep_ray.journal.records import Append, Commit, LimitExceeded, State, VersionConflict
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.ids import IdSource, derived_id
from sep_ray.kernel.units import Asset
from sep_ray.policy.decide import Allowed
from sep_ray.policy.halts import Sending
from sep_ray.policy.usage import Reservation
from sep_ray.portfolio import ledger
from sep_ray.portfolio.events import SalesNetted
from sep_ray.portfolio.ledger import Bucket, InsufficientBalance, Posting
from sep_ray.routing.guard import strays
from sep_ray.routing.prices import Ratio, mid_price
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot

log = structlog.get_logger()

Shares = Sequence[Reservation]

LOOK: Final = 512
"""Ready steps that are looked at."""
TOLERANCE_PPM: Final = 20_000
"""How far the mid may be off the time-weighted mean; beyond that nothing is crossed."""
ROUNDS: Final = 4
"""Times sales that policy denies are left out and the rest is crossed anew."""
CHILD_ORDINAL: Final = 1_000_000
"""Ordinals of crossed parts begin here: a schedule never has as many slices."""


class NettingStore(Journal, Steps, Ledger, Protocol):
    """What crossing reads and writes."""


class Netter:
    """Crosses what is ready on one chain. Keeps nothing."""

    def __init__(
        self, store: NettingStore, clock: Clock, ids: IdSource, rules: ChainRules, gate: Gate
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._rules = rules
        self._gate = gate

    async def net(self, lane: Lane, snapshot: Snapshot) -> int:
        """Cross what can be; return how many sales took part. Nothing unless strategies want it."""
        if not self._rules.netting:
            return 0
        steps = await self._willing()
        pairs = {(step.sell, step.buy) for step in steps}
        if not any((buy, sell) in pairs for sell, buy in pairs):
            return 0
        names = sorted({step.strategy_id for step in steps})
        holdings = await asyncio.gather(*(self._store.holdings(name) for name in names))
        available = {
            (each.strategy_id, each.asset): each.units
            for lines in holdings
            for each in lines
            if each.bucket is Bucket.AVAILABLE
        }
        mids = _mids(pairs, snapshot)
        done = 0
        for _ in range(ROUNDS):
            denied: set[UUID] = set()
            for parts in crossings(steps, mids, available, self._rules.netting):
                shares, wrong = await self._cleared(parts)
                denied |= wrong
                if not wrong and await self._book(lane, parts, shares, mids, snapshot):
                    done += len(parts)
            if done or not denied:
                break
            steps = [step for step in steps if step.id not in denied]
        return done

    async def _cleared(self, parts: Sequence[Crossed]) -> tuple[Shares, set[UUID]]:
        """Ask policy for a crossing's sales; return the shares they take, and who is denied."""
        clearings = await self._gate.crossing(parts)
        pairs = list(zip(parts, clearings, strict=True))
        for part, each in pairs:
            if not isinstance(each, Allowed):
                log.info("crossing_denied", step_id=str(part.step.id), denial=str(each))
        denied = {part.step.id for part, each in pairs if not isinstance(each, Allowed)}
        return [s for _, c in pairs if isinstance(c, Allowed) for s in c.reservations], denied

    async def _willing(self) -> list[Step]:
        """Return ready sales that may take part: not halted, in time, and funding no other step."""
        ready = await self._store.ready_steps(self._rules.chain_id, LOOK)
        now, chain_id = self._clock.now(), self._rules.chain_id
        kept = []
        for step in ready:
            sending = Sending(
                chain_id=chain_id, strategy_id=step.strategy_id, intent_id=step.intent_id
            )
            if step.strategy_id not in self._rules.netting or step.deadline <= now:
                continue
            if self._gate.board.stop(sending) is None:
                kept.append(step)
        around = await self._store.steps_of(sorted({each.intent_id for each in kept}))
        funding = {name for step in around for name in step.after}
        return [step for step in kept if step.id not in funding]

    async def _book(
        self,
        lane: Lane,
        parts: Sequence[Crossed],
        shares: Shares,
        mids: Mapping[tuple[Asset, Asset], Ratio],
        snapshot: Snapshot,
    ) -> bool:
        netting_id = self._ids.next()
        commit = netting(netting_id, parts, mids, snapshot)
        commit = replace(
            commit,
            at=self._clock.now(),
            fence=lane.fence,
            reservations=tuple(shares),
            policy_version=self._gate.version,
        )
        try:
            await self._store.commit(commit)
        except (VersionConflict, InsufficientBalance, LimitExceeded) as error:
            log.info("netting_not_booked", chain_id=self._rules.chain_id, why=str(error))
            return False
        log.info("sales_netted", chain_id=self._rules.chain_id, steps=len(parts))
        return True


def netting(
    netting_id: UUID,
    parts: Sequence[Crossed],
    mids: Mapping[tuple[Asset, Asset], Ratio],
    snapshot: Snapshot,
) -> Commit:
    """Return a crossing as one commit: its own event first, then each sale's, and the ledger's
    lines. Its instant and fence are the writer's to set."""
    low, high = sorted((parts[0].step.sell, parts[0].step.buy))
    given: dict[Asset, dict[str, int]] = {low: defaultdict(int), high: defaultdict(int)}
    appends: list[Append] = []
    states: list[State] = []
    for part in parts:
        owner = part.step.strategy_id
        given[part.step.sell][owner] -= part.sold
        given[part.step.buy][owner] += part.bought
        price = mids[low, high] if part.step.sell == low else mids[low, high][::-1]
        for step, events in _told(part, netting_id, (price[0], price[1])):
            after: Step | None = step if step.version else None
            for event in events:
                after = evolve_step(after, event)
            if after is not None:
                states.append(after)
            appends.append(
                Append(
                    stream_id=step.stream_id,
                    expected_version=step.version,
                    events=events,
                    correlation_id=step.intent_id,
                    causation_id=netting_id,
                )
            )
    moved = {asset: sum(p.sold for p in parts if p.step.sell == asset) for asset in (low, high)}
    said = SalesNetted(
        low=low,
        high=high,
        price=mids[low, high],
        low_units=moved[low],
        high_units=moved[high],
        block_number=snapshot.block_number,
        block_hash=snapshot.block_hash,
    )
    first = Append(
        stream_id=f"account/{snapshot.chain_id}/{netting_id}",
        expected_version=0,
        events=(said,),
        correlation_id=netting_id,
    )
    lines: tuple[Posting, ...] = tuple(
        line for asset, its in given.items() for line in ledger.exchange(asset, its)
    )
    return Commit(
        at=parts[0].step.due, appends=(first, *appends), states=tuple(states), postings=lines
    )


def _told(
    part: Crossed, netting_id: UUID, price: Ratio
) -> list[tuple[Step, tuple[StepEvent, ...]]]:
    """Return what is written about a sale: done as a whole, or in part by a step beside it."""
    step = part.step
    netted = StepNetted(sold=part.sold, bought=part.bought, netting_id=netting_id, price=price)
    if part.sold == step.amount:
        return [(step, (netted,))]
    ordinal = CHILD_ORDINAL + step.ordinal * 1_000 + step.version
    child = replace(
        step,
        id=derived_id(step.intent_id, ordinal),
        ordinal=ordinal,
        amount=part.sold,
        version=0,
    )
    reduced = StepReduced(amount=step.amount - part.sold, netting_id=netting_id)
    return [(step, (reduced,)), (child, (StepCreated(step=child), netted))]


def _mids(pairs: set[tuple[Asset, Asset]], snapshot: Snapshot) -> dict[tuple[Asset, Asset], Ratio]:
    """Return the mids of pairs wanted both ways, where time has borne them out."""
    found: dict[tuple[Asset, Asset], Ratio] = {}
    for sell, buy in sorted(pairs):
        if sell > buy or (buy, sell) not in pairs:
            continue
        mid = mid_price(snapshot, sell, buy)
        if isinstance(mid, NoRoute):
            continue
        if not strays(mid, sell.address, buy.address, snapshot, TOLERANCE_PPM):
            found[sell, buy] = mid
    return found
