"""Reorganisations down to the depth that is followed, whatever the confirmations (P7)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sep_ray.decomposition.step import StepStatus
from sep_ray.engine.finality import FinalityRule, Tag
from sep_ray.engine.lane import LaneState
from sep_ray.execution.attempt import AttemptStatus, AttemptUnincluded
from sep_ray.execution.ports import Head, Settled
from sep_ray.intent.intent import Style
from sep_ray.intent.states import IntentReopened, Status
from sep_ray.journal.records import Submission
from sep_ray.portfolio.events import LedgerBreached
from sep_ray.simulation.market import DAI, DOLLAR, ETHER, USDC, WETH
from sep_ray.simulation.wire import NOWHERE
from serve_app.present import _is_final
from tests.fixtures.execution import Sim, bounded, shock
from tests.simulation.test_pipeline import pipeline, wanted

GWEI = 10**9
DEEP = bounded(confirmations=2, reorg_depth=12)


async def _ready() -> Sim:
    """Have funds that lie deeper than any reorganisation."""
    sim = Sim(DEEP)
    await sim.ready()
    await sim.tick(13)
    return sim


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("depth", [3, 7, 12])
async def test_p7_a_fill_is_withdrawn_long_after_its_confirmations(depth, keep):
    sim = await _ready()
    step_id = await sim.add(2 * ETHER)
    await sim.executor.turn()
    await sim.tick(depth)
    done = await sim.step(step_id)
    assert (done.status, done.final) == (StepStatus.DONE, True)
    sim.chain.reorganise(depth, keep=keep)
    await sim.executor.on_head(sim.chain.newest.head)
    again = await sim.step(step_id)
    assert (again.status, again.sold, again.final) == (StepStatus.WORKING, 0, False)
    await sim._check_ledger()
    assert sim.state == LaneState.READY
    await sim.settle(16)
    assert (await sim.step(step_id)).final
    assert [a.status for a in await sim.attempts()] == [AttemptStatus.FINAL] * 2
    await sim.check()


@pytest.mark.parametrize("worse", [False, True], ids=["same", "worse"])
async def test_p7_a_chain_of_trades_is_undone_and_done_again_in_order(worse):
    """What later trades spent comes back before its source goes."""
    sim = await _ready()
    sale = await sim.add(10 * ETHER, buy=DAI)
    await sim.executor.turn()
    await sim.tick(2)
    onward = await sim.add((await sim.step(sale)).bought, sell=DAI, buy=USDC)
    await sim.executor.turn()
    await sim.tick(2)
    back = await sim.add((await sim.step(onward)).bought, sell=USDC, buy=WETH)
    await sim.executor.turn()
    await sim.tick(3)
    sim.chain.reorganise(9)
    await sim.executor.on_head(sim.chain.newest.head)
    assert sim.state == LaneState.UNSETTLED  # what was bought is spent in bytes that wait
    if worse:
        shock(sim)
    await sim.settle(60)
    ends = [(await sim.step(step_id)).status for step_id in (sale, onward, back)]
    assert (ends == [StepStatus.DONE] * 3) is not worse
    await sim.check()


@pytest.mark.parametrize("late", [False, True], ids=["in time", "past the deadline"])
async def test_p12_what_cannot_be_put_back_is_offered_more_when_gas_has_risen(late):
    """A sale's block is gone, its proceeds are in a later trade's bytes, and what it offers for
    gas has become too little: neither may wait for ever."""
    sim = await _ready()
    sale = await sim.add(10 * ETHER, buy=DAI)
    await sim.executor.turn()
    await sim.tick(2)
    onward = await sim.add((await sim.step(sale)).bought, sell=DAI, buy=USDC)
    await sim.executor.turn()
    sim.chain.reorganise(2)
    await sim.executor.on_head(sim.chain.newest.head)
    assert sim.state == LaneState.UNSETTLED
    if late:
        sim.clock.advance(10 * 60_000)
    for _ in range(45):
        sim.clock.advance(1_000)
        await sim.executor.on_head(sim.chain.mine(base_fee_wei=60 * GWEI))
    assert not sim.executor.lanes[0].unsettled
    ends = {(await sim.step(step_id)).status for step_id in (sale, onward)}
    assert ends == ({StepStatus.READY} if late else {StepStatus.DONE})  # tried again, or done
    await sim._check_ledger()


@pytest.mark.parametrize("depth", [2, 4])
async def test_p8_one_false_hash_makes_no_reorganisation_deeper_than_it_is(depth):
    sim = Sim(bounded(confirmations=1, reorg_depth=4))
    await sim.ready()
    await sim.tick(8)
    honest = sim.chain.headers

    async def lying(numbers):
        found = await honest(numbers)
        assert found[0] is not None
        return (replace(found[0], hash="0x" + "ee" * 32), *found[1:])

    sim.chain.reorganise(depth)
    sim.chain.headers = lying  # type: ignore[method-assign]
    await sim.executor.on_head(sim.chain.newest.head)
    assert not sim.executor.lanes[0].torn
    sim.chain.headers = honest  # type: ignore[method-assign]
    await sim.tick(2)
    assert sim.state == LaneState.READY
    await sim.check()


async def test_p2_p7_an_end_that_rested_on_a_lost_block_is_reopened_and_reached_again():
    sim = await _ready()
    platform = pipeline(sim)
    await platform.start()
    intent = next(i for i in wanted(sim) if i.constraints.style is Style.IMMEDIATE)
    intent = replace(intent, amount=ETHER)
    await platform.submit([Submission(intent=intent, principal="p")])
    for _ in range(6):
        await platform.turn()
        await sim.tick()
    await platform.turn()
    ended = await sim.store.intent(intent.id)
    assert ended.status is Status.COMPLETED
    steps = await sim.store.steps_of([intent.id])
    attempts = await sim.store.attempts_of([s.id for s in steps])
    assert not _is_final(ended, attempts)
    sim.chain.reorganise(6)
    await sim.executor.on_head(sim.chain.newest.head)
    opened = await sim.store.intent(intent.id)
    assert (opened.status, opened.reason, opened.bought) == (Status.ACTIVE, None, 0)
    for _ in range(16):
        await platform.turn()
        await sim.tick()
    again = await sim.store.intent(intent.id)
    assert (again.status, again.bought) == (Status.COMPLETED, ETHER)
    attempts = await sim.store.attempts_of([s.id for s in steps])
    assert _is_final(again, attempts)
    rows = await sim.store.stream(f"intent/{intent.id}")
    assert [type(r.event) for r in rows].count(IntentReopened) == 1
    await sim._check_ledger()


async def test_p7_a_router_that_ended_an_intent_meanwhile_opens_it_again():
    sim = await _ready()
    platform = pipeline(sim)
    await platform.start()
    intent = replace(wanted(sim)[0], amount=ETHER)
    await platform.submit([Submission(intent=intent, principal="p")])
    for _ in range(6):
        await platform.turn()
        await sim.tick()
    real = sim.store.intent

    async def too_early(intent_id):
        found = await real(intent_id)
        return replace(found, status=Status.ACTIVE)

    sim.store.intent = too_early
    sim.chain.reorganise(6)
    await sim.executor.on_head(sim.chain.newest.head)
    sim.store.intent = real
    assert (await real(intent.id)).status is Status.COMPLETED
    await platform.router.catch_up()
    await platform.router.turn()
    assert (await real(intent.id)).status is Status.ACTIVE


async def test_p8_a_reorganisation_deeper_than_is_followed_is_a_breach_with_its_evidence():
    sim = await _ready()
    await sim.add(2 * ETHER)
    await sim.executor.turn()
    await sim.tick(14)
    assert all(a.status is AttemptStatus.FINAL for a in await sim.attempts())
    sim.chain.reorganise(14)
    await sim.tick(1 + sim.rules.patience_blocks)
    assert sim.state == LaneState.BREACHED
    rows = await sim.store.tail(0, 10_000, 0.0)
    breaches = [r.event for r in rows if isinstance(r.event, LedgerBreached)]
    assert {b.asset for b in breaches} >= {WETH, USDC}
    assert all("14 blocks" in b.detail for b in breaches)


async def test_p7_one_false_hash_withdraws_no_fill():
    sim = await _ready()
    step_id = await sim.add()
    await sim.executor.turn()
    await sim.tick(3)
    sim.chain.reorganise(1)
    headers, lies = sim.chain.headers, [NOWHERE]

    async def lying(numbers: Sequence[int]) -> tuple[Any, ...]:
        found: tuple[Any, ...] = await headers(numbers)
        block = (await sim.attempts())[1].inclusion
        if block is None or numbers[0] != block.block_number or len(numbers) > 2 or not lies:
            return found
        return (replace(found[0], hash=lies.pop()), *found[1:])

    sim.chain.headers = lying  # type: ignore[method-assign]
    await sim.executor.on_head(sim.chain.newest.head)
    assert not lies
    rows = await sim.store.tail(0, 10_000, 0.0)
    assert not any(isinstance(row.event, AttemptUnincluded) for row in rows)
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
async def test_p12_what_left_the_chain_with_its_proceeds_promised_is_sent_for_more(late):
    """It cannot be withdrawn, as the next trade rests on it, and lands only at the new fee."""
    sim = Sim(bounded(confirmations=1, reorg_depth=4))
    await sim.ready(USDC=0)
    await sim.tick(5)
    sale = await sim.add(10 * ETHER)
    await sim.executor.turn()
    await sim.tick(2)
    sim.chain.room = 0
    onward = await sim.add((await sim.step(sale)).bought, sell=USDC, buy=DAI)
    await sim.executor.turn()
    first = (await sim.attempts())[1]
    sim.chain.reorganise(3, keep=True)
    sim.chain.mine(base_fee_wei=20 * first.newest.max_fee_wei)
    sim.clock.advance(600_000 if late else 1_000)
    await sim.executor.on_head(sim.chain.newest.head)
    sim.chain.room = 1_000
    await sim.settle(24)
    assert sim.state == LaneState.READY
    stand = {(await sim.step(each)).status for each in (sale, onward)}
    assert stand == ({StepStatus.READY} if late else {StepStatus.DONE})
    await sim.check(ended=not late)


HEAD = Head(
    number=100,
    hash="0x",
    parent_hash="0x",
    timestamp=0,
    base_fee_wei=0,
    gas_used=0,
    gas_limit=1,
)


def test_confirmations_grow_with_what_is_at_stake():
    rule = FinalityRule(confirmations=2, value_step=1_000 * DOLLAR, most=20, reorg_depth=12)
    depths = [rule.depth(units * DOLLAR) for units in (0, 999, 1_000, 5_500, 10**6)]
    assert depths == [2, 2, 3, 7, 20]
    assert rule.depth(None) == 20
    assert FinalityRule(confirmations=30, value_step=1, most=20).depth(10**9) == 30
    assert rule.confirms(98, HEAD, None, 0)
    assert not rule.confirms(98, HEAD, None, 3_000 * DOLLAR)
    assert not rule.ends(98, HEAD, None, 0)
    assert rule.ends(88, HEAD, None, 0)
    assert not rule.ends(88, HEAD, None, 10**6 * DOLLAR)


@pytest.mark.parametrize("tag", [Tag.SAFE, Tag.FINALIZED])
def test_the_chains_own_word_is_waited_for_where_it_is_asked_for(tag):
    rule = FinalityRule(confirmations=2, reorg_depth=3, tag=tag)
    assert not rule.confirms(90, HEAD, None, 0)
    assert not rule.confirms(90, HEAD, Settled(safe=None, final=None), 0)
    said = replace(HEAD, number=90)
    word = Settled(safe=said, final=None) if tag is Tag.SAFE else Settled(safe=None, final=said)
    assert rule.confirms(90, HEAD, word, 0)
    assert not rule.ends(91, HEAD, word, 0)


async def test_a_large_fill_waits_longer_than_a_small_one():
    sim = Sim(replace(DEEP, value_step=5_000 * DOLLAR, numeraire=USDC, most_confirmations=8))
    await sim.ready()
    small, large = await sim.add(ETHER), await sim.add(20 * ETHER)
    await sim.executor.turn()
    await sim.tick(3)
    assert (await sim.step(small)).final
    assert not (await sim.step(large)).final
    await sim.tick(6)
    assert (await sim.step(large)).final
    await sim.settle(6)
    await sim.check()


async def test_p7_shallow_reorganisations_one_after_the_other_are_not_a_deep_one():
    """Blocks of the trail that went once, or that were never looked at, say nothing later."""
    sim = Sim(bounded(confirmations=1, reorg_depth=4))
    await sim.ready()
    await sim.tick(8)
    for _ in range(2):
        sim.chain.reorganise(3)
        await sim.tick(2)
        sim.chain.mine()  # nobody looks at it
        sim.chain.reorganise(4)
        await sim.tick(2)
    assert sim.state == LaneState.READY
    assert not sim.executor.lanes[0].torn
    await sim.check()


async def test_p6_receipts_are_waited_for_anew_when_a_nonce_was_free_again():
    """How long a receipt has been missing counts from the nonce's last use, not from its first."""
    sim = Sim(bounded(confirmations=2, reorg_depth=2))
    await sim.ready()
    await sim.tick(3)
    step_id = await sim.add()
    await sim.executor.turn()
    receipts, sent_by = sim.chain.receipts, sim.chain.sent_by

    async def late(tx_hashes):
        return tuple(None for _ in tx_hashes)

    async def nothing(account, first, last):
        return ()

    sim.chain.receipts, sim.chain.sent_by = late, nothing  # type: ignore[method-assign]
    await sim.executor.on_head(sim.chain.mine())
    assert sim.executor.lanes[0].missing
    sim.chain.reorganise(1, keep=True)
    await sim.executor.on_head(sim.chain.newest.head)
    assert not sim.executor.lanes[0].missing
    sim.chain.receipts, sim.chain.sent_by = receipts, sent_by  # type: ignore[method-assign]
    await sim.settle()
    assert (await sim.step(step_id)).status is StepStatus.DONE
    await sim.check()


async def test_p8_a_lane_that_was_read_anew_forgets_what_left_the_chain_meanwhile():
    """Else the next reorganisation would look as deep as the oldest block it forgot to forget."""
    sim = Sim(bounded(confirmations=1, reorg_depth=4))
    await sim.ready()
    await sim.tick(8)
    lane = sim.executor.lanes[0]
    lane.stale = True
    sim.chain.reorganise(3)
    await sim.tick(2)
    numbers = sorted(lane.trail)
    headers = await sim.chain.headers(numbers)
    assert numbers
    assert [lane.trail[n] for n in numbers] == [h.hash for h in headers if h is not None]
    assert not lane.torn
    await sim.check()
