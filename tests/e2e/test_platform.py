"""The platform as a user meets it: the demonstration, its explanations, and bad input."""

from __future__ import annotations

from tests.e2e.conftest import SWAP, Drill, Sep


def test_p2_p8_the_demonstration_completes_and_the_books_agree(drill: Drill) -> None:
    result = drill.result
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
    assert result["route_check"]["plans"] > 0
    assert result["route_check"]["exact"]
    for intent in result["intents"]:
        assert intent["tx_hashes"], intent


def test_p14_why_explains_an_intent_and_its_transaction(sep: Sep, interrupted: str) -> None:
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
