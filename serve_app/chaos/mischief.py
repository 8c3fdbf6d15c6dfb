"""One fault after the other: kills, deaths at named points, nodes that misbehave."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sep_ray.devnet.faults.control import FaultControl
from sep_ray.kernel.errors import SepError
from sep_ray.kernel.points import Point
from serve_app.chaos.books import Books
from serve_app.chaos.flow import CHAINS, Flow
from serve_app.chaos.targets import Targets, alive

KILLS: Final[Mapping[str, int]] = {
    "executor": 6,
    "router": 4,
    "supervisor": 2,
    "strategy": 2,
    "settlement": 2,
    "api_replica": 3,
    "model_replica": 1,
    "postgres": 2,
    "redis": 2,
    "chain": 2,
    "proxy": 3,
}
"""How often each is killed, in proportion."""
CALLS: Final = ("eth_call", "eth_getTransactionReceipt", "eth_getBlockByNumber", "eth_getLogs")
SEND: Final = "eth_sendRawTransaction"
RESUME_S: Final = 60.0
"""Within so many seconds whatever was killed must work again."""
TAKEN_S: Final = 8.0
"""How long a named point is waited for."""
POLL_S: Final = 0.1


@dataclass(slots=True)
class Tally:
    """What was done and how long it took to work again."""

    faults: Counter[str] = field(default_factory=Counter)
    resumed: list[tuple[str, float]] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)


class Mischief:
    """Draws faults from a seed and does them to one platform."""

    def __init__(
        self, targets: Targets, books: Books, flow: Flow, proxies: Mapping[int, str], seed: int
    ) -> None:
        self._targets = targets
        self._books = books
        self._flow = flow
        self._proxies = proxies
        self._chance = random.Random(seed)
        self.tally = Tally()

    def strike(self) -> str:
        """Do one fault and return its kind; "" when it could not be done."""
        luck = self._chance.random()
        if luck < 0.25:
            kind = self._kill()
        elif luck < 0.35:
            kind = self._die_at_a_point()
        else:
            kind = self._misbehave()
        if kind:
            self.tally.faults[kind] += 1
        return kind

    def calm_down(self) -> None:
        """Take all rules and orders away; what was held is delivered."""
        for url in self._proxies.values():
            for act in (FaultControl(url).clear, FaultControl(url).release):
                _patiently(act)
        for point in Point:
            self._targets.order(point).unlink(missing_ok=True)

    def _kill(self) -> str:
        kind = self._chance.choices(list(KILLS), weights=list(KILLS.values()))[0]
        pids = self._targets.pids(kind)
        before = self._books.newest()
        if not pids or before is None:
            return ""
        pid = self._chance.choice(pids)
        began = time.monotonic()
        try:
            self._targets.kill(kind, pid)
        except ProcessLookupError:
            return ""
        self._await(f"kill_{kind}", began, self._works_again(kind, pid, before))
        return f"kill_{kind}"

    def _die_at_a_point(self) -> str:
        point = self._chance.choice(list(Point))
        before = self._books.newest()
        if before is None:
            return ""
        order = self._targets.order(point)
        if not within(TAKEN_S, lambda: not order.exists()):
            _forget(order)
            return ""
        kind = "router" if point in (Point.DECIDED, Point.RECORDED) else "executor"
        began = time.monotonic()
        after = self._books.newest() or before
        self._await(f"die_{point.value}", began, self._works_again(kind, 0, after))
        return f"die_{point.value}"

    def _works_again(self, kind: str, pid: int, before: int) -> Callable[[], bool]:
        """Return what tells that a part does its work again: its own entries in the journal."""
        books, targets = self._books, self._targets
        everywhere = frozenset(CHAINS)
        match kind:
            case "executor" | "postgres":
                return lambda: books.chains_since(before, "Attempt%") == everywhere
            case "chain" | "proxy":
                return lambda: books.chains_since(before, "AttemptIncluded") == everywhere
            case "router":
                return lambda: books.happened_since(before, "IntentDecomposed")
            case "api_replica":
                return lambda: not alive(pid) and books.happened_since(before, "IntentAccepted")
            case _:
                return lambda: any(other != pid for other in targets.pids(kind))

    def _await(self, kind: str, began: float, works: Callable[[], bool]) -> None:
        if within(RESUME_S, works):
            self.tally.resumed.append((kind, time.monotonic() - began))
        else:
            self.tally.stuck.append(kind)

    def _misbehave(self) -> str:
        """Have a node misbehave for a few calls."""
        rule = self._rule()
        control = FaultControl(self._proxies[self._chance.choice(CHAINS)])
        try:
            control.add(**rule)
            time.sleep(self._chance.uniform(0.1, 0.5))
            if rule["fault"] == "hold":
                time.sleep(self._chance.uniform(0.5, 3.0))
                control.release()
        except SepError:
            return ""
        return f"rpc_{rule['fault']}"

    def _rule(self) -> dict[str, Any]:
        chance = self._chance
        few = chance.randrange(1, 5)
        method = chance.choice((*CALLS, SEND, "*"))
        kinds: dict[str, dict[str, Any]] = {
            "drop": {"methods": [chance.choice((SEND, method))], "count": few},
            "cut": {"methods": [method], "count": few},
            "fail": {"methods": [method], "count": few, "status": chance.choice([None, 429, 503])},
            "delay": {"methods": [method], "count": few, "delay_ms": chance.randrange(50, 1_500)},
            "swallow": {"methods": [SEND], "count": 1},
            "hold": {"methods": [SEND], "count": 1},
            "lag": {"methods": [method], "count": few, "blocks": chance.randrange(1, 4)},
        }
        fault = chance.choice(list(kinds))
        return {"fault": fault, **kinds[fault]}


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait until it holds, at most so long; say whether it does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(POLL_S)
    return False


def _forget(order: Path) -> None:
    order.unlink(missing_ok=True)


def _patiently(act: Callable[[], object]) -> None:
    def done() -> bool:
        try:
            act()
        except SepError:
            return False
        return True

    within(RESUME_S, done)
