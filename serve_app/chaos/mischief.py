"""One fault after the other: kills, pauses, deaths at named points, nodes that misbehave."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sep_ray.devnet.faults.control import FaultControl
from sep_ray.kernel.errors import SepError, Transient
from sep_ray.kernel.points import Point
from serve_app.chaos import pausing
from serve_app.chaos.books import Books
from serve_app.chaos.deck import SEND, misbehaviour
from serve_app.chaos.flow import CHAINS, Flow
from serve_app.chaos.resuming import RESUME_S, Resuming, within
from serve_app.chaos.targets import Targets, alive

TAKEN_S: Final = 25.0
"""How long a named point is waited for."""
DEAD_S: Final = 20.0
"""Within which what was killed is gone."""
SWALLOWED: Final = 500
"""Sendings a node loses so that a transaction stalls until it is offered more."""
STARTING: Final = (Point.LEASE_TAKEN, Point.BOOKS_READ)
"""Points that an executor passes when it starts."""
DECIDING: Final = (Point.DECIDED, Point.RECORDED)
"""The router's points; all others are an executor's."""


class Mischief:
    """Does faults to one platform and waits until it works again."""

    def __init__(
        self,
        targets: Targets,
        books: Books,
        flow: Flow,
        proxies: Mapping[int, str],
        chance: random.Random,
    ) -> None:
        self._targets = targets
        self._books = books
        self._proxies = proxies
        self._chance = chance
        self._resuming = Resuming(targets, books, flow)
        self.tally = self._resuming.tally

    def strike(self, fault: str) -> bool:
        """Do one fault of a kind in CARDS; whether it could be done."""
        manner, _, name = fault.partition("_")
        does: Mapping[str, Callable[[str], bool]] = {
            "kill": self._kill,
            "pause": self._pause,
            "die": self._die,
            "rpc": self._misbehave,
        }
        self._resuming.look()
        done = does[manner](name)
        (self.tally.faults if done else self.tally.not_done)[fault] += 1
        return done

    def calm_down(self) -> None:
        """Take all rules and orders away; what was held is delivered."""
        for url in self._proxies.values():
            for act in (FaultControl(url).clear, FaultControl(url).release):
                _patiently(act)
        for point in Point:
            self._targets.order(point).unlink(missing_ok=True)

    def _kill(self, kind: str) -> bool:
        before = self._targets.pids(kind)
        if not before:
            return False
        pid = self._chance.choice(before)
        chains = self._chains_of(kind, pid)
        began = time.monotonic()
        try:
            self._targets.kill(kind, pid)
        except (ProcessLookupError, Transient):
            return False
        self._resuming.gone(kind, began, before)
        self._await(f"kill_{kind}", kind, before, began, chains, lambda: not alive(pid))
        return True

    def _await(
        self,
        fault: str,
        kind: str,
        before: list[int],
        began: float,
        chains: frozenset[int],
        dead: Callable[[], bool],
    ) -> None:
        """Wait for progress after the death, so that what the dead one wrote does not count."""
        within(DEAD_S, dead)
        if kind == "postgres":
            within(RESUME_S, lambda: bool(set(self._targets.pids(kind)) - set(before)))
        since = self._resuming.mark()
        if since is None:
            self.tally.stuck.append(fault)
            return
        self._resuming.wait(fault, began, self._resuming.works(kind, before, since, chains))

    def _chains_of(self, kind: str, pid: int) -> frozenset[int]:
        """Return the chain that a process works for; all of them where nobody knows."""
        if kind == "executor":
            return frozenset(self._books.lanes(pid).values()) or frozenset(CHAINS)
        chain = self._targets.chain_of(kind, pid)
        return frozenset(CHAINS if chain is None else [chain])

    def _pause(self, kind: str) -> bool:
        """Have an executor oversleep its lease; what it sends while another leads is stale."""
        led = {pid: self._books.lanes(pid) for pid in self._targets.pids(kind)}
        led = {pid: lanes for pid, lanes in led.items() if lanes}
        if not led:
            return False
        pid = self._chance.choice(sorted(led))
        (chain,) = set(led[pid].values())
        control = FaultControl(self._proxies[chain])
        try:
            control.clear()
            control.release()
            woken = pausing.pause(self._books.url, pid, sorted(led[pid]))
            sends = control.show()["sends"]
        except (SepError, ProcessLookupError):
            return False
        if woken is None:
            return False
        began = time.monotonic()
        self.tally.stale += [f"{chain} {at:.3f}" for at in woken.stale(sends)]
        self._await("pause_executor", kind, [], began, frozenset([chain]), lambda: True)
        return True

    def _die(self, name: str) -> bool:
        """Have a process die at a named point, after what makes one come there."""
        point = Point(name)
        kind = "router" if point in DECIDING else "executor"
        before = self._targets.pids(kind)
        led = {pid: self._chains_of(kind, pid) for pid in before}
        order = self._targets.order(point)
        try:
            with self._provoked(point):
                taken = within(TAKEN_S, lambda: not order.exists())
        except (SepError, ProcessLookupError):
            taken = not order.exists()
        began = time.monotonic()
        if not taken:
            order.unlink(missing_ok=True)
            return False
        within(1.0, lambda: not all(map(alive, before)))
        dead = [pid for pid in before if not alive(pid)]
        chains = led[dead[0]] if len(dead) == 1 else frozenset(CHAINS)
        self._await(f"die_{name}", kind, before, began, chains, lambda: True)
        return True

    @contextmanager
    def _provoked(self, point: Point) -> Iterator[None]:
        """Bring about what leads to a point; most are passed all the time."""
        controls = {url: FaultControl(url) for url in self._proxies.values()}
        rules: dict[str, int] = {}
        if point in STARTING:
            pids = self._targets.pids("executor")
            if pids:
                self._targets.kill("executor", self._chance.choice(pids))
        elif point is Point.REPRICED:
            for url, control in controls.items():
                rules[url] = control.add(fault="swallow", methods=[SEND], count=SWALLOWED)
        elif point is Point.OBSERVED:
            self._targets.give(self._chance.choice(CHAINS), self._books.account())
        try:
            yield
        finally:
            for url, number in rules.items():
                controls[url].remove(number)

    def _misbehave(self, fault: str) -> bool:
        """Have a node misbehave for a few calls."""
        rule = misbehaviour(fault, self._chance)
        control = FaultControl(self._proxies[self._chance.choice(CHAINS)])
        try:
            control.add(**rule)
            time.sleep(self._chance.uniform(0.1, 0.5))
            if fault == "hold":
                time.sleep(self._chance.uniform(0.5, 3.0))
                control.release()
        except SepError:
            return False
        return True


def _patiently(act: Callable[[], object]) -> None:
    def done() -> bool:
        try:
            act()
        except SepError:
            return False
        return True

    within(RESUME_S, done)
