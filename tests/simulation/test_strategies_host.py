"""Strategies on a stage: they see every block once, submit once, and fail alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sep_ray.engine.enrolment import NotNow, placement
from sep_ray.engine.strategies import Limits, StrategyHost
from sep_ray.intent.states import (
    IntentAccepted,
    IntentCompleted,
    IntentDecomposed,
    IntentRejected,
    Reason,
    Status,
)
from sep_ray.journal.records import Submission
from sep_ray.kernel.ids import SeededIds
from sep_ray.strategy.record import StrategyRecord, StrategyStatus
from tests.fixtures.strategies import (
    DOLLAR,
    ETHER,
    START,
    Stage,
    everything,
    records_running,
)

RUNNING, PAUSED, STOPPED = StrategyStatus.RUNNING, StrategyStatus.PAUSED, StrategyStatus.STOPPED

DIARY = '''
from __future__ import annotations
from dataclasses import dataclass, field
from sep_ray.kernel.units import Asset
from sep_ray.strategy import BaseStrategy, param

@dataclass(frozen=True, kw_only=True)
class Params:
    base: Asset
    quote: Asset
    buy_at: int = 0
    fail_at: int = 0
    bar_blocks: int = 0

@dataclass
class State:
    started: int = 0
    blocks: list[int] = field(default_factory=list)
    bars: list[list[int]] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    submitted: list[str | None] = field(default_factory=list)
    stopped: bool = False

class Diary(BaseStrategy):
    """Writes down all it is told; buys one WETH whenever the price is at most buy_at."""
    params: Params
    state: State

    @property
    def bar_blocks(self) -> int:
        return self.params.bar_blocks

    def on_start(self):
        self.state.started += 1

    def on_block(self, market):
        price = round(market.price(self.params.base, self.params.quote))
        self.state.blocks.append(market.block_number)
        if price == self.params.fail_at:
            raise ValueError("cannot bear this price")
        if price <= self.params.buy_at:
            done = self.acquire(self.params.base, "1", using=self.params.quote, note="cheap")
            self.state.submitted.append(done and str(done))

    def on_bar(self, bar):
        self.state.bars.append([bar.first_block, bar.last_block])

    def on_intent_update(self, update):
        self.state.updates.append(update.status.value)

    def on_stop(self):
        self.state.stopped = True
        assert self.acquire(self.params.base, "1", using=self.params.quote) is None
'''
PAIR = {"base": "1/WETH", "quote": "1/USDC"}


async def enrol(stage: Stage, name: str = "diary", **params: object) -> None:
    await stage.enrol(name, "diary.py:Diary", DIARY, **PAIR, **params)


def state_of(host: StrategyHost, name: str = "diary"):
    hosted = host._hosted[name]
    assert hosted.runner is not None
    return hosted.runner.strategy.state


async def test_a_strategy_sees_every_block_once_and_in_order() -> None:
    stage = Stage()
    await stage.mine(2_000, 2_001)
    await enrol(stage, bar_blocks=3)
    host = stage.host()
    await host.start()
    await host.turn()
    assert state_of(host).blocks == []  # what came before is history
    await stage.mine(2_002, 2_003)
    await host.turn()
    await host.turn()
    await stage.mine(2_004, 2_005, 2_006)
    await host.turn()
    assert state_of(host).blocks == [3, 4, 5, 6, 7]
    assert state_of(host).bars == [[3, 5]]  # blocks 0..2 were over before it came
    assert state_of(host).started == 1


async def test_what_it_asks_for_becomes_its_intent_with_a_reason() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    host = stage.host()
    await host.start()
    await stage.mine(2_000, 1_900)
    await host.turn()
    (record,) = await stage.intents("diary")
    assert record.principal == "strategy:diary"
    assert (record.status, record.intent.amount, record.intent.note) == (
        Status.ACCEPTED,
        ETHER,
        "cheap",
    )
    assert state_of(host).submitted == [str(record.intent.id)]


async def test_p3_a_block_seen_again_by_a_new_process_submits_nothing_twice() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    for _ in range(5):
        host = stage.host()
        await host.start()
        await host.turn()
        await stage.mine(1_900)
        await host.turn()
        await host.turn()
    assert len(await stage.intents("diary")) == 5
    assert state_of(host).blocks == [1, 2, 3, 4, 5]


async def test_p3_p5_of_two_hosts_of_one_strategy_only_one_decides() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    hosts = [stage.host(), stage.host()]
    for host in hosts:
        await host.start()
        await host.turn()
    for _ in range(6):
        await stage.mine(1_900)
        for host in hosts:
            await host.turn()
        hosts.reverse()
    assert len(await stage.intents("diary")) == 6
    for host in hosts:
        await host.turn()
        await host.turn()
        assert state_of(host).blocks == [1, 2, 3, 4, 5, 6]


async def test_it_is_told_how_its_intents_fare_and_sees_the_money_first() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    await stage.give("diary", USDC=10_000 * DOLLAR)
    host = stage.host()
    await host.start()
    await stage.mine(1_900)
    await host.turn()
    (record,) = await stage.intents("diary")
    await host.turn()
    assert state_of(host).updates == ["ACCEPTED"]
    record = await stage.move(
        record, IntentDecomposed(score=1.0, score_source="model", why="first", steps=1)
    )
    await host.turn()
    await stage.give("diary", WETH=ETHER)
    await stage.move(record, IntentCompleted(reason=Reason.FILLED, sold=1, bought=ETHER))
    await host.turn()
    assert state_of(host).updates == ["ACCEPTED", "ACTIVE", "COMPLETED"]
    runner = host._hosted["diary"].runner
    assert runner is not None
    assert runner.strategy.open_intents == frozenset()
    assert runner.strategy.portfolio.available(runner.strategy.params.base) == ETHER


async def test_p11_what_happened_to_its_intents_while_it_was_away_is_told() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    host = stage.host()
    await host.start()
    await stage.mine(1_900)
    await host.turn()
    (record,) = await stage.intents("diary")
    await stage.move(record, IntentRejected(reason=Reason.INSUFFICIENT_BALANCE, detail="poor"))
    later = stage.host()
    await later.start()
    await later.turn()
    assert state_of(later).updates == ["REJECTED"]
    again = stage.host()
    await again.start()
    await again.turn()
    assert state_of(again).updates == ["REJECTED"]


async def test_a_failing_strategy_is_paused_with_the_reason_and_others_go_on() -> None:
    stage = Stage()
    await enrol(stage, "bad", buy_at=1_900, fail_at=1_800)
    await enrol(stage, "good", buy_at=1_900)
    host = stage.host()
    await host.start()
    await stage.mine(1_900, 1_800)
    await host.turn()
    status, detail = await stage.status("bad")
    assert status is PAUSED
    assert "on_block: ValueError: cannot bear this price (diary.py:" in detail
    assert await stage.status("good") == (RUNNING, "")
    assert len(await stage.intents("good")) == 2
    assert await stage.intents("bad") == []  # the turn it failed in counts for nothing

    await stage.enrolment.resume("bad", principal="alice", at=stage.clock.now())
    await host.turn()
    assert await stage.status("bad") == (RUNNING, "")  # the block it failed on is left out
    await stage.mine(1_900)
    await host.turn()
    assert len(await stage.intents("bad")) == 1
    assert len(await stage.intents("good")) == 3


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (DIARY.replace("self.state.started += 1", "raise KeyError('x')"), "on_start: KeyError"),
        (DIARY.replace("self.state.started += 1", "raise SystemExit(3)"), "on_start: SystemExit"),
        (DIARY.replace("class State:", "class State:\n    odd: object = None").replace(
            "self.state.started += 1", "self.state.odd = object()"), "saving: Misfit"),
        (DIARY.replace("self.state.started += 1",
                       "[self.acquire(self.params.base, '1', using=self.params.quote)"
                       " for _ in range(101)]"), "TooManyRequests"),
        (DIARY.replace("self.state.started += 1",
                       "self.acquire(self.params.base, '0', using=self.params.quote)"),
         "InvalidIntent"),
        (DIARY.replace("self.state.started += 1", "self.predict_with_model('none', [1.0])"),
         "NoSignal"),
    ],
)  # fmt: skip
async def test_whatever_a_strategy_does_wrong_pauses_it_alone(code: str, says: str) -> None:
    stage = Stage()
    await stage.enrol("bad", "diary.py:Diary", code, **PAIR)
    await enrol(stage, "good", buy_at=1_900)
    host = stage.host()
    await host.start()
    await stage.mine(1_900)
    await host.turn()
    status, detail = await stage.status("bad")
    assert status is PAUSED
    assert says in detail
    assert len(await stage.intents("good")) == 1


async def test_p12_a_handler_that_takes_too_long_pauses_its_strategy() -> None:
    stage = Stage()
    slow = DIARY.replace("self.state.started += 1", "self.clock.advance(12_000)")
    await stage.enrol("slow", "slow.py:Diary", slow, **PAIR)
    host = stage.host()
    await host.start()
    await host.turn()
    assert await stage.status("slow") == (PAUSED, "on_start took 12000 ms, 10000 are allowed")


async def test_p10_a_paused_strategy_sees_the_market_and_submits_nothing() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    host = stage.host()
    await host.start()
    await stage.enrolment.pause("diary", principal="risk", at=stage.clock.now(), detail="lunch")
    await stage.mine(1_900)
    await host.turn()
    assert state_of(host).blocks == [1]
    assert state_of(host).submitted == [None]
    again = stage.host()
    await again.start()
    await stage.mine(1_900)
    await again.turn()
    assert await stage.intents("diary") == []
    await stage.enrolment.resume("diary", principal="risk", at=stage.clock.now())
    await stage.mine(1_900)
    await again.turn()
    assert len(await stage.intents("diary")) == 1
    assert state_of(again).started == 2


async def test_old_blocks_are_seen_but_not_traded_on() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    host = stage.host()
    await host.start()
    await host.turn()
    await stage.mine(1_900)
    stage.clock.advance(60_001)
    await host.turn()
    assert state_of(host).submitted == [None]
    assert await stage.intents("diary") == []


async def test_a_stopped_strategy_tidies_up_and_may_be_started_anew() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    host = stage.host()
    await host.start()
    await stage.mine(1_900)
    await host.turn()
    await stage.enrolment.stop("diary", principal="alice", at=stage.clock.now())
    await host.turn()
    assert host.health()["strategies"] == {}
    kept = await stage.store.load_state("diary")
    assert kept is not None
    assert '"stopped":true' in kept[0]
    await stage.mine(1_900)
    await host.turn()

    await enrol(stage, buy_at=1_000)
    await host.turn()
    await stage.mine(1_900)
    await host.turn()
    assert state_of(host).blocks == [1, 3]  # its state goes on, the block between is history
    assert len(await stage.intents("diary")) == 1


async def test_state_that_no_longer_fits_starts_afresh_with_new_code() -> None:
    stage = Stage()
    await enrol(stage)
    host = stage.host()
    await host.start()
    await stage.mine(1_900)
    await host.turn()
    await stage.enrolment.stop("diary", principal="alice", at=stage.clock.now())
    await host.turn()
    await stage.enrol("diary", "diary.py:Diary", DIARY.replace("stopped", "ended"), **PAIR)
    await host.turn()
    assert state_of(host).blocks == []


async def test_what_cannot_be_read_back_pauses_its_strategy_alone() -> None:
    stage = Stage()
    await enrol(stage, "bad")
    await enrol(stage, "good", buy_at=1_900)
    await stage.store.save_state("bad", '{"what": 1}', 1)
    host = stage.host()
    await host.start()
    await stage.mine(1_900)
    await host.turn()
    status, detail = await stage.status("bad")
    assert status is PAUSED
    assert "loading: Misfit: is unknown (field=what" in detail
    assert len(await stage.intents("good")) == 1


async def test_an_intent_somebody_else_hands_in_for_it_is_its_own_too() -> None:
    stage = Stage()
    await enrol(stage, buy_at=1_900)
    host = stage.host()
    await host.start()
    await stage.mine(1_900)
    await host.turn()
    (record,) = await stage.intents("diary")
    foreign = replace(record.intent, id=SeededIds(stage.clock, 1).next())
    await stage.store.accept([Submission(intent=foreign, principal="alice")], stage.clock.now())
    await host.turn()
    runner = host._hosted["diary"].runner
    assert runner is not None
    assert runner.strategy.open_intents == {record.intent.id, foreign.id}
    assert state_of(host).updates == ["ACCEPTED", "ACCEPTED"]


async def test_enrolment_checks_before_it_records() -> None:
    stage = Stage()
    for name in ("", "UPPER", "treasury", "a/b", "x" * 64):
        with pytest.raises(Exception, match="not a strategy id"):
            await enrol(stage, name)
    with pytest.raises(Exception, match="buy_at does not fit"):
        await enrol(stage, buy_at="much")
    assert await stage.store.strategies() == ()
    with pytest.raises(NotNow):
        await stage.enrolment.pause("diary", principal="risk", at=START)
    await enrol(stage)
    with pytest.raises(NotNow):
        await enrol(stage)


def test_places_once_given_do_not_change() -> None:
    records = records_running([f"s{n}" for n in range(7)])
    assert placement(records, 1) == {f"strategy-s{n}": (f"s{n}",) for n in range(7)}
    assert placement(records, 3) == {
        "strategies-0": ("s0", "s1", "s2"),
        "strategies-1": ("s3", "s4", "s5"),
        "strategies-2": ("s6",),
    }
    fewer: list[StrategyRecord] = [
        replace(r, status=STOPPED) if r.id in {"s0", "s6"} else r for r in reversed(records)
    ]
    assert placement(fewer, 3) == {
        "strategies-0": ("s1", "s2"),
        "strategies-1": ("s3", "s4", "s5"),
    }


async def test_a_host_runs_what_it_is_assigned() -> None:
    stage = Stage()
    for name in ("a", "b", "c"):
        await enrol(stage, name)
    host = stage.host(assigned=lambda records: [r.id for r in records if r.id != "b"])
    await host.start()
    await enrol(stage, "d")
    await host.turn()
    assert sorted(host.health()["strategies"]) == ["a", "c", "d"]  # type: ignore[call-overload]


async def test_an_event_wakes_a_sleeping_host() -> None:
    stage = Stage()
    host = stage.host(limits=Limits(poll_s=5.0, rest_s=0.0), assigned=everything)
    await host.start()
    import asyncio

    stop = asyncio.Event()
    running = asyncio.create_task(host.run(stop))
    await asyncio.sleep(0.05)
    await enrol(stage, buy_at=1_900)
    await asyncio.sleep(0.05)
    await stage.mine(1_900)
    host.hint()
    await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(running, 1.0)
    (record,) = await stage.intents("diary")
    assert isinstance((await stage.store.stream(record.stream_id))[0].event, IntentAccepted)
