"""The executor on real chains with real contracts: what was quoted is what the chain gives."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.adapters.evm.endpoints import Access
from sep_ray.adapters.evm.heads import parse_head
from sep_ray.adapters.evm.replay import replay
from sep_ray.adapters.evm.rpc import EvmRpc
from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.adapters.evm.world import lenses_of, open_world, rules_of
from sep_ray.adapters.memory import MemoryStore
from sep_ray.decomposition.step import StepStarted, StepStatus
from sep_ray.devnet.faults import Fault, FaultProxy, Rule
from sep_ray.devnet.rpc import call_data
from sep_ray.engine.executor import ChainExecutor
from sep_ray.engine.finality import FinalityRule
from sep_ray.engine.lane import LaneState
from sep_ray.engine.planning import Trade
from sep_ray.execution.attempt import AttemptStatus, Purpose
from sep_ray.execution.plan_text import signed_swap
from sep_ray.intent.intent import Constraints, Side
from sep_ray.kernel.clock import SystemClock
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.ids import SystemIds
from sep_ray.kernel.units import Ppm
from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.stops import StopCause
from tests.fixtures.journal_of_steps import StepBook

SIGNER = LocalSigner(b"\x31" * 32)
FUNDS = {"ETH": 100 * 10**18, "WETH": 50 * 10**18, "USDC": 200_000 * 10**6, "USDT": 10_000 * 10**6}
STRANGER = "0x" + "5a" * 20
V2_SALE = "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)"


class Desk:
    """An executor on one chain of a pair, with a journal in memory and funds for "desk"."""

    def __init__(self, pair, chain_id, world, store, **rules):
        self.pair, self.chain_id, self.book = pair, chain_id, BOOKS[chain_id]
        self.world, self.store, self.clock = world, store, SystemClock()
        self.rules = replace(
            rules_of(self.book, block_seconds=0.25, finality=FinalityRule(reorg_depth=2)), **rules
        )
        self.ids = SystemIds(self.clock)
        self.journal = StepBook(store, self.clock, self.ids, chain_id, SIGNER.address)
        self.executor = self.another("first")

    def another(self, holder):
        return ChainExecutor(
            self.world,
            self.store,
            [SIGNER],
            self.rules,
            clock=self.clock,
            steady=self.clock,
            ids=self.ids,
            holder=holder,
        )

    def asset(self, symbol):
        return self.book.token(symbol).asset

    async def fund(self):
        self.pair.fund(self.chain_id, SIGNER.address, **FUNDS)
        await self.executor.start()
        for symbol in FUNDS:
            if symbol != "ETH":
                await self.journal.allocate(self.asset(symbol), FUNDS[symbol], "desk")
        assert self.executor.status().lanes[0].state == LaneState.READY

    async def add(self, sell, buy, amount, **more):
        return await self.journal.add(self.asset(sell), self.asset(buy), amount, **more)

    async def tick(self, blocks=1):
        for _ in range(blocks):
            self.pair.mine(self.chain_id)
            await self.executor.on_head(await self.world.chain.head())

    async def reconcile(self):
        """P8: every asset's holdings add up to what the account has on chain."""
        head = await self.world.chain.head()
        state = await self.world.accounts.state(SIGNER.address, self.rules.assets, head)
        totals = await self.store.totals(self.chain_id)
        assert {a: n for a, n in state.units.items() if n} == {a: n for a, n in totals.items() if n}


@asynccontextmanager
async def desk(pair, chain_id=ETHEREUM, store=None, access=None, **rules):
    access = access or Access.to(pair.endpoints[chain_id].http)
    async with open_world(BOOKS[chain_id], access, block_seconds=0.25) as world:
        made = Desk(pair, chain_id, world, store or MemoryStore(SystemClock()), **rules)
        await made.fund()
        yield made


