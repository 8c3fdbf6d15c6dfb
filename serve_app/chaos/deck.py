"""Which faults come, in which order: a shuffled deck, so that each kind has its share.

A hundred faults hold every kind at least once; five hundred hold each of them five times or more.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from typing import Any, Final

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.points import Point

CARDS: Final[Mapping[str, int]] = {
    "kill_executor": 5,
    "kill_router": 3,
    "kill_supervisor": 2,
    "kill_strategy": 2,
    "kill_settlement": 2,
    "kill_api_replica": 3,
    "kill_model_replica": 1,
    "kill_postgres": 2,
    "kill_redis": 2,
    "kill_chain": 2,
    "kill_proxy": 2,
    "pause_executor": 2,
    **{f"die_{point.value}": 1 for point in Point},
    "rpc_drop": 9,
    "rpc_cut": 9,
    "rpc_fail": 9,
    "rpc_delay": 8,
    "rpc_swallow": 9,
    "rpc_hold": 9,
    "rpc_lag": 9,
}
"""How often each kind lies in one deck."""
CALLS: Final = ("eth_call", "eth_getTransactionReceipt", "eth_getBlockByNumber", "eth_getLogs")
SEND: Final = "eth_sendRawTransaction"


class Deck:
    """Deals kinds of faults; a new deck is shuffled when one is through."""

    def __init__(self, chance: random.Random, only: Collection[str] = ()) -> None:
        """With `only`, all other kinds are left out. Raises Rejected for an unknown kind."""
        if unknown := sorted(set(only) - set(CARDS)):
            raise Rejected("no such kind of fault", kinds=unknown, known=sorted(CARDS))
        self._chance = chance
        self._kinds = [k for k, n in CARDS.items() if not only or k in only for _ in range(n)]
        self._left: list[str] = []

    def deal(self) -> str:
        """Return the next kind."""
        if not self._left:
            self._left = self._chance.sample(self._kinds, len(self._kinds))
        return self._left.pop()


def misbehaviour(fault: str, chance: random.Random) -> dict[str, Any]:
    """Return a rule by which a node misbehaves for a few calls."""
    few = chance.randrange(1, 5)
    method = chance.choice((*CALLS, SEND, "*"))
    rules: dict[str, dict[str, Any]] = {
        "drop": {"methods": [chance.choice((SEND, method))], "count": few},
        "cut": {"methods": [method], "count": few},
        "fail": {"methods": [method], "count": few, "status": chance.choice([None, 429, 503])},
        "delay": {"methods": [method], "count": few, "delay_ms": chance.randrange(50, 1_500)},
        "swallow": {"methods": [SEND], "count": 1},
        "hold": {"methods": [SEND], "count": 1},
        "lag": {"methods": [method], "count": few, "blocks": chance.randrange(1, 4)},
    }
    return {"fault": fault, **rules[fault]}
