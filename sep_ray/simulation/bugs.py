"""Planted bugs: what the simulation must find, or it finds nothing.

Each takes one named function of the engine and puts another in its place while it is planted, in
this process and nowhere else. No file is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from sep_ray.decomposition import schedule
from sep_ray.decomposition.step import StepRescheduled
from sep_ray.engine import booking, router, settling
from sep_ray.engine.audit import Auditor
from sep_ray.engine.booking import Writer
from sep_ray.engine.entitling import Entitlement
from sep_ray.engine.lane import Lane
from sep_ray.engine.launching import Launcher
from sep_ray.engine.reconciling import Foreign
from sep_ray.engine.settling import Settler
from sep_ray.execution import verdict
from sep_ray.execution.attempt import AttemptStatus
from sep_ray.execution.verdict import Refusal
from sep_ray.intent.states import Reason
from sep_ray.journal.standing import Standing
from sep_ray.portfolio import ledger

Make = Callable[[Any], Any]
"""Takes the sound function and returns the unsound one."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One mistake: what it is in words, and which attribute of what becomes what."""

    words: str
    owner: Any
    attribute: str
    make: Make

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have it while the context lasts."""
        sound = vars(self.owner)[self.attribute]
        setattr(self.owner, self.attribute, self.make(sound))
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, sound)


def always(answer: Any) -> Make:
    """Make a function that returns this whatever it is asked."""
    return lambda sound: lambda *args, **kwargs: answer


def always_async(answer: Any) -> Make:
    """Make a coroutine function that returns this whatever it is asked."""

    def make(sound: Any) -> Any:
        async def answered(*args: Any, **kwargs: Any) -> Any:
            return answer

        return answered

    return make


def _sent_first(sound: Any) -> Any:
    async def record(self: Any, lane: Any, prepared: Any) -> Any:
        await self._chain.send([attempt.newest for attempt, _ in prepared])
        return await sound(self, lane, prepared)

    return record


def _own_memory(sound: Any) -> Any:
    def load(self: Any, *known: Any) -> None:
        sound(self, *known[:-1], self.next_nonce)

    return load


def _unlooked(sound: Any) -> Any:
    return lambda self, attempt, user, since, head: Foreign("nobody looked")


def _at_once(sound: Any) -> Any:
    async def finalize(self: Any, lane: Any, head: Any) -> Any:
        rules, self._rules = self._rules, replace(self._rules, confirmations=0)
        try:
            return await sound(self, lane, head)
        finally:
            self._rules = rules

    return finalize


def _bought_twice(sound: Any) -> Any:
    def lines(*args: Any, **kwargs: Any) -> Any:
        found = sound(*args, **kwargs)
        return (*found, *found[-2:])  # the last pair is what was bought

    return lines


def _released_twice(sound: Any) -> Any:
    def over(*args: Any, **kwargs: Any) -> Any:
        events, lines = sound(*args, **kwargs)
        return events, lines * 2

    return over


class _Certain:
    """A chain whose silence is taken for a no."""

    def __init__(self, chain: Any) -> None:
        self._chain = chain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def send(self, signed: Any, since: Any = ()) -> Any:
        found = await self._chain.send(signed, since)
        no = verdict.Rejected(Refusal.POOL_FULL, "no answer")
        return tuple(no if isinstance(v, verdict.Indeterminate) else v for v in found)


def _silence_is_no(sound: Any) -> Any:
    async def broadcast(self: Any, *args: Any, **kwargs: Any) -> Any:
        chain, self._chain = self._chain, _Certain(self._chain)
        try:
            return await sound(self, *args, **kwargs)
        finally:
            self._chain = chain

    return broadcast


def _at_another_nonce(sound: Any) -> Any:
    def replacement(self: Any, lane: Any, *args: Any, **kwargs: Any) -> Any:
        unsigned = sound(self, lane, *args, **kwargs)
        if unsigned is None:
            return None
        lane.next_nonce += 1
        return replace(unsigned, nonce=lane.next_nonce - 1)

    return replacement


def _cancel_is_fill(sound: Any) -> Any:
    def landing(attempt: Any, *args: Any, **kwargs: Any) -> Any:
        blind = tuple(replace(version, cancel=False) for version in attempt.signed)
        return sound(replace(attempt, signed=blind), *args, **kwargs)

    return landing


def _too_much_later(sound: Any) -> Any:
    def respread(*args: Any, **kwargs: Any) -> Any:
        return tuple(
            (step, tuple(_doubled(event) for event in events))
            for step, events in sound(*args, **kwargs)
        )

    return respread


def _doubled(event: Any) -> Any:
    return replace(event, amount=2 * event.amount) if isinstance(event, StepRescheduled) else event


def _counted_chickens(sound: Any) -> Any:
    def broadcast(self: Any, attempt: Any, step: Any, block_number: int, answer: str) -> Any:
        found = sound(self, attempt, step, block_number, answer)
        swap = booking._swap_of(attempt, step)
        if swap is None:
            return found
        early = ledger.fund(
            swap.buy, swap.quoted, f"{attempt.id}/0", swap.strategy_id, account=attempt.account
        )
        return replace(found, commit=replace(found.commit, postings=early))

    return broadcast


def _unfenced(sound: Any) -> Any:
    def take(self: Any, commit: Any) -> None:
        self.fences |= {commit.fence}
        sound(self, commit)

    return take


def _newest_only(sound: Any) -> Any:
    return lambda attempt, receipts: receipts.get(attempt.newest.tx_hash)


def _hasty_end(sound: Any) -> Any:
    def conclusion(record: Any, steps: Sequence[Any]) -> Any:
        return sound(record, [replace(step, final=True) for step in steps])

    return conclusion


def _retried_at_once(sound: Any) -> Any:
    def landed(self: Any, attempt: Any, step: Any, receipt: Any, detail: str) -> Any:
        found = sound(self, attempt, step, receipt, detail)
        swap = booking._swap_of(attempt, step)
        if swap is None or found.attempt.status is not AttemptStatus.REVERTED:
            return found
        again, lines = booking._over(attempt, step, Reason.REVERTED, "at once", 3)
        parts = booking._landing(attempt, step, receipt, detail)
        return self._booking(attempt, parts[0], step, again, (*parts[2], *lines))

    return landed


BUGS: Final[Mapping[str, Bug]] = {
    "lease-unchecked": Bug(
        "the lease is not looked at before signing and sending",
        Entitlement,
        "_led",
        always_async(None),
    ),
    "write-unfenced": Bug("the database takes writes of any epoch", Standing, "take", _unfenced),
    "versions-unchecked": Bug(
        "the database takes writes decided on what has changed since",
        Standing,
        "_require_version",
        always(None),
    ),
    "sent-before-journal": Bug(
        "bytes are sent before they are durable", Launcher, "_record", _sent_first
    ),
    "nonce-from-memory": Bug("the next nonce is remembered, not read", Lane, "load", _own_memory),
    "resent-without-lookup": Bug(
        "a missing receipt is taken for another's use of the nonce", Settler, "_fate", _unlooked
    ),
    "newest-version-only": Bug(
        "an earlier version of a raised transaction is not recognised",
        settling,
        "_receipt_of",
        _newest_only,
    ),
    "reorg-ignored": Bug("blocks that go are not noticed", Settler, "_gone", always_async([])),
    "final-too-early": Bug("a block is final at once", Settler, "_finalize", _at_once),
    "end-before-final": Bug(
        "an intent ends on a fill that may go", router, "conclusion", _hasty_end
    ),
    "revert-retried-at-once": Bug(
        "a step tries again before its revert is final", Writer, "landed", _retried_at_once
    ),
    "fill-booked-twice": Bug(
        "what was bought is booked twice", booking, "_fill_lines", _bought_twice
    ),
    "reserve-released-twice": Bug(
        "a reserve is given back twice", booking, "_over", _released_twice
    ),
    "credited-when-sent": Bug(
        "proceeds are booked when the swap is sent", Writer, "broadcast", _counted_chickens
    ),
    "cancel-is-fill": Bug(
        "a cancelling transaction counts as the swap", booking, "_landing", _cancel_is_fill
    ),
    "timeout-is-failure": Bug(
        "no answer is taken for a refusal", Launcher, "broadcast", _silence_is_no
    ),
    "raised-at-new-nonce": Bug(
        "a replacement takes a nonce of its own", Launcher, "_replacement", _at_another_nonce
    ),
    "gap-left": Bug("a gap in the nonces is not filled", Launcher, "_fill", always_async([])),
    "audit-blind": Bug("the audit agrees with everything", Auditor, "check", always_async(True)),
    "refuelling-taken-for-a-gift": Bug(
        "coin from another account of ours is booked as if others had sent it",
        Auditor,
        "_refuelled",
        always_async(False),
    ),
    "catch-up-over-amount": Bug(
        "moved slices are twice as large", schedule, "_respread", _too_much_later
    ),
}
