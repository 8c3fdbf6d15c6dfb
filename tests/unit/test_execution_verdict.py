"""Every reply of every node has one verdict; what is not known stays unknown (P6)."""

import json
import random
from pathlib import Path

import pytest

from sep_ray.execution import verdict
from sep_ray.execution.verdict import Answered, Lost, Refusal, Refused, judge

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "send_replies.json").read_text())
CORPUS = RECORDED["replies"]
HASH = "0x" + "ab" * 32


def named(found: verdict.Verdict) -> str:
    match found:
        case verdict.Accepted(known=known):
            return "known" if known else "accepted"
        case verdict.Rejected(reason=reason):
            return reason.value
        case verdict.Indeterminate():
            return "unknown"


@pytest.mark.parametrize("row", CORPUS, ids=lambda row: f"{row['node']}: {row['message'][:40]}")
def test_recorded_replies_get_their_verdict(row):
    assert named(judge(Refused(row["code"], row["message"]), HASH)) == row["verdict"]


def test_no_text_fits_two_patterns():
    patterns = [verdict.KNOWN, *verdict.PATTERNS.values()]
    for row in CORPUS:
        text = row["message"]
        for said in (text, text.upper(), f"{text}: 1", f"{text}, more", f"INTERNAL_ERROR: {text}"):
            fits = [pattern for pattern in patterns if pattern.fullmatch(said)]
            assert len(fits) <= 1, said


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_the_patterns_changes_nothing(seed, monkeypatch):
    before = [judge(Refused(row["code"], row["message"]), HASH) for row in CORPUS]
    shuffled = list(verdict.PATTERNS.items())
    random.Random(seed).shuffle(shuffled)
    monkeypatch.setattr(verdict, "PATTERNS", dict(shuffled))
    assert [judge(Refused(row["code"], row["message"]), HASH) for row in CORPUS] == before


def test_every_client_is_recorded_and_its_source_named():
    clients = {"geth", "nitro", "erigon", "nethermind", "besu", "reth", "anvil"}
    assert {row["node"] for row in CORPUS} == set(RECORDED["sources"]) >= clients
    for client in clients:
        found = {row["verdict"] for row in CORPUS if row["node"] == client}
        assert found >= {"nonce_too_low", "insufficient_funds"}, client


def test_a_code_that_is_no_servers_is_unknown_whatever_the_words():
    for code in (4, -38010, 3, "-32000", None, 429):
        assert named(judge(Refused(code, "nonce too low"), HASH)) == "unknown"


def test_every_refusal_is_in_the_corpus():
    assert {row["verdict"] for row in CORPUS} >= set(Refusal)


def test_the_hash_itself_is_acceptance_and_nothing_else_is():
    assert judge(Answered(HASH), HASH) == verdict.Accepted()
    assert judge(Answered(HASH.upper().replace("0X", "0x")), HASH) == verdict.Accepted()
    others: tuple[object, ...] = ("0x" + "cd" * 32, None, 7, {}, "")
    for other in others:
        assert named(judge(Answered(other), HASH)) == "unknown"


def test_p6_a_lost_reply_is_unknown():
    for text in ("timeout", "connection reset", "HTTP 503", "not JSON"):
        assert named(judge(Lost(text), HASH)) == "unknown"


def test_a_known_text_in_a_longer_sentence_is_unknown():
    for text in ("upstream said: already known", "nonce too lowered", "why is nonce too low?"):
        assert named(judge(Refused(-32000, text), HASH)) == "unknown"
