"""What a story says was mined, and which plan its bytes carried."""

import json

import pytest

from serve_app.route_check import RouteCheck, in_words, mined

SELL, BUY = "0x" + "a" * 40, "0x" + "b" * 40
STEP, ATTEMPT = "step/1", "attempt/a"


def plan(amount: int) -> str:
    hop = {
        "pool": "0x1",
        "venue": "uniswap-v2",
        "fee_ppm": 3_000,
        "token_in": SELL,
        "token_out": BUY,
        "amount_in": str(amount),
        "amount_out": "9",
        "ticks_crossed": 0,
    }
    swap = {"sell": f"eip155:1/erc20:{SELL}", "buy": f"eip155:1/erc20:{BUY}", "side": "sell"}
    return json.dumps({**swap, "limit": "1", "legs": [{"share_ppm": 1_000_000, "hops": [hop]}]})


def event(kind, stream, **data):
    return {"type": kind, "stream": stream, "data": data}


PREPARED = event("AttemptPrepared", ATTEMPT, attempt={"signed": [{"tx_hash": "0xfirst"}]})
STARTED = event("StepStarted", STEP, attempt_id="a", plan=plan(100))
BUMPED = event("AttemptBumped", ATTEMPT, signed={"tx_hash": "0xsecond"})
REPLANNED = event("StepReplanned", STEP, plan=plan(200))
DEARER = event("AttemptBumped", ATTEMPT, signed={"tx_hash": "0xthird"})


def included(tx_hash):
    return event("AttemptIncluded", ATTEMPT, inclusion={"tx_hash": tx_hash})


@pytest.mark.parametrize(
    ("tx_hash", "amount"), [("0xfirst", 100), ("0xsecond", 200), ("0xthird", 200)]
)
def test_each_version_carries_its_own_plan(tx_hash, amount):
    found = mined([PREPARED, STARTED, BUMPED, REPLANNED, DEARER, included(tx_hash)])
    (one,) = found
    assert one.tx_hash == tx_hash
    assert one.swap is not None
    assert one.swap.route.amount_in == amount


def test_what_left_its_block_and_what_is_no_swap_is_not_run_again():
    gone = event("AttemptUnincluded", ATTEMPT)
    assert mined([PREPARED, STARTED, included("0xfirst"), gone]) == []
    (approval,) = mined([PREPARED, included("0xfirst")])
    assert approval.swap is None
    departed = event("StepStarted", STEP, attempt_id="a", plan="across: the cheapest")
    (departure,) = mined([PREPARED, departed, included("0xfirst")])
    assert departure.swap is None


def test_what_cannot_be_read_is_not_called_exact():
    story = {"events": [PREPARED, STARTED, included("0xfirst")]}
    check = RouteCheck(lambda _: story, {"1": "http://127.0.0.1:9"})
    for _ in range(2):
        check.look({"id": "one", "tx_hashes": ["0xfirst"]})
    result = check.result()
    assert (result["plans"], result["differences"], result["exact"]) == (0, [], False)
    assert [line.split(":")[0] for line in result["unread"]] == ["0xfirst"]
    assert any("not looked at" in line for line in in_words(result))