@pytest.mark.parametrize("chain_id", [ETHEREUM, ARBITRUM])
async def test_swaps_give_to_the_wei_what_was_quoted(new_chains, chain_id):
    """Both sides, all families of pools, one leg and several, several swaps in one block."""
    async with desk(new_chains(), chain_id) as at:
        v2, v3, v4 = (Constraints(venues=frozenset({v})) for v in Venue)
        steps = [
            await at.add("WETH", "USDC", 25 * 10**18),
            await at.add("WETH", "USDC", 10**18, constraints=v4),
            await at.add("USDC", "WBTC", 10**6, side=Side.BUY, constraints=v4),
            await at.add("WETH", "USDC", 10**18, constraints=v2),
            await at.add("WETH", "USDC", 2 * 10**18, constraints=v3),
            await at.add("WETH", "USDC", 10**17),
            await at.add("WETH", "WBTC", 10**18),
            await at.add("USDC", "DAI", 1_000 * 10**6),
            await at.add("USDT", "WETH", 3_000 * 10**6),
            await at.add("USDC", "WETH", 10**17, side=Side.BUY, constraints=v2),
            await at.add("USDC", "WETH", 10**17, side=Side.BUY, constraints=v3),
            await at.add("USDC", "WBTC", 10**6, side=Side.BUY),
            await at.add("USDC", "WETH", 12 * 10**18, side=Side.BUY),
        ]
        await at.executor.turn()
        await at.tick()
        for step_id in steps:
            step = await at.store.step(step_id)
            assert step.status is StepStatus.DONE, step
            variable = step.bought if step.side is Side.SELL else step.sold
            assert variable == step.quoted, step
            fixed = step.sold if step.side is Side.SELL else step.bought
            assert fixed == step.amount
        for step_id in (steps[0], steps[-1]):
            started = (await at.store.stream(f"step/{step_id}"))[1].event
            assert len(json.loads(started.plan)["legs"]) > 1
        await the_same_again(at, steps)
        await at.reconcile()
        await at.tick(2)
        attempts = await at.store.attempts_of(steps)
        assert {a.status for a in attempts} == {AttemptStatus.FINAL}
        await at.reconcile()


async def the_same_again(at, steps):
    """Each swap, run again on what those before it in its block left: to the unit; another is
    told apart."""
    rpc = EvmRpc(at.pair.endpoints[at.chain_id].http)
    try:
        for step_id in steps:
            found = await at.store.attempts_of([step_id])
            (attempt,) = (each for each in found if each.purpose is Purpose.SWAP)
            plan = (await at.store.stream(f"step/{step_id}"))[1].event.plan
            about = rpc, at.book, lenses_of(at.book), attempt.inclusion.tx_hash
            swap = signed_swap(plan)
            assert swap is not None
            found = await replay(*about, swap)
            step = await at.store.step(step_id)
            assert found.differences == ()
            assert found.predicted == found.moved == (step.sold, step.bought)
        legs = json.loads(plan)["legs"]
        hop = legs[-1]["hops"][0 if step.side is Side.SELL else -1]
        fixed = "amount_in" if step.side is Side.SELL else "amount_out"
        hop[fixed] = str(int(hop[fixed]) + 1)
        other = signed_swap(json.dumps({**json.loads(plan), "legs": legs}))
        assert other is not None
        assert len((await replay(*about, other)).differences) > 1
    finally:
        await rpc.close()


async def test_a_pool_that_differs_is_stopped_and_not_swapped_in(new_chains):
    """Storage written without a log: found before anything is signed on it, and routed around."""
    async with desk(new_chains()) as at:
        sale = await at.add("WETH", "USDC", 10**18)
        wanted = await at.executor.quote(Trade.of(await at.store.step(sale)))
        pool = wanted.route.pools[0]
        slot, rpc = f"0x{4:064x}", at.pair.rpc(ETHEREUM)
        assert wanted.route.hops[0].venue is Venue.UNISWAP_V3
        held = int(rpc("eth_getStorageAt", pool, slot, "latest"), 16)
        rpc("anvil_setStorageAt", pool, slot, f"0x{held // 2:064x}")
        await at.tick()
        assert {stop.pool for stop in at.executor.status().stopped} == {pool}
        assert at.executor.status().stopped[0].cause is StopCause.STORAGE_CHANGED
        await at.tick(3)
        step = await at.store.step(sale)
        assert (step.status, step.bought) == (StepStatus.DONE, step.quoted)
        plans = [e.event.plan for e in await at.store.stream(step.stream_id) if is_start(e.event)]
        assert [pool in plan for plan in plans] == [False]
        await at.reconcile()


