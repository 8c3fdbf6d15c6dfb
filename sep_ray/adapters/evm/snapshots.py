"""Follows the market: every pool at exactly one block, led there by its logs.

Pools are read as a whole once, at one block's hash. From then on the logs of each block move them:
one request brings them, together with a check of some pools against their contracts, so that
every pool is checked every CHECK_EVERY blocks; `confirm` checks chosen ones at once. A pool that
differs stands still, with the cause, and comes back only when it is read as a whole again, which
is logged. A chain that went another way than ours is read anew as a whole, and that is logged too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

import structlog

from sep_ray.adapters.evm.followed import Check, Followed, Lenses
from sep_ray.adapters.evm.multicall import MULTICALL3, Read, aggregate, results
from sep_ray.adapters.evm.pool_logs import MANAGER_TOPICS, POOL_TOPICS, PoolLog, parse_log
from sep_ray.adapters.evm.pool_reads import PoolKey, Slot, parse_state, state_reads
from sep_ray.adapters.evm.rpc import RpcRefused
from sep_ray.adapters.evm.stop_diagnosis import TRAIL, Call, Rpc, diagnose
from sep_ray.adapters.evm.tick_windows import read_books
from sep_ray.adapters.evm.tolls import Tolls
from sep_ray.execution.ports import Head
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import ChainId, Token
from sep_ray.routing.pools.pool import Pool, Venue
from sep_ray.routing.snapshot import Snapshot
from sep_ray.routing.stops import StopCause, StoppedPool

log = structlog.get_logger()

REACH_TICKS: Final = 20_000
"""Ticks known to each side of the price: swaps that move it sevenfold can be quoted."""
MAX_GAP: Final = 256
"""Blocks of logs that are caught up with; beyond that everything is read again."""
CHECK_EVERY: Final = 8
"""Blocks within which every pool is held against its contract once."""
STAND_BLOCKS: Final = 16
"""Blocks a pool stands still before it is read as a whole again."""
READS: Final = 64
"""Reads in one eth_call, so that dense pools stay under a node's gas cap."""


