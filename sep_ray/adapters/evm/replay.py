"""Whether our mathematics gives what the chain gave: a mined swap, run again by ours.

The pools of the swap are read at the parent block; what the logs of its block say before the
swap's own leads them to the very state the swap met. There the legs run as they were signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sep_ray.adapters.evm.addresses import ChainBook
from sep_ray.adapters.evm.chain import parse_receipt, reading
from sep_ray.adapters.evm.followed import Followed, Lenses
from sep_ray.adapters.evm.heads import parse_head
from sep_ray.adapters.evm.pool_logs import parse_log
from sep_ray.adapters.evm.pool_reads import PoolKey, Slot, State, parse_state, state_reads
from sep_ray.adapters.evm.rpc import Node
from sep_ray.adapters.evm.snapshots import REACH_TICKS, log_filters, read_at
from sep_ray.adapters.evm.tick_windows import read_books
from sep_ray.adapters.evm.v4 import TICK_SPACINGS
from sep_ray.execution.fills import read_fill
from sep_ray.execution.plan_text import SignedSwap
from sep_ray.execution.ports import Head, Receipt
from sep_ray.kernel.errors import Transient
from sep_ray.routing.plan import Hop
from sep_ray.routing.pools.pool import Pool, Venue
from sep_ray.routing.pools.v2 import V2Pool
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.rerun import rerun

Amounts = tuple[int, int]
_NOTHING: Final = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What was taken and given by our pools (`predicted`) and by the chain's (`moved`), in units.

    `differences` says in words what is not the same: amounts, or where a pool stands afterwards.
    """

    tx_hash: str
    block_number: int
    index: int
    predicted: Amounts
    moved: Amounts
    differences: tuple[str, ...]


async def replay(
    rpc: Node, book: ChainBook, lenses: Lenses, tx_hash: str, swap: SignedSwap
) -> Replay:
    """Run a mined swap again on the state it met, and compare.

    Raises Transient when the node does not hold the transaction or no longer its parent's state.
    """
    raw = await rpc.request("eth_getTransactionReceipt", [tx_hash])
    if not raw:
        raise Transient("no such transaction is mined", tx_hash=tx_hash)
    receipt = parse_receipt(raw)
    parent = await _parent(rpc, receipt)
    pools = await _pools(rpc, book, lenses, swap.route.hops, parent)
    with reading("a swap's receipt"):
        own = {int(log["logIndex"], 16) for log in raw["logs"]}
        account = raw["from"].lower()
    logs = await _logs(rpc, lenses, pools, receipt)
    _take(pools, logs, range(min(own)))
    before = {name: each.pool() for name, each in pools.items()}
    found = rerun(swap.route, swap.side, {n: pool for n, pool in before.items() if pool})
    _take(pools, logs, sorted(own))
    fill = read_fill(receipt, account, swap.sell.address, swap.buy.address)
    moved = fill.sold, fill.bought
    predicted = (found.route.amount_in, found.route.amount_out) if found else _NOTHING
    wrong = [] if predicted == moved else [f"ours {predicted}, the chain's {moved}"]
    wrong += _standing(found.moved if found else {}, pools)
    return Replay(
        tx_hash=tx_hash,
        block_number=receipt.block_number,
        index=receipt.index,
        predicted=predicted,
        moved=moved,
        differences=tuple(wrong),
    )


async def _parent(rpc: Node, receipt: Receipt) -> Head:
    block = await rpc.request("eth_getBlockByHash", [receipt.block_hash, False])
    above = parse_head(block)
    return parse_head(await rpc.request("eth_getBlockByHash", [above.parent_hash, False]))


async def _pools(
    rpc: Node, book: ChainBook, lenses: Lenses, hops: Iterable[Hop], parent: Head
) -> dict[str, Followed]:
    """Read the pools of a route as they stand right after `parent`."""
    pools = {hop.pool: Followed(_key(hop)) for hop in hops}
    ask = partial(_ask, rpc, book.multicall3)
    for each in pools.values():
        reads = state_reads(each.key, lenses.v4_state)
        each.state = parse_state(each.key, await ask(reads, parent))
    ticked = [each for each in pools.values() if isinstance(each.state, Slot)]
    books = await read_books(ask, ticked, lenses, REACH_TICKS, parent)
    for each, ticks in zip(ticked, books, strict=True):
        each.book = ticks
    return pools


async def _ask(rpc: Node, multicall: str, reads: Any, head: Head) -> list[bytes | None]:
    return await read_at(rpc, reads, head, multicall)


def _key(hop: Hop) -> PoolKey:
    token0, token1 = sorted((hop.token_in, hop.token_out))
    ticked = hop.venue is not Venue.UNISWAP_V2
    return PoolKey(
        address=hop.pool,
        venue=hop.venue,
        token0=token0,
        token1=token1,
        fee_ppm=hop.fee_ppm,
        tick_spacing=TICK_SPACINGS[hop.fee_ppm] if ticked else 0,
    )


async def _logs(
    rpc: Node, lenses: Lenses, pools: Mapping[str, Followed], receipt: Receipt
) -> list[dict[str, Any]]:
    """Return what the pools said in the swap's block, in order."""
    span = {"blockHash": receipt.block_hash}
    filters = log_filters([each.key for each in pools.values()], lenses)
    answers = await rpc.batch([("eth_getLogs", [{**each, **span}]) for each in filters])
    with reading("logs"):
        found = [log for answer in answers for log in answer]
        return sorted(found, key=lambda log: int(log["logIndex"], 16))


def _take(
    pools: Mapping[str, Followed], logs: Iterable[dict[str, Any]], places: Iterable[int]
) -> None:
    wanted = frozenset(places)
    for each in map(parse_log, logs):
        if each.log_index in wanted:
            pools[each.pool].take(each)


def _standing(ours: Mapping[str, Pool], theirs: Mapping[str, Followed]) -> list[str]:
    """Say which pools stand elsewhere after the swap than ours would."""
    found = []
    for name, pool in ours.items():
        expected, state = _stands(pool), _said(theirs[name].state)
        if expected != state:
            found.append(f"pool {name}: ours at {expected}, the chain's at {state}")
    return found


def _stands(pool: Pool) -> tuple[int, ...]:
    if isinstance(pool, V2Pool):
        return pool.reserve0, pool.reserve1
    return (pool.sqrt_price, pool.liquidity) if isinstance(pool, V3Pool) else ()


def _said(state: State | None) -> tuple[int, ...]:
    return (state.sqrt_price, state.liquidity) if isinstance(state, Slot) else state or ()
