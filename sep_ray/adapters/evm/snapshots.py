"""Reads the market: every pool at exactly one block, in one request per block.

Prices, liquidity and reserves are read anew at each block, by hash, in one multicall. Ticks are
read once in a window around the price and then follow the Mint and Burn logs, which the same
request brings. A window is read again when the price nears its edge, when the chain was
reorganised or too much was missed, and when ticks and liquidity disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog

from sep_ray.adapters.evm.multicall import MULTICALL3, aggregate, results
from sep_ray.adapters.evm.pool_reads import (
    PoolKey,
    Slot,
    State,
    built,
    lens_read,
    parse_state,
    parse_ticks,
    state_reads,
)
from sep_ray.adapters.evm.rpc import RpcRefused
from sep_ray.adapters.evm.tick_book import BURN, MINT, Change, TickBook, parse_change, window
from sep_ray.execution.ports import Head
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import ChainId, Token
from sep_ray.routing.pools.pool import Pool, Venue
from sep_ray.routing.snapshot import Snapshot

log = structlog.get_logger()

REACH_TICKS: Final = 20_000
"""Ticks known to each side of the price: swaps that move it sevenfold can be quoted."""
MAX_GAP: Final = 256
"""Blocks of logs that are caught up with; beyond that the ticks are read again."""
LENSES: Final = 64
"""Bitmap words read in one eth_call, so that dense pools stay under a node's gas cap."""

Call = tuple[str, Sequence[Any]]


