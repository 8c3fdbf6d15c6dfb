"""What used a nonce, from the chain's evidence alone: the same evidence gives the same answer.

A nonce that moved proves nothing about our transaction, and a missing receipt neither (P6). What
is asked for is the transaction that used it: ours, and it landed; another's, and ours never can,
once that is final. Where the chain shows neither within bounds, a person has to look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from sep_ray.engine.lane import Lane
from sep_ray.execution.attempt import Attempt, AttemptStatus
from sep_ray.execution.ports import Evidence, Head, Outgoing
from sep_ray.kernel.errors import SepError

log = structlog.get_logger()

SEARCHED: Final = 64
"""Blocks before the head that are searched for what used a nonce."""
EVERY: Final = 4
"""Heads after which the search is repeated while nothing is found."""
PATIENCE: Final = 3
"""How many times as long as facts take to be final one looks before a person is asked."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Nothing can be said yet."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another transaction used the nonce, and that is final."""

    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The chain shows nothing within bounds; `detail` is what was asked."""

    detail: str


Fate = Waits | Foreign | Unknown


def fate(attempt: Attempt, user: Outgoing | None, since: int, head: Head, last: int) -> Fate:
    """Return what is known of an attempt without a receipt whose nonce is used.

    `since` is the head at which that was first seen, `last` the blocks after which facts are final.
    """
    if user is not None:
        receipt = user.receipt
        if head.number - receipt.block_number < last:
            return Waits()
        return Foreign(
            f"nonce {attempt.nonce} was used by {receipt.tx_hash} in block "
            f"{receipt.block_number} ({receipt.block_hash}), which is not ours"
        )
    if head.number - since < PATIENCE * last:
        return Waits()
    hashes = ", ".join(signed.tx_hash for signed in attempt.signed)
    return Unknown(
        f"nonce {attempt.nonce} of {attempt.account} is used since block {since}, no receipt of "
        f"{hashes}, and no transaction of the account with this nonce in the {SEARCHED} blocks up "
        f"to {head.number} ({head.hash})"
    )


class Reconciler:
    """Asks the chain what used nonces."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence

    async def users(
        self, lane: Lane, missing: Sequence[Attempt], head: Head
    ) -> Mapping[int, Outgoing]:
        """Return the transactions that used these attempts' nonces, by nonce, as far as found."""
        wanted = [
            attempt
            for attempt in missing
            if (head.number - lane.missing.get(attempt.id, head.number)) % EVERY == 0
            or attempt.nonce in lane.users
        ]
        if not wanted:
            return {}
        first = max(head.number - SEARCHED, 0)
        try:
            found = await self._evidence.sent_by(lane.account, first, head.number)
        except SepError as error:
            log.warning("evidence_unanswered", lane=lane.name, why=str(error))
            return {}
        lane.users = {each.nonce for each in found}
        nonces = {attempt.nonce for attempt in wanted}
        return {each.nonce: each for each in found if each.nonce in nonces}


def undecidable(attempt: Attempt, found: Fate) -> bool:
    """Whether a person has to be asked, and has not been."""
    return isinstance(found, Unknown) and attempt.status is not AttemptStatus.NEEDS_OPERATOR
