"""Two whole platforms on one database and the same chains: never both send (P5).

Each sends through a proxy of its own that notes when. The leases are read all the time, and the
leader's executor is stopped for longer than its lease lasts, again and again: it wakes up with
work in its hands and the other leading.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from sep_ray.devnet.faults.control import FaultControl
from sep_ray.devnet.faults.process import spawn_proxy
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.kernel.clock import SystemClock
from serve_app import place, platform
from serve_app.auth import Role, Tokens, token_secret
from serve_app.chaos.books import ENDED, Books, compare
from serve_app.chaos.flow import WINDOW_MS, Flow
from serve_app.chaos.targets import Targets

Report = Callable[[str], None]
TOKEN_S: Final = 6 * 3_600
PAUSE_S: Final = 5.0
"""Longer than a lease lasts."""
BETWEEN_S: Final = 12.0
SAMPLE_S: Final = 0.05
SLACK_S: Final = 0.2
"""How much later than its sending a transaction may be noted."""


@dataclass(frozen=True, slots=True)
class Held:
    """A process that held a lane's lease when it was looked at."""

    at: float
    lane: str
    pid: int
    epoch: int


@dataclass(slots=True)
class Rival:
    """One of the two platforms, and where its transactions pass."""

    name: str
    state: Path
    endpoints: Mapping[str, Any]
    proxies: Mapping[int, str]
    pids: set[int] = field(default_factory=set)

    def targets(self) -> Targets:
        """Return its processes."""
        return Targets(self.state, self.endpoints["pid"], self.state / "points")

    def sends(self) -> list[tuple[float, int]]:
        """Return when it sent, and on which chain."""
        shown = {chain: FaultControl(url).show() for chain, url in self.proxies.items()}
        return [(at, chain) for chain, told in shown.items() for at in told["sends"]]


def run_rivals(seed: int, seconds: float, cache: Path, report: Report) -> dict[str, Any]:
    """Let them work side by side for so long; both are gone afterwards."""
    with ExitStack() as stack:
        first = stack.enter_context(_first(cache, report))
        second = stack.enter_context(_second(first, cache, report))
        return _Contest(first, second, seed, seconds, report).through()


@contextmanager
def _first(cache: Path, report: Report) -> Iterator[Rival]:
    """Bring up the platform that has the chains and the database."""
    with place.folder("sepc-") as state:
        variables = _common() | {"SEP_FAULT_PROXIES": "true"}
        with place.own_settings(state, cache, **variables) as settings:
            endpoints = platform.up(settings, False, report)
        try:
            urls = {int(chain): url for chain, url in endpoints["chains"].items()}
            yield Rival("first", state, endpoints, urls)
        finally:
            platform.down(settings, report)


@contextmanager
def _second(first: Rival, cache: Path, report: Report) -> Iterator[Rival]:
    """Bring up another one with the same keys, on the first one's chains and database."""
    with place.folder("sepd-") as state, ExitStack() as stack:
        proxies = {}
        for chain in first.proxies:
            proxy = spawn_proxy(_node(first.state, chain))
            stack.callback(proxy.stop)
            proxies[chain] = proxy.http
        shutil.copytree(first.state / "secrets", state / "secrets")
        variables = _common() | {
            "SEP_POSTGRES_URL": EmbeddedPostgres(first.state).url(),
            "SEP_ETHEREUM_RPC_URL": proxies[1],
            "SEP_ARBITRUM_RPC_URL": proxies[42161],
        }
        with place.own_settings(state, cache, **variables) as settings:
            endpoints = platform.up(settings, False, report)
        try:
            yield Rival("second", state, endpoints, proxies)
        finally:
            platform.down(settings, report)


def _node(state: Path, chain: int) -> str:
    """Return the address of a platform's own local chain, past its proxy."""
    told = json.loads((state / "chains" / str(chain) / "endpoint.json").read_text())
    return f"http://127.0.0.1:{told['port']}"


def _common() -> dict[str, str]:
    return {"SEP_HTTP_PORT": "0", "SEP_SUBMISSIONS_PER_MINUTE": "100000"}


