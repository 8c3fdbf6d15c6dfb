"""One run of chaos: a platform of its own, faults while intents flow, and the count at the end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.kernel.clock import SystemClock
from serve_app import demo_plan, place, platform
from serve_app.auth import Role, Tokens, token_secret
from serve_app.chaos.books import ENDED, Books, compare
from serve_app.chaos.deck import Deck
from serve_app.chaos.flow import WINDOW_MS, Flow
from serve_app.chaos.mischief import Mischief
from serve_app.chaos.resuming import Tally, within
from serve_app.chaos.targets import Targets

Report = Callable[[str], None]
TOKEN_S: Final = 6 * 3_600
SETTLE_S: Final = 15.0
ENDS_S: Final = WINDOW_MS / 1_000 + 120
"""How long after the last submission every intent must have ended."""
PER_FAULT_S: Final = 15.0
AGREE_S: Final = 60.0
RESTLESS: Final = "serve_app.chaos.restless:RestlessMomentum"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: the seed, how many faults, how fast intents come, which kinds only, and
    over how many accounts and endpoints of each chain."""

    seed: int
    faults: int
    pause_s: float = 0.6
    only: tuple[str, ...] = ()
    lanes: int = 1
    endpoints: int = 1


def run_chaos(wish: Wish, cache: Path, report: Report) -> dict[str, Any]:
    """Do it and return what is written to the JSON file; the platform is gone afterwards."""
    deck = Deck(random.Random(wish.seed), wish.only)
    with place.folder("sepc-") as state:
        variables = {
            "SEP_HTTP_PORT": "0",
            "SEP_FAULT_PROXIES": "true",
            "SEP_SUBMISSIONS_PER_MINUTE": "100000",
            "SEP_LOG_LEVEL": "info",
            "SEP_CRASH_POINTS": str(state / "points"),
            "SEP_API_REPLICAS": "2",
            "SEP_LANES": str(wish.lanes),
            "SEP_LOCAL_ENDPOINTS": str(wish.endpoints),
        }
        with place.own_settings(state, cache, **variables) as settings:
            try:
                endpoints = platform.up(settings, False, report)
                return _Run(wish, deck, state, endpoints, report).through()
            finally:
                platform.down(settings, report)


class _Run:
    def __init__(
        self,
        wish: Wish,
        deck: Deck,
        state: Path,
        endpoints: Mapping[str, Any],
        report: Report,
    ) -> None:
        self._wish = wish
        self._deck = deck
        self._report = report
        self._urls = {int(chain): url for chain, url in endpoints["chains"].items()}
        self._books = Books(EmbeddedPostgres(state).url())
        self._targets = Targets(state, endpoints["pid"], state / "points")
        token = Tokens(token_secret(None, state), SystemClock()).mint("chaos", Role.ADMIN, TOKEN_S)
        self._flow = Flow(endpoints["api"], token, wish.seed, wish.pause_s)

    def through(self) -> dict[str, Any]:
        began = time.monotonic()
        self._flow.start_strategy(demo_plan.MOMENTUM, {**demo_plan.momentum(), "source": RESTLESS})
        with self._flow as flow:
            time.sleep(SETTLE_S)
            chance = random.Random(self._wish.seed)
            mischief = Mischief(self._targets, self._books, flow, self._urls, chance)
            self._strike(mischief)
            mischief.calm_down()
            self._report("calm; waiting for every end")
            flow.stop()
            self._await_ends()
            answer = self._count(mischief.tally)
        return answer | {"seed": self._wish.seed, "seconds": round(time.monotonic() - began, 1)}

    def _strike(self, mischief: Mischief) -> None:
        """Do as many faults as were asked for, within a bound of time (P12)."""
        deadline = time.monotonic() + PER_FAULT_S * self._wish.faults + 60
        while (done := mischief.tally.faults.total()) < self._wish.faults:
            if time.monotonic() > deadline:
                self._report(f"out of time after {done} faults")
                return
            kind = self._deck.deal()
            if mischief.strike(kind):
                self._report(f"{done + 1}/{self._wish.faults} {kind}; {self._told(mischief.tally)}")

    def _told(self, tally: Tally) -> str:
        kind, seconds = tally.resumed[-1] if tally.resumed else ("nothing", 0.0)
        return f"{len(self._flow.accepted)} intents accepted; last {kind}: {seconds:.2f} s"

    def _open(self) -> list[str]:
        statuses = self._books.statuses(self._flow.accepted)
        return [i for i in self._flow.accepted if statuses.get(i) not in ENDED]

    def _await_ends(self) -> None:
        within(ENDS_S, lambda: not self._open())

    def _check(self) -> tuple[int, list[str]]:
        """Return by how many units ledger and chains differ in the end, and what was not read."""
        deadline = time.monotonic() + AGREE_S
        while True:
            check = self._flow.get("/v1/portfolio?check=true")["check"]
            off = sum(
                abs(int(m["ledger_units"]) - int(m["chain_units"])) for m in check["mismatches"]
            )
            if (not off and not check["unread"]) or time.monotonic() > deadline:
                return off, list(check["unread"])
            time.sleep(1.0)

    def _count(self, tally: Tally) -> dict[str, Any]:
        off, unread = self._check()
        accepted = self._flow.accepted
        statuses = self._books.statuses(accepted)
        ends = self._books.ends()
        terminal = [i for i in accepted if statuses.get(i) in ENDED and ends[i] == 1]
        findings = compare(self._books.attempts(), self._urls)
        return {
            "intents": self._flow.asked,
            "accepted": len(accepted),
            "terminal": len(terminal),
            "lost": len(accepted) - len(terminal),
            "lost_ids": [i for i in accepted if i not in set(terminal)][:20],
            "duplicates": len(findings.duplicates),
            "duplicate_facts": findings.duplicates[:20],
            "nonce_gaps": findings.gaps[:20],
            "swaps_on_chain": findings.swaps,
            "unaccounted_wei": off,
            "unread": unread,
            "refused": self._flow.refused[:20],
            "ends": _tally(statuses.values()),
            "events": self._books.kinds(),
            "faults": dict(sorted(tally.faults.items())),
            "faults_total": tally.faults.total(),
            "faults_not_done": dict(sorted(tally.not_done.items())),
            "resume_seconds": tally.resume_seconds(),
            "not_resumed": tally.stuck,
            "stale_broadcasts": tally.stale,
        }


def met(answer: Mapping[str, Any]) -> bool:
    """Whether nothing was lost, doubled or left unaccounted for, and everything came back."""
    zero = ("lost", "duplicates", "unaccounted_wei")
    none = ("nonce_gaps", "unread", "not_resumed", "stale_broadcasts")
    return not any(answer[name] for name in (*zero, *none)) and answer["accepted"] > 0


def _tally(words: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts
