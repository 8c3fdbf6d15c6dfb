"""What goes wrong between a pool and its logs is named, and the pool stands still (P6, P7).

Real chains; only the answers of the node are tampered with, or the storage of the chain itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from eth_hash.auto import keccak

from sep_ray.adapters.evm.abi import word
from sep_ray.adapters.evm.addresses import ETHEREUM
from sep_ray.adapters.evm.discovery import usable_tokens
from sep_ray.adapters.evm.heads import newest_head
from sep_ray.adapters.evm.snapshots import CHECK_EVERY, STAND_BLOCKS
from sep_ray.devnet.trading import DrivenChain, approvals, swap
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import NATIVE
from sep_ray.routing.pools.pool import Pool, Venue
from sep_ray.routing.snapshot import Snapshot
from sep_ray.routing.stops import StopCause
from tests.fixtures.chains import Pair
from tests.fixtures.reading import Reading, reading

TRADER = "0x" + "7e" * 20
VENUES = pytest.mark.parametrize("venue", list(Venue))


class Tampered:
    """A node whose eth_getLogs answers pass through `change` on their way."""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc
        self.change: Callable[[list[Any]], list[Any]] | None = None

    async def batch(self, calls: Any) -> list[Any]:
        answers: list[Any] = await self._rpc.batch(calls)
        if self.change is None:
            return answers
        return [
            self.change(answer) if method == "eth_getLogs" else answer
            for (method, _), answer in zip(calls, answers, strict=True)
        ]


class Traded:
    """One chain, a pool of one family, and somebody who trades in it."""

    def __init__(self, pair: Pair, reads: Reading, node: Tampered, pool: Pool) -> None:
        self.pair, self.reads, self.node, self.pool = pair, reads, node, pool
        self._chain = DrivenChain(
            rpc=pair.rpc(ETHEREUM), book=pair.book(ETHEREUM), pools=pair.pools(ETHEREUM)
        )
        stock = {"ETH": 10**21, "WETH": 10**21, "USDC": 10**13, "USDT": 10**13, "WBTC": 10**10}
        pair.fund(ETHEREUM, TRADER, **stock, DAI=10**24)
        self._chain.rpc("anvil_impersonateAccount", TRADER)
        self._chain.rpc.transact(approvals(self._chain, TRADER, list(stock)[1:]))

    def trade(self, part: int = 1_000) -> None:
        """Sell one `part`th of the pool's depth."""
        known = next(p for p in self.pair.pools(ETHEREUM) if p.address == self.pool.address)
        amount = self.pool.depth(self.pool.token0) // part
        order = swap(self._chain, known, TRADER, self.pool.token0, amount)
        self._chain.rpc.transact([order])

    async def seen(self) -> Snapshot:
        return await self.reads.newest()

    async def stopped_within(self, blocks: int) -> Snapshot:
        """Read block by block until the pool stands still."""
        for _ in range(blocks):
            snapshot = await self.seen()
            if snapshot.stopped:
                return snapshot
            self.pair.mine(ETHEREUM)
        raise AssertionError("nothing was noticed")


@asynccontextmanager
async def tampering(pair: Pair) -> AsyncIterator[tuple[Reading, Tampered]]:
    """Read a chain through a node that can be tampered with."""
    nodes: list[Tampered] = []

    def between(rpc: Any) -> Tampered:
        nodes.append(Tampered(rpc))
        return nodes[0]

    async with reading(pair, ETHEREUM, wrap=between) as reads:
        yield reads, nodes[0]


async def trading(pair: Pair, reads: Reading, node: Tampered, venue: Venue) -> Traded:
    snapshot = await reads.newest()
    usdc, weth = pair.book(ETHEREUM).usdc, pair.book(ETHEREUM).weth
    pool = next(p for p in snapshot.between(usdc, weth) if p.venue is venue and p.fee_ppm == 3_000)
    traded = Traded(pair, reads, node, pool)
    await reads.newest()
    return traded


def only_stop(snapshot: Snapshot, pool: Pool) -> StopCause:
    """The cause of the one stop there is; the pool can no longer be routed on."""
    (stop,) = snapshot.stopped
    assert stop.pool == pool.address
    assert pool.address not in {each.address for each in snapshot.pools}
    return stop.cause


@VENUES
async def test_a_missed_log_is_found_out_and_named(chains: Pair, venue: Venue) -> None:
    async with tampering(chains) as (reads, node):
        traded = await trading(chains, reads, node, venue)
        node.change = lambda _: []
        traded.trade()
        snapshot = await traded.seen()
        node.change = None
        assert not snapshot.stopped or only_stop(snapshot, traded.pool)
        found = await traded.stopped_within(CHECK_EVERY + 1)
        assert only_stop(found, traded.pool) is StopCause.MISSED_LOG


@VENUES
async def test_p6_nothing_is_signed_on_a_pool_that_differs(chains: Pair, venue: Venue) -> None:
    """`confirm` finds at once what the checks in turn would find later."""
    async with tampering(chains) as (reads, node):
        traded = await trading(chains, reads, node, venue)
        node.change = lambda _: []
        traded.trade()
        await traded.seen()
        node.change = None
        head = await newest_head(reads.rpc)
        still = await reads.reader.confirm(head, [traded.pool.address])
        assert still == {traded.pool.address}
        assert only_stop(await traded.seen(), traded.pool) is StopCause.MISSED_LOG
        assert await reads.reader.confirm(head, []) == frozenset()
        chains.mine(ETHEREUM)
        with pytest.raises(Transient):
            await reads.reader.confirm(await newest_head(reads.rpc), [traded.pool.address])


