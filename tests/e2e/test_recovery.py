"""P2, P3, P8, P11: whatever process is killed, each intent ends once and the books agree."""

from __future__ import annotations

from collections import Counter

from tests.e2e.conftest import VICTIMS, Drill, Sep, rpc

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def test_p11_a_platform_that_is_killed_goes_on_where_it_was(sep: Sep, interrupted: str) -> None:
    sep.run("intent", "watch", interrupted)
    shown = sep.json("intent", "show", interrupted)
    assert shown["state"] == "COMPLETED"
    assert shown["sold"]["amount"] == "4"
    assert sep.json("portfolio", "--check")["check"]["mismatches"] == []


def test_p3_p8_p11_kill_every_actor_in_turn_during_a_run(
    sep: Sep, drill: Drill, interrupted: str
) -> None:
    assert all(drill.killed[prefixes[0]] for prefixes in VICTIMS), drill.killed
    assert {intent["state"] for intent in drill.result["intents"]} == {"COMPLETED"}
    assert drill.result["ledger_check"]["mismatches"] == 0
    sep.run("intent", "watch", interrupted)
    shown = sep.json("intent", "list", "--limit", "200")["intents"]
    swaps = {intent["id"]: _swaps_booked(sep, intent["id"]) for intent in shown}
    booked = Counter(tx_hash for each in swaps.values() for tx_hash in each)
    demonstrated = {
        tx_hash for intent in drill.result["intents"] for tx_hash in swaps[intent["id"]]
    }
    assert set(booked.values()) == {1}
    on_chain = {
        tx_hash
        for chain, url in sep.endpoints()["chains"].items()
        for account in sep.endpoints()["accounts"]
        for tx_hash in _swaps_made(url, drill.first_blocks[chain], account)
    }
    assert demonstrated <= on_chain <= set(booked)


def _swaps_booked(sep: Sep, intent_id: str) -> list[str]:
    """Return an intent's swaps: a step that is done has exactly one, no other has any."""
    swaps = []
    for step in sep.json("intent", "show", intent_id)["steps"]:
        landed = [
            t["tx_hashes"][-1]
            for t in step["transactions"]
            if t["purpose"] == "swap" and t["state"] in ("INCLUDED", "FINAL")
        ]
        assert len(landed) == (1 if step["state"] == "DONE" else 0), step
        swaps += landed
    return swaps


def _swaps_made(url: str, first: int, account: str) -> set[str]:
    """Return the account's successful transactions that moved tokens, by their Transfer logs."""
    padded = "0x" + account.removeprefix("0x").rjust(64, "0")
    where = {"fromBlock": hex(first + 1), "toBlock": "latest", "topics": [TRANSFER, padded]}
    return {entry["transactionHash"] for entry in rpc(url, "eth_getLogs", where)}
