"""Which calls go wrong is a matter of the seed and the rules alone."""

import pytest

from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.devnet.faults.rules import REMEMBERED, Fault, Rule, Rules
from sep_ray.devnet.faults.waiting import read_offer
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import ChainId


def struck(seed, rule, calls, noise=()):
    rules = Rules(seed)
    rules.add(rule)
    for each in noise:
        rules.add(each)
    return [rules.decide(method).act is rule for method in calls]


def test_same_seed_same_faults_and_another_seed_others():
    rule = Rule(fault=Fault.FAIL, methods=("eth_call",), probability_ppm=300_000)
    calls = ["eth_call", "eth_blockNumber"] * 500
    first = struck(7, rule, calls)
    assert first == struck(7, rule, calls)
    assert first != struck(8, rule, calls)
    assert not any(first[1::2])
    assert 100 < sum(first) < 200


def test_a_rules_hits_do_not_depend_on_other_rules():
    rule = Rule(fault=Fault.FAIL, probability_ppm=300_000)
    noise = [Rule(fault=Fault.LAG, blocks=1, probability_ppm=500_000)]
    assert struck(7, rule, ["x"] * 200) == struck(7, rule, ["x"] * 200, noise)


def test_a_count_is_used_up_after_what_is_skipped():
    rule = Rule(fault=Fault.DROP, skip=2, count=3)
    assert struck(0, rule, ["x"] * 8) == [False, False, True, True, True, False, False, False]


def test_delays_and_views_add_up_and_one_rule_acts():
    rules = Rules()
    for _ in range(2):
        rules.add(Rule(fault=Fault.DELAY, delay_ms=5))
        rules.add(Rule(fault=Fault.LAG, blocks=1))
    first = rules.add(Rule(fault=Fault.FAIL, count=1))
    rules.add(Rule(fault=Fault.CUT))
    found = rules.decide("x")
    assert found.delay_ms == 10
    assert len(found.views) == 2
    assert found.act is rules.in_force[first]
    assert rules.decide("x").act.fault is Fault.CUT
    assert rules.counts == {"delay": 4, "lag": 4, "fail": 1, "cut": 1}
    rules.clear()
    assert rules.decide("x").act is None


def test_what_happens_to_raw_transactions_happens_to_nothing_else():
    rules = Rules()
    rules.add(Rule(fault=Fault.SWALLOW))
    assert rules.decide("eth_call").act is None
    assert rules.decide("eth_sendRawTransaction").act.fault is Fault.SWALLOW


def test_the_log_is_bounded_and_counts_are_not():
    rules = Rules()
    rules.add(Rule(fault=Fault.CUT))
    for _ in range(REMEMBERED + 5):
        rules.decide("x")
    assert len(rules.injected) == REMEMBERED
    assert rules.injected[-1].number == rules.counts["cut"] == REMEMBERED + 5


@pytest.mark.parametrize(
    ("field", "value"),
    [("count", 0), ("probability_ppm", 1_000_001), ("status", 200), ("delay_ms", -1)],
)
def test_a_rule_out_of_range_is_refused_with_its_field(field, value):
    with pytest.raises(Rejected, match=f"{field} is out of range"):
        Rule(fault=Fault.FAIL, **{field: value})


@pytest.mark.parametrize("size", [0, 40, 300, 70_000])
async def test_an_offer_is_read_out_of_its_bytes(size):
    signer = LocalSigner(b"\x44" * 32)
    unsigned = Unsigned(
        chain_id=ChainId(1),
        nonce=3,
        call=Call(to="0x" + "0e" * 20, data="0x" + "ab" * size),
        gas_limit=21_000,
        max_fee_wei=100,
        tip_wei=9,
    )
    (signed,) = await signer.sign([unsigned])
    offer = read_offer(signed.raw)
    assert offer is not None
    assert offer.slot == (signer.address, 3)
    assert (offer.max_fee_wei, offer.tip_wei) == (100, 9)
    assert offer.tx_hash == signed.tx_hash
    assert read_offer("0x01ff") is None
