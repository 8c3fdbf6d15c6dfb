"""A lane's transactions per second against a bare loop that signs and sends the same ones.

The lane is the real ChainExecutor with the real store and signer, in this process, on a local
chain that mines by the clock, on the event loop of its actor, and it logs as it always does. It
works through hundreds of ready steps: plans each, books the reserve, signs, makes the bytes
durable, sends, and reads what became of them. The bare loops then send the very same calls, in the
same order, on a fresh copy of the same chain, and keep no record:

* web3: one by one, signed by eth_account (coincurve installed), sent by web3's HTTP provider;
  this is what an engineer writes who only wants to send, and what the goal is set against;
* hand-tuned: our own signer, 64 to a request.

All are timed from the start to the block that holds the last transaction.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import UUID

import uvloop
from eth_account import Account
from web3 import HTTPProvider, Web3

from bench.place import CACHE
from bench.report import Figure
from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.adapters.evm.endpoints import Access
from sep_ray.adapters.evm.rpc import EvmRpc
from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.adapters.evm.world import open_world, rules_of
from sep_ray.adapters.postgres import PostgresStore, migrate
from sep_ray.decomposition.step import Step, StepCreated, StepStatus
from sep_ray.decomposition.step import evolve as evolve_step
from sep_ray.devnet.build import build_states
from sep_ray.devnet.chains import Chains
from sep_ray.devnet.funding import fund
from sep_ray.devnet.node import NodeOptions
from sep_ray.devnet.packages import install
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.devnet.rpc import Rpc
from sep_ray.engine.executor import ChainExecutor
from sep_ray.engine.finality import FinalityRule
from sep_ray.engine.lane import LaneState
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.intent.intent import Constraints, Side
from sep_ray.journal.records import Append, Commit
from sep_ray.kernel.clock import Millis, SteadyClock, SystemClock
from sep_ray.kernel.ids import SystemIds
from sep_ray.logs import configure
from sep_ray.portfolio.ledger import TREASURY

CHAIN: Final = ARBITRUM
BOOK: Final = BOOKS[CHAIN]
BLOCK_S: Final = 0.25
BLOCK_GAS: Final = 240_000_000
"""Room for every transaction of a run: the node's own 30 million would be what is measured, and a
node whose block is full drops transactions of other gas limits from its pool."""
STEPS: Final = 800
ROUNDS: Final = 5
GOAL: Final = 0.8
SECRET: Final = b"\x3d" * 32
SIGNER: Final = LocalSigner(SECRET)
FUNDS: Final = {"ETH": 10**21, "WETH": 10**20, "USDC": 10**12}
TRADES: Final = (("WETH", "USDC", 10**16), ("USDC", "WETH", 25 * 10**6))
MAX_FEE_WEI: Final = 10**11
BATCH: Final = 64
WAIT_S: Final = 60.0
WATCH_S: Final = 0.02

Calls = Sequence[tuple[Call, int]]
"""Calls with their gas limits, in the order of nonces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A run: its transactions, the seconds until the last was in a block, this process's CPU."""

    calls: Calls
    seconds: float
    cpu_s: float
    booked_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Transactions per second."""
        return len(self.calls) / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU of this process per transaction, without the node's and the database's."""
        return self.cpu_s / len(self.calls) * 1e3


class Watch:
    """Notes when an account's nonce last moved on chain, from a thread of its own."""

    def __init__(self, url: str) -> None:
        self._rpc = Rpc(url)
        self._stop = threading.Event()
        self.nonce = 0
        self.moved_at = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def await_nonce(self, nonce: int) -> float:
        """Return when the chain had taken so many transactions; TimeoutError if it does not."""
        deadline = time.monotonic() + WAIT_S
        while self.nonce < nonce:
            if time.monotonic() > deadline or not self._thread.is_alive():
                pool = self._rpc("txpool_status")
                raise TimeoutError(f"{self.nonce} of {nonce} transactions were mined; {pool}")
            time.sleep(WATCH_S / 2)
        return self.moved_at

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()
        self._rpc.close()

    def _run(self) -> None:
        while not self._stop.wait(WATCH_S):
            now = int(self._rpc("eth_getTransactionCount", SIGNER.address, "latest"), 16)
            if now != self.nonce:
                self.nonce, self.moved_at = now, time.monotonic()


