"""What several endpoints say together, who is caught, and which heads count. Pure parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.adapters.evm.agreement import Ballot
from sep_ray.adapters.evm.endpoints import Access, majority
from sep_ray.adapters.evm.health import (
    FIRST_QUARANTINE_S,
    FIRST_REST_S,
    FORGIVEN_S,
    LAG_BLOCKS,
    LONGEST_QUARANTINE_S,
    LONGEST_REST_S,
    Health,
)
from sep_ray.adapters.evm.pool_heads import VIEW, Views
from sep_ray.execution.ports import EndpointState, Head
from sep_ray.kernel.errors import Rejected

HEADER = {"number": "0x5", "hash": "0xAA", "parentHash": "0xbb", "timestamp": "0x1"}
BLOCK = ("eth_getBlockByNumber", ["0x5", False])


def ballot(*answers, call=BLOCK, needed=2):
    found = Ballot([call], needed)
    for voter, answer in answers:
        found.cast(voter, [answer])
    return found


def test_what_is_not_compared_is_not_handed_on():
    one = {**HEADER, "extraData": "0x1", "totalDifficulty": "0x7"}
    other = {**HEADER, "hash": "0xaa", "extraData": "0x2"}
    found = ballot(("a", {"id": 0, "result": one}), ("b", {"id": 4, "result": other}))
    assert found.missing == 0
    assert found.decided() == [{"result": {**HEADER, "hash": "0xaa"}}]
    assert found.contradictions() == {}


def test_whole_blocks_keep_what_their_transactions_say():
    sent = {"hash": "0x1", "from": "0xAB", "nonce": "0x0", "value": "0x0"}
    one = {**HEADER, "transactions": [{**sent, "yParity": "0x0"}]}
    found = ballot(("a", {"result": one}), ("b", {"result": {**HEADER, "transactions": [sent]}}))
    assert found.decided()[0]["result"]["transactions"] == [{**sent, "from": "0xab"}]
    other = {**HEADER, "transactions": [{**sent, "nonce": "0x1"}]}
    assert ballot(("a", {"result": one}), ("b", {"result": other})).missing == 1


def test_a_forged_log_is_another_receipt():
    receipt = {"transactionHash": "0x1", "status": "0x1", "blockHash": "0xaa", "logs": []}
    log = {"address": "0x2", "topics": ["0x3"], "data": "0x4", "logIndex": "0x0"}
    call = ("eth_getTransactionReceipt", ["0x1"])
    found = ballot(
        ("liar", {"result": {**receipt, "logs": [log]}}), ("b", {"result": receipt}), call=call
    )
    assert found.missing == 1
    assert "liar" in found.evidence()
    found.cast("c", [{"result": receipt}])
    assert found.decided() == [{"result": receipt}]
    assert list(found.contradictions()) == ["liar"]


def test_being_behind_or_busy_is_no_lie():
    found = ballot(
        ("behind", {"result": None}),
        ("busy", {"error": {"code": -32005, "message": "limit exceeded"}}),
        ("b", {"result": HEADER}),
        ("c", {"result": HEADER}),
    )
    assert found.missing == 0
    assert found.contradictions() == {}
    ahead = ballot(("a", {"result": None}), ("b", {"result": HEADER}), ("c", {"result": None}))
    assert ahead.decided() == [{"result": None}]
    assert ahead.contradictions() == {}


def test_reverts_are_the_same_whatever_the_client_calls_them():
    call = ("eth_call", [{}, {"blockHash": "0x1"}])
    found = ballot(
        ("geth", {"error": {"code": 3, "message": "execution reverted: no", "data": "0x08"}}),
        ("other", {"error": {"code": -32015, "message": "VM execution error", "data": "0x08"}}),
        call=call,
    )
    assert found.decided()[0]["error"]["message"] == "execution reverted: no"


def test_honest_endpoints_may_differ_about_what_is_newest():
    call = ("eth_call", [{}, "latest"])
    found = ballot(
        ("a", {"result": "0x1"}), ("b", {"result": "0x2"}), ("c", {"result": "0x2"}), call=call
    )
    assert found.decided() == [{"result": "0x2"}]
    assert found.contradictions() == {}


@given(st.lists(st.sampled_from(["0x1", "0x2", "0x3", None, "busy"]), min_size=3, max_size=7))
def test_p7_a_minority_is_never_handed_on(said):
    """P7: whatever fewer than a majority say, alone or together, is not what is read."""
    needed = majority(len(said))
    found = Ballot([("eth_getBalance", ["0x0", {"blockHash": "0x1"}])], needed)
    for voter, each in enumerate(said):
        busy = {"error": {"code": -32005, "message": "busy"}}
        found.cast(str(voter), [busy if each == "busy" else {"result": each}])
    winners = [each for each in set(said) - {"busy"} if said.count(each) >= needed]
    if winners:
        assert found.decided() == [{"result": winners[0]}]
    else:
        assert found.missing > 0
        assert "eth_getBalance" in found.evidence()


def test_agreement_is_one_or_more_than_half():
    for count, needed in ((1, 1), (2, 1), (2, 2), (3, 2), (5, 3), (5, 5)):
        Access(urls=("http://x",) * count, needed=needed)
    for count, needed in ((2, 3), (4, 2), (5, 2), (3, 4)):
        with pytest.raises(Rejected, match="out of range"):
            Access(urls=("http://x",) * count, needed=needed)
    with pytest.raises(Rejected):
        Access(urls=())


class Time:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


def test_failures_rest_longer_each_time_and_an_answer_forgives():
    time = Time()
    health = Health(time)
    rests = []
    for _ in range(9):
        health.failed("gone")
        start = time.now
        while health.state(None) is EndpointState.FAILING:
            time.now += 0.25
        rests.append(time.now - start)
    assert rests[:3] == [FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert rests[-1] == LONGEST_REST_S
    health.failed("gone")
    health.answered(0.2)
    assert health.state(None) is EndpointState.OK
    assert health.failures == 0


def test_quarantine_grows_is_bounded_and_is_forgiven():
    time = Time()
    health = Health(time)
    spans = []
    for _ in range(10):
        health.contradicted("lie")
        start = time.now
        while health.state(None) is EndpointState.QUARANTINED:
            time.now += 1
        spans.append(time.now - start)
    assert spans[:2] == [FIRST_QUARANTINE_S, 2 * FIRST_QUARANTINE_S]
    assert spans[-1] == LONGEST_QUARANTINE_S
    time.now += FORGIVEN_S
    health.contradicted("lie")
    assert health.offences == 1


def test_latency_is_an_average_and_lag_is_counted_from_the_best():
    health = Health(Time())
    health.answered(1.0)
    health.answered(2.0)
    assert health.latency_s == pytest.approx(1.2)
    health.head = 10
    assert health.state(10 + LAG_BLOCKS - 1) is EndpointState.OK
    assert health.state(10 + LAG_BLOCKS) is EndpointState.LAGGING
    assert health.lag(None) == 0
    assert health.lag(4) == 0


def head(number, branch="", fee=7):
    return Head(
        number=number,
        hash=f"0x{number}{branch}",
        parent_hash="0x",
        timestamp=number,
        base_fee_wei=fee,
        gas_used=0,
        gas_limit=1,
    )


def test_a_head_counts_when_enough_tell_the_same():
    views = Views(2)
    assert views.hear(0, head(5)) is None
    assert views.hear(2, head(5, "lie")) is None
    assert views.hear(2, head(10**9, "lie")) is None
    assert views.hear(1, head(5, fee=8)) is None  # the same hash over another header
    assert views.hear(1, head(5)) == head(5)
    assert views.hear(2, head(5)) is None


def test_one_who_is_behind_does_not_take_the_head_back():
    views = Views(2)
    for place in (0, 1):
        views.hear(place, head(5))
        views.hear(place, head(6))
    assert views.hear(2, head(4)) is None
    assert views.hear(2, head(5)) is None
    for late in (1, 2):
        views = Views(2)
        views.hear(0, head(5))
        views.hear(3 - late, head(4))
        views.hear(3 - late, head(5))
        assert views.hear(late, head(4)) is None


def test_p7_a_reorganisation_is_told_once_enough_have_changed():
    """P7: one endpoint on another branch changes nothing; a majority there is the chain."""
    views = Views(2)
    for number in (5, 6, 7):
        for place in (0, 1, 2):
            views.hear(place, head(number))
    assert views.hear(0, head(6, "b")) is None
    assert views.hear(0, head(7, "b")) is None
    assert views.hear(1, head(6, "b")) == head(6, "b")
    assert views.hear(1, head(7, "b")) == head(7, "b")
    assert views.hear(2, head(8)) is None
    assert views.hear(2, head(6, "b")) is None


def test_a_chain_that_went_back_is_noticed():
    views = Views(2)
    for number in (5, 6, 7):
        for place in (0, 1, 2):
            views.hear(place, head(number))
    assert views.hear(0, head(5)) is None
    assert views.hear(1, head(5)) == head(5)
    assert views.hear(0, head(6, "b")) is None
    assert views.hear(1, head(6, "b")) == head(6, "b")


def test_what_is_remembered_is_bounded():
    views = Views(1)
    for number in range(3 * VIEW):
        assert views.hear(0, head(number)) == head(number)
    assert len(views._views[0]) == VIEW
