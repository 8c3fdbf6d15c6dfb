"""The platform as a user meets it: the demonstration, bad input, and dying in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil

from tests.e2e.conftest import Sep
from tests.fixtures.eventually import eventually

SWAP = ("--type", "DISPOSE", "--sell", "WETH", "--buy", "USDC", "--slippage", "0.02")
WINDOW = ("--window-ms", "180000")
"""Longer than the platform needs to come back."""


def test_p2_p8_the_demonstration_completes_and_the_books_agree(sep: Sep, tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    sep.run("demo", "--json", str(file))
    result = json.loads(file.read_text())
    assert {intent["state"] for intent in result["intents"]} == {"COMPLETED"}
    assert {intent["name"] for intent in result["intents"]} == {
        "acquire",
        "dispose",
        "twap",
        "liquidate",
        "rebalance",
        "momentum",
    }
    assert {intent["chain_id"] for intent in result["intents"]} == {1, 42161}
    assert result["ledger_check"]["mismatches"] == 0
    assert result["ledger_check"]["assets"] == 12
    for intent in result["intents"]:
        assert intent["tx_hashes"], intent


def test_p14_why_explains_an_intent_and_its_transaction(sep: Sep) -> None:
    made = sep.json("intent", "submit", *SWAP, "--amount", "0.5", "--chain", "1")
    sep.run("intent", "watch", made["id"])
    shown = sep.json("intent", "show", made["id"])
    assert shown["state"] == "COMPLETED"
    kinds = [event["type"] for event in sep.json("why", made["id"])["events"]]
    told = ["IntentAccepted", "IntentDecomposed", "AttemptPrepared", "StepFilled"]
    assert list(dict.fromkeys(kind for kind in kinds if kind in told)) == told
    assert "IntentCompleted" in kinds
    assert sep.json("why", shown["tx_hashes"][-1])["id"] == made["id"]


def test_a_wrong_intent_is_one_line_and_a_failure(sep: Sep) -> None:
    wrong = ("--type", "DISPOSE", "--sell", "WETH", "--buy", "NOPE", "--chain", "1")
    words = sep.run("intent", "submit", *wrong, "--amount", "1", code=1)
    assert len(words.strip().splitlines()) == 1
    assert "buy" in words


def test_p11_a_platform_that_is_killed_goes_on_where_it_was(sep: Sep) -> None:
    amount = ("--amount", "4", "--twap", "4", "--catch-up", "spread", "--chain", "42161")
    made = sep.json("intent", "submit", *SWAP, *WINDOW, *amount)
    time.sleep(3.0)
    os.kill(sep.endpoints()["pid"], signal.SIGKILL)
    eventually(lambda: not _left_behind(sep.state))
    sep.run("up", seconds=330)
    sep.run("intent", "watch", made["id"])
    shown = sep.json("intent", "show", made["id"])
    assert shown["state"] == "COMPLETED"
    assert shown["sold"]["amount"] == "4"
    assert sep.json("portfolio", "--check")["check"]["mismatches"] == []


def _left_behind(state: Path) -> list[str]:
    """Return what still runs of a killed platform, apart from its databases."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in _processes()]
    return [line for line in lines if str(state / "balancer") in line]


def _processes() -> list[psutil.Process]:
    return list(psutil.process_iter(["cmdline"]))