def is_start(event):
    return isinstance(event, StepStarted)


async def test_p7_endpoints_that_lie_lag_and_die_never_make_the_engine_credit(new_chains):
    """P7, P8: one liar of three changes nothing; with no majority nothing moves until there is."""
    pair = new_chains()
    url = pair.url(ETHEREUM)
    async with FaultProxy(url) as liar, FaultProxy(url) as other:
        access = Access(urls=(liar.http, other.http, url), needed=2)
        async with desk(pair, access=access) as at:
            forged = {"status": "0x1", "logs": [], "gasUsed": "0x1"}
            receipts = ("eth_getTransactionReceipt",)
            liar.add(Rule(fault=Fault.FORGE, methods=receipts, result=forged))
            liar.add(Rule(fault=Fault.ANSWER, methods=("eth_getBalance",), result="0x" + "f" * 16))
            liar.add(Rule(fault=Fault.LIE))
            first = await at.add("WETH", "USDC", 10**18)
            await at.executor.turn()
            await at.tick(3)
            step = await at.store.step(first)
            assert (step.status, step.bought) == (StepStatus.DONE, step.quoted)
            await at.reconcile()
            second = await at.add("WETH", "USDC", 10**18)
            await at.executor.turn()
            other.add(Rule(fault=Fault.LAG, blocks=2))
            head = pair.rpc(ETHEREUM)("eth_getBlockByNumber", "latest", False)
            pair.mine(ETHEREUM)
            with pytest.raises(Transient, match="do not agree"):
                await at.world.chain.headers([int(head["number"], 16)])
            await at.executor.on_head(parse_head(head))
            assert (await at.store.step(second)).status is StepStatus.WORKING
            other.rules.clear()
            liar.rules.clear()
            liar.add(Rule(fault=Fault.CUT))
            await at.tick(3)
            step = await at.store.step(second)
            assert (step.status, step.bought) == (StepStatus.DONE, step.quoted)
            await at.reconcile()


async def test_a_price_that_moved_reverts_with_its_reason_and_is_tried_again(new_chains):
    async with desk(new_chains()) as at:
        tight = Constraints(max_slippage=Ppm(1_000), venues=frozenset({"uniswap-v2"}))
        step_id = await at.add("WETH", "USDC", 10**18, constraints=tight)
        at.pair.rpc(1)("evm_setAutomine", False)
        await at.executor.turn()
        await _trade_ahead(at)
        await at.tick()
        tried = await at.store.attempts_of([step_id])
        (swap,) = [each for each in tried if each.status is AttemptStatus.REVERTED]
        assert "price moved past the limit" in swap.detail
        await at.reconcile()
        await at.tick(5)
        step = await at.store.step(step_id)
        assert (step.status, step.tries) == (StepStatus.DONE, 2)
        await at.reconcile()


async def _trade_ahead(at):
    """Somebody with deeper pockets sells first in the same pair."""
    rpc, book = at.pair.rpc(1), at.book
    rpc("anvil_impersonateAccount", STRANGER)
    rpc("anvil_setBalance", STRANGER, hex(10**20))
    fees = {
        "gas": hex(500_000),
        "maxFeePerGas": hex(10**12),
        "maxPriorityFeePerGas": hex(10**12),
    }
    for to, value, data in (
        (book.weth, 5 * 10**19, "0x"),
        (book.weth, 0, call_data("approve(address,uint256)", book.v2_router, 10**30)),
        (
            book.v2_router,
            0,
            call_data(V2_SALE, 5 * 10**19, 0, [book.weth, book.usdc], STRANGER, 2**40),
        ),
    ):
        call = {"from": STRANGER, "to": to, "value": hex(value), "data": data}
        rpc("eth_sendTransaction", {**call, **fees})