class _Contest:
    def __init__(
        self, first: Rival, second: Rival, seed: int, seconds: float, report: Report
    ) -> None:
        self._rivals = (first, second)
        self._seconds = seconds
        self._seed = seed
        self._report = report
        self._database = EmbeddedPostgres(first.state).url()
        self._chance = random.Random(seed)
        self._seen: list[Held] = []
        self._over = threading.Event()

    def through(self) -> dict[str, Any]:
        watcher = threading.Thread(target=lambda: asyncio.run(self._watch()), daemon=True)
        watcher.start()
        first = self._rivals[0]
        token = Tokens(token_secret(None, first.state), SystemClock())
        said = token.mint("rivals", Role.ADMIN, TOKEN_S)
        with Flow(first.endpoints["api"], said, self._seed, 0.6) as flow:
            pauses = self._pause_leaders()
            flow.stop()
            open_ = self._await_ends(flow)
            self._over.set()
            watcher.join(10)
            return self._count(flow, pauses, open_)

    def _pause_leaders(self) -> int:
        """Stop whoever leads, and let it go on once the other leads."""
        end, pauses = time.monotonic() + self._seconds, 0
        while time.monotonic() < end:
            time.sleep(min(BETWEEN_S * self._chance.uniform(0.5, 1.0), self._seconds / 4))
            self._note_pids()
            leader = self._seen[-1].pid if self._seen else None
            if leader is None or not any(leader in rival.pids for rival in self._rivals):
                continue
            try:
                os.kill(leader, signal.SIGSTOP)
                time.sleep(PAUSE_S)
            finally:
                os.kill(leader, signal.SIGCONT)
            pauses += 1
            self._report(f"pause {pauses}: process {leader}")
        return pauses

    def _note_pids(self) -> None:
        for rival in self._rivals:
            rival.pids.update(rival.targets().pids("executor"))

    async def _watch(self) -> None:
        """Read who holds which lane's lease, many times a second."""
        connection = await asyncpg.connect(self._database)
        try:
            while not self._over.is_set():
                rows = await connection.fetch(
                    "SELECT name, holder, epoch FROM leases"
                    " WHERE name LIKE 'lane/%' AND expires_at > now()"
                )
                now = time.time()
                for row in rows:
                    pid = int(row["holder"].rpartition("/")[2])
                    self._seen.append(Held(now, row["name"], pid, row["epoch"]))
                await asyncio.sleep(SAMPLE_S)
        finally:
            await connection.close()

    def _await_ends(self, flow: Flow) -> list[str]:
        books = Books(self._database)
        deadline = time.monotonic() + WINDOW_MS / 1_000 + 60
        while True:
            statuses = books.statuses(flow.accepted)
            left = [each for each in flow.accepted if statuses.get(each) not in ENDED]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.5)

    def _count(self, flow: Flow, pauses: int, open_: list[str]) -> dict[str, Any]:
        self._note_pids()
        books, first = Books(self._database), self._rivals[0]
        sends = {rival.name: rival.sends() for rival in self._rivals}
        findings = compare(books.attempts(), first.proxies)
        return {
            "seconds": self._seconds,
            "pauses": pauses,
            "handovers": self._handovers(),
            "accepted": len(flow.accepted),
            "lost": len(open_),
            "sends": {name: len(each) for name, each in sends.items()},
            "stale_broadcasts": sum(
                self._stale(rival, at, chain)
                for rival in self._rivals
                for at, chain in sends[rival.name]
            ),
            "duplicates": len(findings.duplicates),
            "nonce_gaps": findings.gaps[:20],
            "swaps_on_chain": findings.swaps,
        }

    def _stale(self, rival: Rival, at: float, chain: int) -> bool:
        """Whether it sent while, before and after, another process held the chain's lease."""
        lane = f"lane/{chain}/"
        near = [h for h in self._seen if h.lane.startswith(lane) and abs(h.at - at) < 1.0]
        before = [h for h in near if at - SLACK_S - 1.0 < h.at < at - SLACK_S]
        after = [h for h in near if h.at >= at]
        around = [*before, *after[:1]]
        return bool(before) and bool(after) and all(h.pid not in rival.pids for h in around)

    def _handovers(self) -> int:
        """Return how often a lane passed from one process to another."""
        holders: dict[str, int] = {}
        passed = 0
        for held in self._seen:
            passed += holders.get(held.lane, held.pid) != held.pid
            holders[held.lane] = held.pid
        return passed


def met(answer: Mapping[str, Any]) -> bool:
    """Whether both never sent at once, and something was handed over at all."""
    wrong = ("lost", "stale_broadcasts", "duplicates", "nonce_gaps")
    return not any(answer[name] for name in wrong) and answer["handovers"] > 0
