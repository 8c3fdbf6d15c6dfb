"""P2, P3, P8, P11: whatever process is killed, each intent ends once and the books agree."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import Sep, pids

VICTIMS = (
    ("IntentRouter",),
    ("ChainExecutor",),
    ("Supervisor",),
    ("Strategy",),
    ("ServeReplica:models",),
    ("ServeReplica:api",),
)
"""Titles of the processes that are killed, one kind after the other, during a run."""


def test_p3_p8_p11_kill_every_actor_in_turn_during_a_run(sep: Sep, tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    first_blocks = {chain: _head(url) for chain, url in _chains(sep).items()}
    demo = sep.start("demo", "--json", str(file))
    killed: Counter[str] = Counter()
    time.sleep(3.0)
    for prefixes in VICTIMS:
        for pid in pids(sep.actors(), prefixes):
            os.kill(pid, signal.SIGKILL)
            killed[prefixes[0]] += 1
            time.sleep(1.0)
        time.sleep(3.0)
        assert demo.poll() is None, "the run ended before everything was killed"
    out, err = demo.communicate(timeout=300)
    assert demo.returncode == 0, out + err
    assert all(killed[prefixes[0]] for prefixes in VICTIMS), killed
    result = json.loads(file.read_text())
    assert {intent["state"] for intent in result["intents"]} == {"COMPLETED"}
    assert result["ledger_check"]["mismatches"] == 0
    _no_swap_twice(sep, result, first_blocks)


def _no_swap_twice(sep: Sep, result: dict[str, Any], first_blocks: dict[str, int]) -> None:
    """Every swap on the chains since the run began belongs to exactly one step that is done."""
    swaps: Counter[str] = Counter()
    for intent in result["intents"]:
        shown = sep.json("intent", "show", intent["id"])
        for step in shown["steps"]:
            landed = [
                t["tx_hashes"][-1]
                for t in step["transactions"]
                if t["purpose"] == "swap" and t["state"] in ("INCLUDED", "FINAL")
            ]
            assert len(landed) == (1 if step["state"] == "DONE" else 0), step
            swaps.update(landed)
    assert set(swaps.values()) == {1}
    on_chain = {
        tx_hash
        for chain, url in _chains(sep).items()
        for tx_hash in _swaps(url, first_blocks[chain], _account(sep))
    }
    assert on_chain == set(swaps)


def _chains(sep: Sep) -> dict[str, str]:
    urls: dict[str, str] = sep.endpoints()["chains"]
    return urls


def _account(sep: Sep) -> str:
    return str(sep.endpoints()["account"])


def _rpc(url: str, method: str, *params: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(url, json=request, timeout=10).json()["result"]


def _head(url: str) -> int:
    return int(_rpc(url, "eth_blockNumber"), 16)


def _swaps(url: str, first: int, account: str) -> set[str]:
    """Return the account's successful transactions that moved tokens, by their Transfer logs."""
    transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    padded = "0x" + account.removeprefix("0x").rjust(64, "0")
    where = {"fromBlock": hex(first + 1), "toBlock": "latest"}
    sent = _rpc(url, "eth_getLogs", {**where, "topics": [transfer, padded]})
    return {entry["transactionHash"] for entry in sent}
