"""What a run of chaos counts: swaps against attempts, nonces, and when it has failed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.points import Point
from serve_app.chaos import books, rivals
from serve_app.chaos.books import compare
from serve_app.chaos.deck import CARDS, Deck, misbehaviour
from serve_app.chaos.pausing import Woken
from serve_app.chaos.resuming import Tally, quantiles
from serve_app.chaos.run import met
from serve_app.chaos.targets import Targets, alive
from tests.fixtures.eventually import eventually

ACCOUNT = "0x" + "ac" * 20
GOOD: dict[str, Any] = {
    "accepted": 3,
    "lost": 0,
    "duplicates": 0,
    "unaccounted_wei": 0,
    "nonce_gaps": [],
    "unread": [],
    "not_resumed": [],
    "stale_broadcasts": [],
}


def attempt(nonce: int, **fields: Any) -> dict[str, Any]:
    made = {"step_id": f"s{nonce}", "chain_id": 1, "account": ACCOUNT, "nonce": nonce}
    made |= {"status": "FINAL", "hashes": [f"0x{nonce}"], "purpose": "swap"}
    return made | fields


def judged(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, Any]], mined: list[str], used: int
) -> books.Findings:
    answers = {
        "eth_getLogs": [{"transactionHash": tx_hash} for tx_hash in mined],
        "eth_getTransactionCount": hex(used),
    }
    monkeypatch.setattr(books, "_rpc", lambda url, method, *params: answers[method])
    return compare(attempts, {1: "http://chain"})


def test_p3_every_swap_belongs_to_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(monkeypatch, [attempt(0), attempt(1)], ["0x0", "0x1"], 2)
    assert (found.swaps, found.duplicates, found.gaps) == (2, [], [])


@pytest.mark.parametrize(
    ("attempts", "mined", "used", "duplicates", "gaps"),
    [
        ([attempt(0)], ["0x0", "0xff"], 1, 1, 0),  # nobody's
        ([attempt(0), attempt(1, step_id="s0")], ["0x0", "0x1"], 2, 1, 0),  # a step twice
        ([attempt(0, status="DROPPED")], ["0x0"], 1, 1, 0),  # given up and mined
        ([attempt(0), attempt(2)], ["0x0"], 3, 0, 1),  # a nonce without bytes
        ([attempt(0), attempt(0, hashes=["0x9"])], ["0x0"], 1, 0, 1),  # two at one nonce
        ([attempt(0), attempt(1)], ["0x0"], 1, 0, 1),  # never used
    ],
)
def test_p3_p4_what_does_not_fit_is_counted(
    monkeypatch: pytest.MonkeyPatch,
    attempts: list[dict[str, Any]],
    mined: list[str],
    used: int,
    duplicates: int,
    gaps: int,
) -> None:
    found = judged(monkeypatch, attempts, mined, used)
    assert (len(found.duplicates), len(found.gaps)) == (duplicates, gaps)


@pytest.mark.parametrize("name", [name for name in GOOD if name != "accepted"])
def test_a_run_fails_by_each_of_its_counts(name: str) -> None:
    assert met(GOOD)
    assert not met(GOOD | {name: 1})
    assert not met(GOOD | {"accepted": 0})


def test_targets_are_found_below_the_daemon_and_killed(tmp_path: Path) -> None:
    child = [sys.executable, "-c", "import time; time.sleep(60)", "sep_ray.devnet.faults"]
    process = subprocess.Popen(child)
    try:
        targets = Targets(tmp_path, os.getpid(), tmp_path / "points")
        eventually(lambda: targets.pids("proxy") == [process.pid])
        targets.kill("proxy", process.pid)
        assert process.wait(10) == -signal.SIGKILL
        assert not alive(process.pid)
        assert targets.pids("proxy") == []
    finally:
        process.kill()
        process.wait()
    order = targets.order(Point.SENT)
    assert order.name == "sent"
    assert order.exists()


def rivals_seen(holders: list[int]) -> Any:
    """A contest in which a lane's lease was held by these, a tenth of a second each."""
    contest: Any = object.__new__(rivals._Contest)
    seen = [rivals.Held(at / 10, "lane/1/0xac", pid, 1) for at, pid in enumerate(holders)]
    contest._seen = seen
    return contest


@pytest.mark.parametrize(
    ("at", "pid", "stale"),
    [(2.05, 1, False), (2.05, 2, True), (5.05, 1, False), (6.5, 1, True), (6.5, 2, False)],
)
def test_p5_a_broadcast_is_stale_when_another_led_before_and_after(
    at: float, pid: int, stale: bool
) -> None:
    contest = rivals_seen([1] * 50 + [2] * 50)
    rival = rivals.Rival("it", Path("/nowhere"), {}, {}, {pid})
    assert contest._stale(rival, at, 1) is stale
    assert contest._handovers() == 1


def test_a_deck_holds_every_kind_as_often_as_it_should() -> None:
    deck = Deck(random.Random(3))
    dealt = [deck.deal() for _ in range(5 * sum(CARDS.values()))]
    assert {kind: dealt.count(kind) for kind in CARDS} == {k: 5 * n for k, n in CARDS.items()}
    again = Deck(random.Random(3))
    assert dealt == [again.deal() for _ in dealt]
    assert dealt[: len(dealt) // 5] != dealt[-len(dealt) // 5 :]


def test_a_deck_of_few_kinds_holds_no_others() -> None:
    deck = Deck(random.Random(3), ["kill_postgres"])
    assert {deck.deal() for _ in range(7)} == {"kill_postgres"}
    with pytest.raises(Rejected, match="kill_time"):
        Deck(random.Random(3), ["kill_time"])


@pytest.mark.parametrize("kind", [kind for kind in CARDS if kind.startswith("rpc_")])
def test_a_misbehaviour_ends_by_itself(kind: str) -> None:
    rule = misbehaviour(kind.removeprefix("rpc_"), random.Random(1))
    assert kind == f"rpc_{rule['fault']}"
    assert 1 <= rule["count"] <= 4


def test_how_long_it_took_is_told_for_all_and_for_each_kind() -> None:
    tally = Tally(resumed=[("kill_router", 2.0), ("kill_chain", 9.0), ("kill_router", 4.0)])
    told = tally.resume_seconds()
    assert (told["n"], told["p50"], told["p95"]) == (3, 4.0, 9.0)
    assert told["by_kind"]["kill_router"] == {"n": 2, "p50": 4.0, "p95": 4.0, "worst": 4.0}
    assert quantiles([]) == {"n": 0, "p50": None, "p95": None, "worst": None}


def test_p5_what_is_sent_while_another_leads_is_stale() -> None:
    assert Woken(10.0, 12.0).stale([9.9, 10.0, 11.9, 12.0]) == [10.0, 11.9]