class Killed(BaseException):
    """What nothing in the engine catches."""


async def test_p3_p11_a_new_process_finishes_what_the_old_one_signed(new_chains):
    """Killed after the journal and before the node: the same bytes are sent by the next one."""
    async with desk(new_chains()) as at:
        step_id = await at.add("WETH", "USDC", 10**18)

        async def killed(*_):
            raise Killed

        send, at.world.chain.send = at.world.chain.send, killed
        with pytest.raises(Killed):
            await at.executor.turn()
        at.world.chain.send = send
        prepared = await at.store.attempts_of([step_id])
        assert {a.status for a in prepared} == {AttemptStatus.PREPARED}
        await at.executor._leadership.release()
        at.executor = at.another("heir")
        await at.executor.start()
        await at.tick()
        step = await at.store.step(step_id)
        assert (step.status, step.bought) == (StepStatus.DONE, step.quoted)
        landed = await at.store.attempts_of([step_id])
        assert [a.newest.raw for a in landed] == [a.newest.raw for a in prepared]
        await at.reconcile()


async def test_p7_a_real_reorganisation_is_followed_both_ways(new_chains):
    """anvil forgets the transactions of the blocks it replaces: the same bytes land again."""
    async with desk(new_chains()) as at:
        step_id = await at.add("WETH", "USDC", 10**18)
        await at.executor.turn()
        await at.tick()
        first = await at.store.step(step_id)
        assert first.status is StepStatus.DONE
        at.pair.rpc(1)("anvil_reorg", 1, [])
        await at.executor.on_head(await at.world.chain.head())
        assert (await at.store.step(step_id)).status is StepStatus.WORKING
        await at.reconcile()
        await at.tick(4)
        again = await at.store.step(step_id)
        assert (again.status, again.bought) == (StepStatus.DONE, first.bought)
        assert {a.status for a in await at.store.attempts_of([step_id])} == {AttemptStatus.FINAL}
        await at.reconcile()


async def test_a_fee_spike_evicts_and_the_bump_lands(new_chains):
    """anvil drops what falls below the base fee without a word; the bump is in the next block."""
    async with desk(new_chains()) as at:
        step_id = await at.add("WETH", "USDC", 10**18)
        await at.executor.turn()
        high = max(a.newest.max_fee_wei for a in await at.store.attempts_of([step_id])) + 1
        at.pair.rpc(1)("anvil_setNextBlockBaseFeePerGas", hex(high * 2))
        await at.tick(3)
        step = await at.store.step(step_id)
        assert step.status is StepStatus.DONE
        for attempt in await at.store.attempts_of([step_id]):
            old, new = attempt.signed[0], attempt.newest
            assert new.max_fee_wei * 8 >= old.max_fee_wei * 9
        await at.reconcile()


async def test_it_runs_on_a_chain_that_mines_by_itself(new_chains):
    """Heads by subscription, work by hints, leases kept: until it is told to stop."""
    pair = new_chains(mining="interval", block_time_s=0.25)
    async with desk(pair, ARBITRUM) as at:
        stop = asyncio.Event()
        running = asyncio.create_task(at.executor.run(stop))
        steps = []
        for place in range(12):
            steps.append(await at.add("WETH", "USDC", 10**17 * (place + 1)))
            at.executor.hint()
            await asyncio.sleep(0.1)
        for step_id in steps:
            await _until(lambda step_id=step_id: _done(at, step_id))
        stop.set()
        await asyncio.wait_for(running, 10)
        assert at.executor.status().lanes[0].epoch is None
        head = await at.world.chain.head()
        await _until(lambda: _above(at, head.number))
        await at.reconcile()


async def _done(at, step_id):
    return (await at.store.step(step_id)).status is StepStatus.DONE


async def _above(at, number):
    return (await at.world.chain.head()).number > number


async def _until(check, seconds=20.0):
    deadline = asyncio.get_running_loop().time() + seconds
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)
