"""Laws of the pure parts of execution."""

from hypothesis import given
from hypothesis import strategies as st

from sep_ray.execution import verdict
from sep_ray.execution.fees import FeePolicy, Fees, bumped, offer
from sep_ray.execution.verdict import Answered, Lost, Refused, judge
from sep_ray.routing.gas import next_base_fee

POLICY = FeePolicy()
WEI = st.integers(0, 10**12)
ANY = st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text(), max_size=2))
REPLIES = st.one_of(
    st.builds(Answered, ANY), st.builds(Refused, ANY, ANY), st.builds(Lost, st.text())
)


@given(REPLIES)
def test_p6_every_reply_has_a_verdict_and_only_the_hash_is_acceptance(reply):
    found = judge(reply, "0x" + "ab" * 32)
    if isinstance(found, verdict.Accepted) and not found.known:
        assert isinstance(reply, Answered)


VERDICTS = st.one_of(
    st.builds(verdict.Accepted, st.booleans()),
    st.builds(verdict.Rejected, st.sampled_from(verdict.Refusal), st.text(max_size=3)),
    st.builds(verdict.Indeterminate, st.text(max_size=3)),
)


def test_every_refusal_has_its_place_among_the_others():
    assert sorted(verdict.HOPE) == sorted(verdict.Refusal)


@given(st.lists(VERDICTS, min_size=1, max_size=6), st.randoms())
def test_p6_several_nodes_verdicts_are_one_in_any_order_and_grouping(found, chance):
    whole = verdict.combined(found)
    shuffled = chance.sample(found, len(found))
    cut = chance.randrange(1, len(found) + 1)
    parts = [verdict.combined(part) for part in (shuffled[:cut], shuffled[cut:]) if part]
    assert verdict.combined(shuffled) == verdict.combined(parts) == whole
    assert whole in found
    kinds = {type(each) for each in found}
    if verdict.Accepted in kinds:
        assert isinstance(whole, verdict.Accepted)
        assert whole.known == (verdict.Accepted() not in found)
    elif verdict.Indeterminate in kinds:
        assert isinstance(whole, verdict.Indeterminate)
    else:
        assert isinstance(whole, verdict.Rejected)


@given(WEI, WEI)
def test_an_offer_survives_its_horizon_of_full_blocks(base, tip):
    fees = offer(POLICY, base, tip)
    worst = base
    for _ in range(POLICY.horizon_blocks):
        worst = next_base_fee(worst, 30_000_000, 30_000_000) if worst > 8 else worst
    assert fees.max_fee_wei == POLICY.ceiling_wei or fees.max_fee_wei >= worst + fees.tip_wei - 1
    assert fees.tip_wei <= fees.max_fee_wei <= POLICY.ceiling_wei


@given(WEI, WEI, WEI, WEI)
def test_a_bump_raises_both_fields_by_an_eighth_or_not_at_all(max_fee, tip, base, usual):
    before = Fees(max_fee_wei=max_fee, tip_wei=min(tip, max_fee))
    fresh = offer(POLICY, base, usual)
    after = bumped(POLICY, before, fresh)
    if after is None:
        return
    assert after.max_fee_wei * 8 >= before.max_fee_wei * 9
    assert after.tip_wei * 8 >= before.tip_wei * 9
    assert after.max_fee_wei > before.max_fee_wei
    assert after.tip_wei > before.tip_wei
    assert after.tip_wei <= after.max_fee_wei <= POLICY.ceiling_wei
