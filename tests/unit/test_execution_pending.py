"""What is done about a transaction that is not in a block; what a swap moved; how much gas."""

import json
from dataclasses import replace
from uuid import UUID

import pytest

from sep_ray.execution.attempt import Attempt, AttemptStatus, Purpose, Signed
from sep_ray.execution.fills import Fill, read_fill
from sep_ray.execution.gas_limit import swap_gas_limit
from sep_ray.execution.pending import HOPELESS, Circumstances, Move, next_move
from sep_ray.execution.plan_text import plan_text
from sep_ray.execution.ports import Head, Receipt, Transfer
from sep_ray.execution.verdict import Refusal
from sep_ray.intent.intent import Side
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import ChainId
from tests.unit.test_execution_encoding import MAINNET, V2, V3, hop, plan

ME, POOL, OTHER = ("0x" + digit * 40 for digit in "123")
HEAD = Head(
    number=100,
    hash="0xaa",
    parent_hash="0xbb",
    timestamp=1,
    base_fee_wei=1_000,
    gas_used=15_000_000,
    gas_limit=30_000_000,
)
SIGNED = Signed(raw="0x", tx_hash="0x1", max_fee_wei=2_000, tip_wei=1, gas_limit=100_000)
ATTEMPT = Attempt(
    id=UUID(int=1),
    step_id=UUID(int=2),
    purpose=Purpose.SWAP,
    chain_id=ChainId(1),
    account=ME,
    nonce=5,
    to=POOL,
    signed=(SIGNED,),
    prepared_at=Millis(0),
    deadline=Millis(1_000),
    status=AttemptStatus.BROADCAST,
    sent_block=100,
)
CALM = Circumstances(
    head=HEAD,
    now=Millis(0),
    first=True,
    top=True,
    refused=None,
    doomed=False,
    unsure=False,
    own=True,
    resend_blocks=2,
    stall_blocks=4,
)
LATE = Millis(1_000)


def after(blocks):
    return replace(CALM, head=replace(HEAD, number=100 + blocks))


def test_what_was_sent_is_waited_for_then_sent_again_for_more():
    moves = [next_move(ATTEMPT, after(n)) for n in range(9)]
    expected = "wait wait send wait bump wait send wait bump"
    assert " ".join(moves) == expected


def test_what_stands_behind_another_is_only_sent_again():
    assert next_move(ATTEMPT, replace(after(4), first=False)) is Move.SEND


def test_p6_what_was_never_answered_is_sent_again_at_the_next_head():
    assert next_move(ATTEMPT, replace(after(1), unsure=True)) is Move.SEND


def test_what_was_never_sent_or_came_back_is_sent():
    prepared = replace(ATTEMPT, status=AttemptStatus.PREPARED, sent_block=None)
    assert next_move(prepared, CALM) is Move.SEND
    assert next_move(replace(ATTEMPT, sent_block=None), CALM) is Move.SEND


def test_a_fee_below_the_next_base_fee_is_raised_at_once():
    dear = replace(CALM, head=replace(HEAD, base_fee_wei=2_001))
    assert next_move(ATTEMPT, dear) is Move.BUMP
    assert next_move(ATTEMPT, replace(dear, now=LATE)) is Move.CANCEL


def test_past_its_deadline_a_swap_is_cancelled_and_an_approval_is_not():
    late = replace(after(4), now=LATE)
    assert next_move(ATTEMPT, late) is Move.CANCEL
    assert next_move(replace(ATTEMPT, purpose=Purpose.APPROVAL), late) is Move.BUMP
    cancelling = replace(ATTEMPT, signed=(SIGNED, replace(SIGNED, cancel=True)))
    assert next_move(cancelling, after(4)) is Move.CANCEL


PREPARED = replace(ATTEMPT, status=AttemptStatus.PREPARED, sent_block=None)


@pytest.mark.parametrize("refusal", list(Refusal))
def test_p12_every_refusal_leads_somewhere(refusal):
    refused = replace(CALM, refused=refusal)
    expected = Move.SEND
    if refusal in HOPELESS:
        expected = Move.CANCEL
    elif refusal is Refusal.REPLACEMENT_UNDERPRICED:
        expected = Move.BUMP
    assert next_move(PREPARED, refused) is expected
    used = refusal is Refusal.NONCE_TOO_LOW  # perhaps by these very bytes
    assert next_move(PREPARED, replace(refused, now=LATE)) is (Move.SEND if used else Move.EXPIRE)