class SnapshotReader:
    """One chain's market. Not for concurrent use: one call after the other."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        chain_id: ChainId,
        pools: Sequence[PoolKey],
        tokens: Sequence[Token],
        wrapped_native: str | None,
        lenses: Lenses,
        multicall: str = MULTICALL3,
        reach_ticks: int = REACH_TICKS,
        tolls: Tolls | None = None,
    ) -> None:
        """`tolls` tells which tokens keep a part of what is moved: their pools are left out."""
        self._rpc = rpc
        self._chain_id = chain_id
        self._tokens = tuple(tokens)
        self._wrapped_native = wrapped_native
        self._lenses = lenses
        self._multicall = multicall
        self._reach = reach_ticks
        self._tolls = tolls
        self._taxed: tuple[str, ...] = ()
        self._pools = {key.address: Followed(key) for key in pools}
        self._filters = list(log_filters(pools, lenses))
        self._trail: dict[int, str] = {}
        self._next_checked = 0
        self._last: Snapshot | None = None

    async def read(self, head: Head) -> Snapshot:
        """Return the market as it stood right after `head`.

        Raises Transient when the node does not know that block (any more); the next read then
        begins anew. A pool that does not answer, makes no sense or differs from its contract is
        not in the snapshot but among its `stopped`.
        """
        last, self._last = self._last, None  # a read that fails half-way starts anew
        if last is not None and head.hash == last.block_hash:
            self._last = last
            return last
        try:
            if last is None or not await self._follow(last, head):
                await self._everything(head, "first" if last is None else "another chain or a gap")
            self._trail[head.number] = head.hash
            await self._return(head)
            await self._widen(head)
            if self._tolls is not None:
                self._taxed = await self._tolls.taxed(head)
        except RpcRefused as refused:  # nodes word "I do not have that block" as they please
            raise Transient("block cannot be read", block=head.hash, why=str(refused)) from None
        self._last = self._snapshot(head)
        return self._last

    async def confirm(self, head: Head, pools: Iterable[str]) -> frozenset[str]:
        """Hold pools against their contracts right after `head`; return those that stand still.

        What is signed on a snapshot rests on pools that were confirmed at its very block.
        """
        if self._last is None or self._last.block_hash != head.hash:
            raise Transient("another block has been read since", block=head.hash)
        wanted = [self._pools[each] for each in dict.fromkeys(pools) if each in self._pools]
        checks = [
            Check(each, self._lenses)
            for each in wanted
            if each.usable and each.verified != head.number
        ]
        try:
            answers = await self._ask([read for each in checks for read in each.reads], head)
            await self._compare(checks, answers, head)
        except RpcRefused as refused:
            raise Transient("pools cannot be read", block=head.hash, why=str(refused)) from None
        still = frozenset(each.key.address for each in wanted if not each.usable)
        if still:
            self._last = self._snapshot(head)
        return still

    # From block to block

    async def _follow(self, last: Snapshot, head: Head) -> bool:
        """Take in what happened since `last`; False when the way from there is not known."""
        checks = self._due_checks()
        reads = [read for each in checks for read in each.reads]
        direct = head.parent_hash == last.block_hash
        if not direct and not last.block_number < head.number <= last.block_number + MAX_GAP:
            return False
        logs, answers = await self._happened(last, head, reads, direct=direct)
        if logs is None:
            return False
        for each in sorted(logs, key=lambda found: (found.block_number, found.log_index)):
            await self._take(each, last, head, direct=direct)
        await self._compare(checks, answers, head)
        return True

    async def _happened(
        self, last: Snapshot, head: Head, reads: Sequence[Read], *, direct: bool
    ) -> tuple[list[PoolLog] | None, list[bytes | None]]:
        """Ask for logs and checks in one request; no logs (None) if `last` is not on this chain.

        Over a gap logs are asked for by number; that counts only if both ends stood before and
        after they were read.
        """
        chunks = [reads[n : n + READS] for n in range(0, len(reads), READS)]
        calls: list[Call] = [
            ("eth_call", [aggregate(chunk, self._multicall), at(head)]) for chunk in chunks
        ]
        span = {"blockHash": head.hash}
        ends: list[Call] = []
        if not direct:
            span = {"fromBlock": hex(last.block_number + 1), "toBlock": hex(head.number)}
            numbers = (last.block_number, head.number)
            ends = [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        asked: list[Call] = [("eth_getLogs", [{**each, **span}]) for each in self._filters]
        found = await self._rpc.batch([*calls, *ends, *asked, *ends])
        blocks = [*found[len(calls) :][: len(ends)], *found[len(found) - len(ends) :]]
        stood = [bool(block) and block["hash"].lower() for block in blocks]
        if stood != [last.block_hash, head.hash] * (len(ends)):
            return None, []
        raws = islice(found, len(calls) + len(ends), len(calls) + len(ends) + len(asked))
        logs = [parse_log(raw) for answer in raws for raw in answer if not raw.get("removed")]
        parts = [
            part
            for chunk, answer in zip(chunks, found, strict=False)
            for part in results(answer, len(chunk))
        ]
        return logs, parts

    async def _take(self, each: PoolLog, last: Snapshot, head: Head, *, direct: bool) -> None:
        followed = self._pools.get(each.pool)
        if followed is None or followed.stop is not None or each.place in followed.applied:
            return
        first = head.number if direct else last.block_number + 1
        if not first <= each.block_number <= head.number or (
            each.block_number == head.number and each.block_hash != head.hash
        ):
            known = self._trail.get(each.block_number) == each.block_hash
            cause = StopCause.LATE_DELIVERY if known else StopCause.UNSEEN_REORG
            self._stop(followed, cause, head, f"log {each.log_index} of block {each.block_hash}")
            return
        wrong = followed.take(each)
        if wrong:
            cause = await diagnose(self._rpc, followed, self._lenses, self._trail, head)
            self._stop(followed, cause, head, wrong)

    def _due_checks(self) -> list[Check]:
        """Choose the pools whose turn it is."""
        pools = list(self._pools.values())
        count = -(-len(pools) // CHECK_EVERY)
        start, self._next_checked = self._next_checked, self._next_checked + count
        turn = [pools[(start + n) % len(pools)] for n in range(count)]
        return [Check(each, self._lenses) for each in turn if each.usable]

    async def _compare(
        self, checks: Sequence[Check], answers: Sequence[bytes | None], head: Head
    ) -> None:
        parts = iter(answers)
        for check in checks:
            its = [next(parts) for _ in check.reads]
            if not check.followed.usable:
                continue
            wrong = check.difference(its)
            if not wrong:
                check.followed.confirmed(head.number)
                continue
            cause = await diagnose(self._rpc, check.followed, self._lenses, self._trail, head)
            self._stop(check.followed, cause, head, wrong)

    def _stop(self, followed: Followed, cause: StopCause, head: Head, detail: str) -> None:
        followed.stop = StoppedPool(
            pool=followed.key.address, cause=cause, block_number=head.number, detail=detail
        )
        log.error(
            "pool_stopped",
            chain_id=self._chain_id,
            pool=followed.key.address,
            cause=cause.value,
            block=head.number,
            detail=detail,
        )

    # Read as a whole

    async def _everything(self, head: Head, why: str) -> None:
        """Read all pools anew that do not stand still."""
        log.info("market_read_as_a_whole", chain_id=self._chain_id, block=head.number, why=why)
        self._trail.clear()
        await self._whole([each for each in self._pools.values() if each.stop is None], head)

    async def _return(self, head: Head) -> None:
        """Read pools as a whole that have stood still for long enough; they come back, logged."""
        due = {
            each.key.address: each.stop
            for each in self._pools.values()
            if each.stop is not None and head.number >= each.stop.block_number + STAND_BLOCKS
        }
        if not due:
            return
        for pool in due:
            self._pools[pool].stop = None
        await self._whole([self._pools[pool] for pool in due], head)
        for pool, stop in due.items():
            if self._pools[pool].stop is None and stop is not None:
                log.warning(
                    "pool_returned",
                    chain_id=self._chain_id,
                    pool=pool,
                    cause=stop.cause.value,
                    stopped_at=stop.block_number,
                    block=head.number,
                )

    async def _whole(self, pools: Sequence[Followed], head: Head) -> None:
        reads = [state_reads(each.key, self._lenses.v4_state) for each in pools]
        parts = iter(await self._ask([read for its in reads for read in its], head))
        for each, its in zip(pools, reads, strict=True):
            self._begin(each, [next(parts) for _ in its], head)
        ticked = [each for each in pools if each.usable and isinstance(each.state, Slot)]
        await self._books(ticked, head)

    def _begin(self, followed: Followed, parts: Sequence[bytes | None], head: Head) -> None:
        followed.state, followed.book = None, None
        followed.confirmed(head.number)
        try:
            followed.state = parse_state(followed.key, parts)
        except Rejected as wrong:
            self._stop(followed, StopCause.MALFORMED, head, str(wrong))
            return
        if followed.state is None:
            self._stop(followed, StopCause.NO_ANSWER, head, "")

    async def _widen(self, head: Head) -> None:
        """Read more ticks where the price nears the edge of what is known."""
        near = [
            each
            for each in self._pools.values()
            if each.usable
            and isinstance(each.state, Slot)
            and (each.book is None or not each.book.surrounds(each.state.tick, self._reach))
        ]
        await self._books(near, head)

    async def _books(self, pools: Sequence[Followed], head: Head) -> None:
        """Read the ticks around each price; where some were known before, they must be the same."""
        books = await read_books(self._ask, pools, self._lenses, self._reach, head)
        for followed, book in zip(pools, books, strict=True):
            old, followed.book = followed.book, book
            if old is None:
                continue
            low, high = max(old.known[0], book.known[0]), min(old.known[1], book.known[1])
            if old.within(low, high) != book.within(low, high):
                cause = await diagnose(self._rpc, followed, self._lenses, self._trail, head)
                self._stop(followed, cause, head, "ticks read again are others")

    async def _ask(self, reads: Sequence[Read], head: Head) -> list[bytes | None]:
        return await read_at(self._rpc, reads, head, self._multicall)

    # The snapshot

    def _snapshot(self, head: Head) -> Snapshot:
        for number in [n for n in self._trail if n < head.number - TRAIL]:
            del self._trail[number]
        found = [self._pool(each, head) for each in self._pools.values()]
        return Snapshot(
            chain_id=self._chain_id,
            block_number=head.number,
            block_hash=head.hash,
            block_time_s=head.timestamp,
            base_fee_wei=head.base_fee_wei,
            pools=tuple(pool for pool in found if pool is not None and self._free(pool)),
            taxed=self._taxed,
            tokens=self._tokens,
            wrapped_native=self._wrapped_native,
            stopped=tuple(each.stop for each in self._pools.values() if each.stop is not None),
            means=tuple(
                (each.key.address, each.mean)
                for each in self._pools.values()
                if each.usable and each.mean is not None
            ),
        )

    def _free(self, pool: Pool) -> bool:
        return pool.token0 not in self._taxed and pool.token1 not in self._taxed

    def _pool(self, followed: Followed, head: Head) -> Pool | None:
        try:
            return followed.pool()
        except Rejected as wrong:
            self._stop(followed, StopCause.MALFORMED, head, str(wrong))
            return None


def at(head: Head) -> dict[str, Any]:
    """Name a block by its hash (EIP-1898), so that no other can answer."""
    return {"blockHash": head.hash}


async def read_at(
    rpc: Rpc, reads: Sequence[Read], head: Head, multicall: str
) -> list[bytes | None]:
    """Read right after one block; None where a contract gives no answer."""
    chunks = [reads[n : n + READS] for n in range(0, len(reads), READS)]
    if not chunks:
        return []
    answers = await rpc.batch(
        [("eth_call", [aggregate(each, multicall), at(head)]) for each in chunks]
    )
    pairs = zip(chunks, answers, strict=True)
    return [part for chunk, answer in pairs for part in results(answer, len(chunk))]


def log_filters(pools: Sequence[PoolKey], lenses: Lenses) -> Iterable[dict[str, Any]]:
    """Yield what eth_getLogs is asked each block: pools that speak for themselves, the manager."""
    alone = [key.address for key in pools if key.venue is not Venue.UNISWAP_V4]
    managed = [key.address for key in pools if key.venue is Venue.UNISWAP_V4]
    if alone:
        yield {"address": alone, "topics": [list(POOL_TOPICS)]}
    if managed:
        yield {"address": lenses.v4_pools, "topics": [list(MANAGER_TOPICS), managed]}