def run(folder: Path, cache: Path = CACHE) -> list[Figure]:
    """Run lane and loops in turn, ROUNDS times, each on a fresh copy of the same chain."""
    bundle = install(cache)
    states = build_states(bundle, cache)
    postgres = EmbeddedPostgres(folder, die_with_starter=True)
    postgres.start()
    runs: list[tuple[Sent, Sent, Sent]] = []

    def on_fresh_chain(work: Callable[[str], Sent]) -> Sent:
        options = {ETHEREUM: NodeOptions(mining="manual"), CHAIN: NodeOptions(block_time_s=BLOCK_S)}
        with Chains(bundle, states, options=options) as chains:
            endpoint = chains.endpoints[CHAIN]
            rpc = Rpc(endpoint.http)
            fund(rpc, BOOK, SIGNER.address, FUNDS)
            rpc("evm_setBlockGasLimit", hex(BLOCK_GAS))
            rpc.close()
            return work(endpoint.http)

    log = (folder / "lane.log").open("w")
    configure("json", "info", log)
    try:
        for number in range(ROUNDS):
            postgres.sql(f"CREATE DATABASE lane_{number}")
            url = postgres.url(f"lane_{number}")
            lane = on_fresh_chain(lambda http, url=url: _as_an_actor(_lane(http, url)))
            calls = lane.calls
            loop = on_fresh_chain(lambda http, calls=calls: _web3_loop(http, calls))
            tuned = on_fresh_chain(lambda http, calls=calls: _as_an_actor(_tuned(http, calls)))
            runs.append((lane, loop, tuned))
    finally:
        postgres.stop()
        configure("console", "error")
        log.close()
    return _figures(runs)


def _figures(runs: Sequence[tuple[Sent, Sent, Sent]]) -> list[Figure]:
    lanes, loops, tuned = (list(each) for each in zip(*runs, strict=True))
    to_loop = [lane.per_second / loop.per_second for lane, loop, _ in runs]
    to_tuned = [lane.per_second / fast.per_second for lane, _, fast in runs]
    lane_s = median(lane.per_second for lane in lanes)
    return [
        Figure(
            name="a lane's transactions per second / a bare web3 + eth_account loop's",
            value=median(to_loop),
            unit="ratio",
            goal=GOAL,
            detail={
                "rounds": [round(ratio, 2) for ratio in to_loop],
                "lane_per_s": round(lane_s),
                "loop_per_s": round(median(loop.per_second for loop in loops)),
                "lane_cpu_ms": round(median(lane.cpu_ms for lane in lanes), 2),
                "loop_cpu_ms": round(median(loop.cpu_ms for loop in loops), 2),
                "transactions": len(lanes[0].calls),
                "booked_after_s": round(median(lane.booked_s for lane in lanes), 2),
                "block_s": BLOCK_S,
            },
        ),
        Figure(
            name="a lane's transactions per second / a hand-tuned loop's, 64 a request",
            value=median(to_tuned),
            unit="ratio",
            goal=None,
            detail={
                "lane_per_s": round(lane_s),
                "loop_per_s": round(median(fast.per_second for fast in tuned)),
                "loop_cpu_ms": round(median(fast.cpu_ms for fast in tuned), 2),
            },
        ),
    ]