def test_p6_what_any_node_may_hold_is_never_given_up():
    late = replace(CALM, now=LATE, refused=Refusal.POOL_FULL)
    assert next_move(ATTEMPT, late) is not Move.EXPIRE
    twice = replace(PREPARED, signed=(SIGNED, SIGNED))
    assert next_move(twice, late) is not Move.EXPIRE
    assert next_move(PREPARED, replace(late, top=False)) is not Move.EXPIRE


def test_p6_what_an_earlier_process_may_have_sent_is_never_given_up():
    found_in_the_journal = replace(CALM, now=LATE, refused=Refusal.POOL_FULL, own=False)
    assert next_move(PREPARED, found_in_the_journal) is Move.SEND


def test_hopeless_bytes_are_replaced_once():
    cancelled = replace(PREPARED, signed=(SIGNED, replace(SIGNED, cancel=True)))
    refused = replace(CALM, refused=Refusal.MALFORMED)
    assert next_move(cancelled, refused) is Move.WAIT


def moved(token, source, target, units, place):
    return Transfer(
        token=token,
        source=source,
        target=target,
        units=units,
        block_hash="0xb",
        tx_hash="0x1",
        log_index=place,
    )


def receipt(*transfers):
    return Receipt(
        tx_hash="0x1",
        block_number=1,
        block_hash="0xb",
        index=0,
        succeeded=True,
        gas_used=1,
        gas_price_wei=1,
        transfers=transfers,
    )


SELL, BUY, DUST = ("0x" + digit * 40 for digit in "abc")


def test_a_fill_is_what_moved_net_of_what_came_back():
    found = receipt(
        moved(DUST, OTHER, ME, 9, 3),
        moved(SELL, ME, POOL, 100, 4),
        moved(SELL, POOL, ME, 10, 5),
        moved(BUY, POOL, OTHER, 7, 6),
        moved(BUY, POOL, ME, 50, 7),
        moved(BUY, ME, POOL, 1, 8),
    )
    assert read_fill(found, ME, SELL, BUY) == Fill(sold=90, bought=49, log_index=4)


def test_a_fill_of_nothing_and_a_transfer_to_oneself():
    assert read_fill(receipt(), ME, SELL, BUY) == Fill(sold=0, bought=0, log_index=None)
    own = receipt(moved(SELL, ME, ME, 5, 1))
    assert read_fill(own, ME, SELL, BUY) == Fill(sold=0, bought=0, log_index=1)
    other_way = receipt(moved(SELL, POOL, ME, 5, 1))
    assert read_fill(other_way, ME, SELL, BUY).sold == 0


def test_gas_limits_cover_hops_and_ticks_and_obey_the_intent():
    one_v2 = plan(MAINNET, Side.SELL, hop(MAINNET, V2, "weth", "usdc"))
    one_v3 = plan(MAINNET, Side.SELL, hop(MAINNET, V3, "weth", "usdc"))
    crossing = plan(MAINNET, Side.SELL, replace(hop(MAINNET, V3, "weth", "usdc"), ticks_crossed=10))
    limits = [swap_gas_limit(each, None) for each in (one_v2, one_v3, crossing)]
    assert limits == sorted(limits)
    assert limits[0] >= 2 * one_v2.gas_estimate
    assert swap_gas_limit(replace(one_v2, gas_estimate=900_000), None) == 1_800_000
    assert swap_gas_limit(crossing, 200_000) == 200_000


def test_p14_a_plan_is_kept_with_exact_amounts_as_text():
    huge = 2**200 + 1
    made = replace(plan(MAINNET, Side.SELL, hop(MAINNET, V3, "weth", "usdc")), amount_out=huge)
    told = json.loads(plan_text(made))
    assert told["amount_out"] == str(huge)
    assert told["legs"][0]["hops"][0]["venue"] == "uniswap-v3"
    assert told["sell"] == f"eip155:1/erc20:{MAINNET.weth}"
    assert set(told) >= {"limit", "deadline_s", "block_hash", "alternatives", "estimated_by"}
