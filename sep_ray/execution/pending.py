"""What to do next about an attempt that is not in a block yet. Pure; the chain decides fates."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sep_ray.execution.attempt import Attempt, AttemptStatus, Purpose
from sep_ray.execution.ports import Head
from sep_ray.execution.verdict import Refusal
from sep_ray.kernel.clock import Millis


class Move(StrEnum):
    """The next thing to do."""

    WAIT = "wait"
    SEND = "send"  # the same bytes, first time or again
    BUMP = "bump"  # the same call at the same nonce for more
    REPLAN = "replan"  # another call at the same nonce for more, or nothing
    CANCEL = "cancel"  # nothing at the same nonce for more
    EXPIRE = "expire"  # no node holds it and no later nonce needs it: take it back


HOPELESS: Final = frozenset({Refusal.MALFORMED, Refusal.GAS_LIMIT, Refusal.FEE_ABOVE_CAP})
"""Refusals that sending the same bytes again cannot cure."""

TIMELY: Final = frozenset({Purpose.SWAP, Purpose.DEPARTURE})
"""Purposes whose calls are worth nothing, or can only revert, after the deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known when the next move is chosen.

    * `first`: it is the lowest nonce not in a block: all others wait for it
    * `top`: no attempt of ours has a higher nonce
    * `refused`: the node's last word in this process, None when it took the bytes or never spoke
    * `unsure`: the last handing over had no answer
    * `doomed`: it would revert now
    * `own`: signed by this process since it read the journal, so nobody before it can have sent it
    """

    head: Head
    now: Millis
    first: bool
    top: bool
    refused: Refusal | None
    unsure: bool
    own: bool
    doomed: bool
    resend_blocks: int
    stall_blocks: int


def next_move(attempt: Attempt, at: Circumstances) -> Move:
    """Return the next move for a PREPARED or BROADCAST attempt, or one whose block is gone while
    what it earned is in use, so that it cannot be put back: it has to land again.

    A fee below the next base fee cannot land, so it is raised at once. The same bytes are sent
    again every `resend_blocks`, because a node may have lost them, and after `stall_blocks`, when
    nothing of ours stands before it, for more. Past its deadline a swap could only revert: then
    its nonce is used up instead, at once. One that would revert for another reason is planned anew.
    """
    late = at.now >= attempt.deadline and attempt.purpose in TIMELY
    priced_out = attempt.newest.max_fee_wei < at.head.next_base_fee_wei
    if attempt.inclusion is not None:
        return _raise(attempt, late) if priced_out else Move.SEND
    if at.refused is not None and attempt.status is AttemptStatus.PREPARED:
        if at.now >= attempt.deadline and _never_sent(attempt, at):
            return Move.EXPIRE
        return _after_refusal(attempt, at, at.refused, late)
    if priced_out:
        return _raise(attempt, late)
    if attempt.sent_block is None or attempt.status is AttemptStatus.PREPARED or at.unsure:
        return Move.SEND
    return _watched(attempt, at, attempt.sent_block, late)


def _watched(attempt: Attempt, at: Circumstances, sent_block: int, late: bool) -> Move:
    """Return the next move for what a node was handed."""
    if (late or at.doomed) and not attempt.newest.cancel:
        return Move.CANCEL if late else Move.REPLAN
    waited = at.head.number - sent_block
    if at.first and waited > 0 and waited % at.stall_blocks == 0:
        return _raise(attempt, late)
    return Move.SEND if waited > 0 and waited % at.resend_blocks == 0 else Move.WAIT


def _never_sent(attempt: Attempt, at: Circumstances) -> bool:
    """Whether nobody holds these bytes and no later nonce needs theirs: then it may be given back.

    A nonce that is used already may have been used by them.
    """
    alone = at.own and at.top and len(attempt.signed) == 1
    return alone and at.refused is not Refusal.NONCE_TOO_LOW


def _after_refusal(attempt: Attempt, at: Circumstances, refused: Refusal, late: bool) -> Move:
    if refused in HOPELESS:
        return Move.WAIT if attempt.newest.cancel else Move.CANCEL
    if refused is Refusal.REPLACEMENT_UNDERPRICED:
        return _raise(attempt, late)
    if attempt.newest.max_fee_wei < at.head.next_base_fee_wei:
        return _raise(attempt, late)
    return Move.SEND


def _raise(attempt: Attempt, late: bool) -> Move:
    return Move.CANCEL if late or attempt.newest.cancel else Move.BUMP