def _as_an_actor(work: Coroutine[Any, Any, Sent]) -> Sent:
    """Run on the event loop that Ray gives its actors."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _lane(http: str, database: str) -> Sent:
    """Let an executor work through STEPS ready steps."""
    await migrate(database)
    store = await PostgresStore.connect(database, clock=SystemClock())
    try:
        async with _executor(http, store) as executor:
            await _until(lambda: executor.status().lanes[0].state is LaneState.READY)
            ids = await _make_ready(store)
            watch = Watch(http)
            began, spent = time.monotonic(), time.process_time()
            executor.hint()
            await _finished(store, executor)
            booked, spent = time.monotonic() - began, time.process_time() - spent
            last = executor.status().lanes[0].next_nonce
            ended = await asyncio.to_thread(watch.await_nonce, last)
            await asyncio.to_thread(watch.close)
        return Sent(
            calls=await _calls(store, ids), seconds=ended - began, cpu_s=spent, booked_s=booked
        )
    finally:
        await store.close()


@asynccontextmanager
async def _executor(http: str, store: PostgresStore) -> AsyncIterator[ChainExecutor]:
    clock, stop = SystemClock(), asyncio.Event()
    async with open_world(BOOK, Access.to(http), block_seconds=BLOCK_S) as world:
        executor = ChainExecutor(
            world,
            store,
            [SIGNER],
            rules_of(BOOK, block_seconds=BLOCK_S, finality=FinalityRule()),
            clock=clock,
            steady=SteadyClock(),
            ids=SystemIds(clock),
            holder="bench",
        )
        running = asyncio.create_task(executor.run(stop))
        try:
            yield executor
        finally:
            stop.set()
            await running


async def _make_ready(store: PostgresStore) -> list[UUID]:
    """Write STEPS ready steps, as the router would; return their ids."""
    clock = SystemClock()
    ids, now = SystemIds(clock), clock.now()
    steps = [_step(ids, number, now) for number in range(STEPS)]
    appends = tuple(
        Append(
            stream_id=step.stream_id,
            expected_version=0,
            events=(StepCreated(step=step),),
            correlation_id=step.intent_id,
        )
        for step in steps
    )
    states = tuple(evolve_step(None, StepCreated(step=step)) for step in steps)
    await store.commit(Commit(at=now, appends=appends, states=states))
    return [step.id for step in steps]


def _step(ids: SystemIds, number: int, now: Millis) -> Step:
    sell, buy, amount = TRADES[number % len(TRADES)]
    return Step(
        id=ids.next(),
        intent_id=ids.next(),
        strategy_id=TREASURY,
        ordinal=0,
        chain_id=CHAIN,
        sell=BOOK.token(sell).asset,
        buy=BOOK.token(buy).asset,
        amount=amount,
        side=Side.SELL,
        constraints=Constraints(),
        priority=1.0,
        due=now,
        deadline=Millis(now + 600_000),
        status=StepStatus.READY,
    )


async def _calls(store: PostgresStore, ids: Sequence[UUID]) -> list[tuple[Call, int]]:
    """Return what the lane sent, by nonce, with gas limits; all steps must be done."""
    steps = [step for each in ids if (step := await store.step(each)) is not None]
    undone = [step for step in steps if step.status is not StepStatus.DONE]
    if undone:
        raise RuntimeError(f"{len(undone)} steps are not done: {undone[0]}")
    encoder = SwapEncoder(BOOK)
    attempts = [a for step in steps for a in await store.attempts_of([step.id])]
    ordered = sorted(attempts, key=lambda attempt: attempt.nonce)
    if [attempt.nonce for attempt in ordered] != list(range(len(ordered))):
        raise RuntimeError("the lane sent more than its steps' transactions, or sent one twice")
    return [(encoder.inside(a.newest.raw), a.newest.gas_limit) for a in ordered]


async def _until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not check():  # noqa: ASYNC110 - the executor does not say
            await asyncio.sleep(WATCH_S)


async def _finished(store: PostgresStore, executor: ChainExecutor) -> None:
    """Return when no step is ready and no transaction in flight."""
    async with asyncio.timeout(WAIT_S):
        while (  # noqa: ASYNC110 - the executor does not say
            await store.ready_steps(CHAIN, 1) or executor.status().lanes[0].in_flight
        ):
            await asyncio.sleep(WATCH_S)


def _web3_loop(url: str, calls: Calls) -> Sent:
    """Sign and send one after another, counting nonces here."""
    web3 = Web3(HTTPProvider(url, exception_retry_configuration=None))
    account = Account.from_key(SECRET)
    watch, hashes = Watch(url), []
    began, spent = time.monotonic(), time.process_time()
    for nonce, (call, gas) in enumerate(calls):
        signed = account.sign_transaction(
            {
                "type": 2,
                "chainId": CHAIN,
                "nonce": nonce,
                "to": Web3.to_checksum_address(call.to),
                "value": call.value_wei,
                "data": call.data,
                "gas": gas,
                "maxFeePerGas": MAX_FEE_WEI,
                "maxPriorityFeePerGas": 0,
            }
        )
        hashes.append(web3.eth.send_raw_transaction(signed.raw_transaction).to_0x_hex())
    return _ended(url, calls, hashes, watch, began, time.process_time() - spent)


async def _tuned(url: str, calls: Calls) -> Sent:
    """Sign with our signer and hand BATCH over in one request."""
    rpc, watch, hashes = EvmRpc(url), Watch(url), []
    began, spent = time.monotonic(), time.process_time()
    try:
        for start in range(0, len(calls), BATCH):
            unsigned = [
                Unsigned(
                    chain_id=CHAIN,
                    nonce=nonce,
                    call=call,
                    gas_limit=gas,
                    max_fee_wei=MAX_FEE_WEI,
                    tip_wei=0,
                )
                for nonce, (call, gas) in enumerate(calls[start : start + BATCH], start=start)
            ]
            signed = await SIGNER.sign(unsigned)
            hashes += await rpc.batch([("eth_sendRawTransaction", [each.raw]) for each in signed])
    finally:
        await rpc.close()
    spent = time.process_time() - spent
    return await asyncio.to_thread(_ended, url, calls, hashes, watch, began, spent)


def _ended(
    url: str, calls: Calls, hashes: Sequence[str], watch: Watch, began: float, spent: float
) -> Sent:
    """Return what a loop did; RuntimeError when a transaction failed where the lane's did not."""
    try:
        ended = watch.await_nonce(len(calls))
    finally:
        watch.close()
    rpc = Rpc(url)
    try:
        receipts = rpc.batch([("eth_getTransactionReceipt", [each]) for each in hashes])
    finally:
        rpc.close()
    failed = [receipt for receipt in receipts if int(receipt["status"], 16) != 1]
    if failed:
        raise RuntimeError(f"{len(failed)} of the loop's transactions failed")
    return Sent(calls=calls, seconds=ended - began, cpu_s=spent)
