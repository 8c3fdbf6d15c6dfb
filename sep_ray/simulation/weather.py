"""What goes wrong on a day, and how often: drawn from the seed, most kinds absent on most days.

Days on which a few things go wrong often find more than days on which everything does a little.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace


@dataclass(slots=True, kw_only=True)
class Weather:
    """Chances, 0..1: per call for connections, per block for the chain, per second for processes.

    Connections: `latency` a call takes time; `read_fails`; `commit_unknown` (half of them done);
    `send_lost` before the node, `send_unanswered` after it, `send_held` and delivered later,
    `send_twice`, `send_swallowed` (accepted and forgotten), `send_refused` (a full pool);
    `receipts_late` (a node that lags);
    `head_late`, `head_lies` (a hash nobody mined), `header_lies`.
    Chain: `reorganised`, `pool_lost`, `shock`, `gift`, `crowded`, `fee_moves`.
    Processes: `crash`, `crash_at_point`, `pause`, `rival`, `clock_jump`.
    """

    latency: float
    read_fails: float
    commit_unknown: float
    send_lost: float
    send_unanswered: float
    send_held: float
    send_twice: float
    send_swallowed: float
    send_refused: float
    receipts_late: float
    head_late: float
    head_lies: float
    header_lies: float
    reorganised: float
    pool_lost: float
    shock: float
    gift: float
    crowded: float
    fee_moves: float
    crash: float
    crash_at_point: float
    pause: float
    rival: float
    clock_jump: float

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        for field in fields(self):
            setattr(self, field.name, 0.0)


WORST = Weather(
    latency=0.5,
    read_fails=0.08,
    commit_unknown=0.05,
    send_lost=0.3,
    send_unanswered=0.3,
    send_held=0.3,
    send_twice=0.3,
    send_swallowed=0.3,
    send_refused=0.7,
    receipts_late=0.2,
    head_late=0.3,
    head_lies=0.1,
    header_lies=0.1,
    reorganised=0.3,
    pool_lost=0.3,
    shock=0.3,
    gift=0.3,
    crowded=0.6,
    fee_moves=0.5,
    crash=0.4,
    crash_at_point=0.5,
    pause=0.3,
    rival=0.3,
    clock_jump=0.2,
)
CLEAR = 0.55
"""The share of kinds that are absent on a day."""


def drawn(chance: random.Random) -> Weather:
    """Draw a day's weather: each kind is absent, or up to its worst."""
    found = {
        field.name: 0.0
        if chance.random() < CLEAR
        else getattr(WORST, field.name) * chance.uniform(0.2, 1.0)
        for field in fields(Weather)
    }
    return replace(WORST, **found)