async def test_a_late_log_is_named_as_such(chains: Pair) -> None:
    async with tampering(chains) as (reads, node):
        traded = await trading(chains, reads, node, Venue.UNISWAP_V3)
        held: list[Any] = []

        def hold(logs: list[Any]) -> list[Any]:
            held.extend(logs)
            return []

        node.change = hold
        traded.trade()
        await traded.seen()
        node.change = lambda logs: [*held, *logs]
        chains.mine(ETHEREUM)
        snapshot = await traded.seen()
        assert only_stop(snapshot, traded.pool) is StopCause.LATE_DELIVERY


@VENUES
async def test_a_reorganisation_nobody_told_of_is_named(new_chains: Any, venue: Venue) -> None:
    """The head claims to follow the block we know; the swap we saw is on no chain any more."""
    pair = new_chains(mining="manual")
    async with reading(pair, ETHEREUM) as reads:
        traded = await trading(pair, reads, Tampered(None), venue)
        traded.trade()
        last = await traded.seen()
        pair.rpc(ETHEREUM)("anvil_reorg", 1, [])
        pair.mine(ETHEREUM)
        for _ in range(CHECK_EVERY + 1):
            head = replace(await newest_head(reads.rpc), parent_hash=last.block_hash)
            last = await reads.reader.read(head)
            if last.stopped:
                break
            pair.mine(ETHEREUM)
        assert only_stop(last, traded.pool) is StopCause.UNSEEN_REORG


async def test_p7_a_reorganisation_that_is_seen_reads_everything_anew(new_chains: Any) -> None:
    pair = new_chains(mining="manual")
    async with reading(pair, ETHEREUM) as reads:
        traded = await trading(pair, reads, Tampered(None), Venue.UNISWAP_V4)
        before = await traded.seen()
        traded.trade()
        assert (await traded.seen()).pools != before.pools
        pair.rpc(ETHEREUM)("anvil_reorg", 1, [])
        after = await traded.seen()
        assert (after.pools, after.stopped) == (before.pools, ())


def v4_liquidity_slot(pool: Pool) -> int:
    """PoolManager keeps its pools in a mapping in slot 6; liquidity is the fourth word of one."""
    key = bytes.fromhex(pool.address[2:]) if pool.venue is Venue.UNISWAP_V4 else bytes(32)
    return int.from_bytes(keccak(key + word(6)), "big") + 3


def overwrite(pair: Pair, pool: Pool) -> None:
    """Change what the contract holds of a pool, without any log."""
    rpc = pair.rpc(ETHEREUM)
    slots = {Venue.UNISWAP_V2: 8, Venue.UNISWAP_V3: 4, Venue.UNISWAP_V4: v4_liquidity_slot(pool)}
    keeper = pair.book(ETHEREUM).v4_pools if pool.venue is Venue.UNISWAP_V4 else pool.address
    slot = f"0x{slots[pool.venue]:064x}"
    held = int(rpc("eth_getStorageAt", keeper, slot, "latest"), 16)
    rpc("anvil_setStorageAt", keeper, slot, f"0x{held - 10**6:064x}")


@VENUES
async def test_a_storage_write_is_named_and_healed_by_a_full_read_alone(
    chains: Pair, venue: Venue, capsys: pytest.CaptureFixture[str]
) -> None:
    async with reading(chains, ETHEREUM) as reads:
        traded = await trading(chains, reads, Tampered(None), venue)
        overwrite(chains, traded.pool)
        chains.mine(ETHEREUM)
        found = await traded.stopped_within(CHECK_EVERY + 1)
        assert only_stop(found, traded.pool) is StopCause.STORAGE_CHANGED
        capsys.readouterr()
        traded.trade()  # a log of a pool that stands still changes nothing
        for _ in range(STAND_BLOCKS - 2):
            chains.mine(ETHEREUM)
            assert only_stop(await traded.seen(), traded.pool) is StopCause.STORAGE_CHANGED
        chains.mine(ETHEREUM, 2)
        back = await traded.seen()
        assert back.stopped == ()
        assert "pool_returned" in capsys.readouterr().out
        fresh = await reads.anew()
        assert {p.address: p for p in back.pools}[traded.pool.address] == {
            p.address: p for p in fresh.pools
        }[traded.pool.address]


@pytest.mark.parametrize("code", ["0x", "0x60045f5260205ff3", "0x5f5ffd"])
async def test_a_token_without_its_decimals_is_left_out(chains: Pair, code: str) -> None:
    """No contract, other decimals (four), or one that reverts: no traceback, no amounts of it."""
    book = chains.book(ETHEREUM)
    listed = [token for token in book.tokens() if token.asset.address != NATIVE]
    async with reading(chains, ETHEREUM) as reads:
        assert list(await usable_tokens(reads.rpc, listed)) == listed
        chains.rpc(ETHEREUM)("anvil_setCode", book.dai, code)
        kept = await usable_tokens(reads.rpc, listed)
    assert {token.symbol for token in listed} - {token.symbol for token in kept} == {"DAI"}
