"""One chain as an executor meets it: connected, with its pools found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sep_ray.adapters.evm.addresses import ChainBook
from sep_ray.adapters.evm.chain import EvmChain
from sep_ray.adapters.evm.data_fees import Kind, data_fees
from sep_ray.adapters.evm.discovery import find_pools, usable_tokens
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.adapters.evm.endpoints import Access, reach
from sep_ray.adapters.evm.evidence import EvmEvidence
from sep_ray.adapters.evm.followed import Lenses
from sep_ray.adapters.evm.reading import EvmReader
from sep_ray.adapters.evm.snapshots import SnapshotReader
from sep_ray.adapters.evm.tolls import Tolls
from sep_ray.engine.finality import FinalityRule
from sep_ray.engine.rules import ChainRules
from sep_ray.engine.world import World
from sep_ray.execution.fees import FeePolicy
from sep_ray.kernel.units import NATIVE, Asset

RESEND_MS: Final = 2_000
"""How long a transaction may wait before the same bytes are sent again."""
STALL_MS: Final = 12_000
"""How long it may wait before it is sent for more."""
LEAST_STALL_BLOCKS: Final = 4
PATIENCE_MS: Final = 3_000
LIFETIME_MS: Final = 120_000
ETHEREUM_TIP_WEI: Final = 100_000_000


def rules_of(
    book: ChainBook,
    *,
    block_seconds: float,
    finality: FinalityRule,
    lease_ttl_ms: int = 3_000,
    price_tolerance_ppm: int | None = None,
    netting: frozenset[str] = frozenset(),
    refuel_below_wei: int = 0,
    refuel_to_wei: int = 0,
) -> ChainRules:
    """Return the rules for a chain of a book: what is a matter of time counted in its blocks."""
    block_ms = max(int(block_seconds * 1_000), 1)
    tokens = tuple(t.asset for t in book.tokens() if t.asset.address != NATIVE)
    return ChainRules(
        chain_id=book.chain_id,
        coin=Asset(book.chain_id, NATIVE),
        tokens=tokens,
        block_time_ms=block_ms,
        confirmations=finality.confirmations,
        value_step=finality.value_step,
        most_confirmations=finality.most,
        reorg_depth=finality.reorg_depth,
        tag=finality.tag,
        numeraire=book.token("USDC").asset,
        resend_blocks=max(2, -(-RESEND_MS // block_ms)),
        stall_blocks=max(LEAST_STALL_BLOCKS, -(-STALL_MS // block_ms)),
        patience_blocks=max(finality.confirmations + 2, -(-PATIENCE_MS // block_ms)),
        lifetime_ms=max(LIFETIME_MS, 10 * block_ms),
        price_tolerance_ppm=price_tolerance_ppm,
        netting=netting,
        refuel_below_wei=refuel_below_wei,
        refuel_to_wei=refuel_to_wei,
        lease_ttl_ms=lease_ttl_ms,
        lease_margin_ms=min(500, lease_ttl_ms // 4),
        fees=FeePolicy(least_tip_wei=ETHEREUM_TIP_WEI if book.chain_id == 1 else 0),
        zero_first=frozenset({book.usdt}),
    )


def lenses_of(book: ChainBook) -> Lenses:
    """Return the contracts that are asked on behalf of a chain's pools."""
    return Lenses(tick_lens=book.v3_tick_lens, v4_pools=book.v4_pools, v4_state=book.v4_state)


@asynccontextmanager
async def open_chain(
    book: ChainBook, access: Access, *, block_seconds: float
) -> AsyncIterator[EvmChain]:
    """Connect to a chain for its blocks alone. Raises what `open_world` raises."""
    async with reach(access, poll_s=min(max(block_seconds / 4, 0.05), 1.0)) as way:
        await way.check(book.chain_id)
        yield EvmChain(way.node, way.feed, book.multicall3, book.permit2, frozenset())


@asynccontextmanager
async def open_world(
    book: ChainBook, access: Access, *, block_seconds: float, data_fee: Kind = "none"
) -> AsyncIterator[World]:
    """Connect to a chain, check that it is the right one and find its pools.

    Raises Transient while too few endpoints answer, Rejected when one is another chain's.
    """
    async with reach(access, poll_s=min(max(block_seconds / 4, 0.05), 1.0)) as way:
        await way.check(book.chain_id)
        listed = [token for token in book.tokens() if token.asset.address != NATIVE]
        tokens = await usable_tokens(way.node, listed)
        pools = await find_pools(
            way.node,
            tokens=tokens,
            v2_factory=book.v2_factory,
            v3_factory=book.v3_factory,
            v4_state=book.v4_state,
        )
        chain = EvmChain(
            way.node, way.feed, book.multicall3, book.permit2, frozenset({book.universal_router})
        )
        reader = SnapshotReader(
            way.node,
            chain_id=book.chain_id,
            pools=pools,
            tokens=tokens,
            wrapped_native=book.weth,
            lenses=lenses_of(book),
            multicall=book.multicall3,
            tolls=Tolls(
                way.node,
                [token.asset.address for token in tokens],
                pools,
                book.v4_pools,
                book.multicall3,
            ),
        )
        yield World(
            chain=chain,
            accounts=chain,
            calls=SwapEncoder(book),
            reader=EvmReader(book.chain_id),
            snapshots=reader,
            finality=chain,
            endpoints=way,
            evidence=EvmEvidence(way.node),
            data_fees=data_fees(data_fee, way.node, book.chain_id),
        )