class Rpc(Protocol):
    """What the reader needs of a node."""

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of JSON-RPC calls sent in one request, in order."""


class SnapshotReader:
    """One chain's market. Not for concurrent reads: one `read` after the other."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        chain_id: ChainId,
        pools: Sequence[PoolKey],
        tokens: Sequence[Token],
        wrapped_native: str | None,
        tick_lens: str,
        multicall: str = MULTICALL3,
        reach_ticks: int = REACH_TICKS,
    ) -> None:
        self._rpc = rpc
        self._chain_id = chain_id
        self._pools = tuple(pools)
        self._tokens = tuple(tokens)
        self._wrapped_native = wrapped_native
        self._tick_lens = tick_lens
        self._multicall = multicall
        self._reach = reach_ticks
        reads = [read for key in self._pools for read in state_reads(key)]
        self._count = len(reads)
        self._call = aggregate(reads, multicall)
        self._v3 = {k.address: k for k in self._pools if k.venue is Venue.UNISWAP_V3}
        self._filter = {"address": list(self._v3), "topics": [[MINT, BURN]]}
        self._books: dict[str, TickBook] = {}
        self._last: Snapshot | None = None

    async def read(self, head: Head) -> Snapshot:
        """Return the market as it stood right after `head`.

        Raises Transient when the node does not know that block (any more); the next read mends
        whatever this one left out. A pool that does not answer, or whose state makes no sense,
        is left out and logged.
        """
        if self._last is not None and head.hash == self._last.block_hash:
            return self._last
        last, self._last = self._last, None  # a read that fails half-way starts anew
        try:
            states, changes = await self._states(last, head)
            if changes is None:
                self._books.clear()
            else:
                self._follow(changes)
            await self._load(self._stale(states), states, head)
        except RpcRefused as refused:  # nodes word "I do not have that block" as they please
            raise Transient("block cannot be read", block=head.hash, why=str(refused)) from None
        self._last = self._snapshot(head, states)
        return self._last

    async def _states(
        self, last: Snapshot | None, head: Head
    ) -> tuple[dict[str, State], list[Change] | None]:
        """Read every pool's state, and the changes since `last`; None if they cannot be told."""
        calls: list[Call] = [("eth_call", [self._call, _at(head)])]
        if last is None or not self._v3:
            answers = await self._rpc.batch(calls)
            return self._parsed(answers[0]), [] if last is not None else None
        if head.parent_hash == last.block_hash:
            calls.append(("eth_getLogs", [{**self._filter, "blockHash": head.hash}]))
            answers = await self._rpc.batch(calls)
            return self._parsed(answers[0]), _changes(answers[1])
        return await self._caught_up(calls, last, head)

    async def _caught_up(
        self, calls: list[Call], last: Snapshot, head: Head
    ) -> tuple[dict[str, State], list[Change] | None]:
        """As `_states`, over a gap: logs by number count only if both ends are still canonical."""
        if not last.block_number < head.number <= last.block_number + MAX_GAP:
            answers = await self._rpc.batch(calls)
            return self._parsed(answers[0]), None
        span = {"fromBlock": hex(last.block_number + 1), "toBlock": hex(head.number)}
        ends: list[Call] = [
            ("eth_getBlockByNumber", [hex(number), False])
            for number in (last.block_number, head.number)
        ]
        calls += [*ends, ("eth_getLogs", [{**self._filter, **span}]), *ends]
        answers = await self._rpc.batch(calls)
        blocks = [answers[n] for n in (1, 2, 4, 5)]
        expected = [last.block_hash, head.hash] * 2
        same = [bool(b) and b["hash"].lower() == e for b, e in zip(blocks, expected, strict=True)]
        return self._parsed(answers[0]), _changes(answers[3]) if all(same) else None

    def _parsed(self, answer: str) -> dict[str, State]:
        found = iter(results(answer, self._count))
        states: dict[str, State] = {}
        for key in self._pools:
            parts = [next(found) for _ in state_reads(key)]
            state = parse_state(key, parts)
            if state is None:
                log.warning("pool_does_not_answer", chain_id=self._chain_id, pool=key.address)
            else:
                states[key.address] = state
        return states

    def _follow(self, changes: Iterable[Change]) -> None:
        by_pool: dict[str, list[Change]] = {}
        for change in changes:
            by_pool.setdefault(change.pool, []).append(change)
        for pool, its in by_pool.items():
            if pool in self._books:
                self._books[pool].apply(its)

    def _stale(self, states: Mapping[str, State]) -> list[str]:
        """Return the V3 pools whose ticks must be read (again)."""
        stale: list[str] = []
        for pool, state in states.items():
            if not isinstance(state, Slot):
                continue
            book = self._books.get(pool)
            if book is not None and not book.agrees(state.tick, state.liquidity):
                log.warning("pool_ticks_disagree", chain_id=self._chain_id, pool=pool)
                book = None
            if book is None or not book.surrounds(state.tick, self._reach):
                stale.append(pool)
        return stale

    async def _load(self, pools: Sequence[str], states: Mapping[str, State], head: Head) -> None:
        """Read the windows of these pools at `head`."""
        wanted = {pool: self._window(pool, states[pool]) for pool in pools}
        reads = [
            (pool, lens_read(self._tick_lens, pool, number))
            for pool, (low, high) in wanted.items()
            for number in range(low, high + 1)
        ]
        chunks = [reads[n : n + LENSES] for n in range(0, len(reads), LENSES)]
        calls: list[Call] = [
            ("eth_call", [aggregate([read for _, read in chunk], self._multicall), _at(head)])
            for chunk in chunks
        ]
        answers = await self._rpc.batch(calls) if calls else []
        ticks: dict[str, list[tuple[int, int, int]]] = {pool: [] for pool in pools}
        for chunk, answer in zip(chunks, answers, strict=True):
            for (pool, _), data in zip(chunk, results(answer, len(chunk)), strict=True):
                if data is None:
                    raise Transient("ticks cannot be read", pool=pool, block=head.number)
                ticks[pool] += parse_ticks(data)
        for pool in pools:
            slot = states[pool]
            if isinstance(slot, Slot):
                key, known = self._v3[pool], wanted[pool]
                book = TickBook(key.tick_spacing, known, ticks[pool], slot.tick, slot.liquidity)
                self._books[pool] = book

    def _window(self, pool: str, state: State) -> tuple[int, int]:
        tick = state.tick if isinstance(state, Slot) else 0
        return window(tick, self._v3[pool].tick_spacing, self._reach)

    def _snapshot(self, head: Head, states: Mapping[str, State]) -> Snapshot:
        found = (self._pool(key, states.get(key.address)) for key in self._pools)
        return Snapshot(
            chain_id=self._chain_id,
            block_number=head.number,
            block_hash=head.hash,
            block_time_s=head.timestamp,
            base_fee_wei=head.base_fee_wei,
            pools=tuple(pool for pool in found if pool is not None),
            tokens=self._tokens,
            wrapped_native=self._wrapped_native,
        )

    def _pool(self, key: PoolKey, state: State | None) -> Pool | None:
        book = self._books.get(key.address)
        try:
            return built(key, state, book.tick_map if book is not None else None)
        except Rejected as wrong:
            log.warning("pool_left_out", chain_id=self._chain_id, pool=key.address, why=str(wrong))
            return None


def _at(head: Head) -> dict[str, Any]:
    """Name a block by its hash (EIP-1898), so that no other can answer."""
    return {"blockHash": head.hash}


def _changes(logs: Iterable[dict[str, Any]]) -> list[Change]:
    return [parse_change(each) for each in logs if not each.get("removed")]
