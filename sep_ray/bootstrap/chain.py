"""Chains from settings: their profiles, units of account, and executors."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.adapters.evm.data_fees import Kind
from sep_ray.adapters.evm.endpoints import Access, majority
from sep_ray.adapters.evm.signer import LocalSigner, devnet_secret
from sep_ray.adapters.evm.world import open_world, rules_of
from sep_ray.bootstrap.keys import configured_signers
from sep_ray.engine.departing import Crossings
from sep_ray.engine.executor import ChainExecutor, ExecutorStore
from sep_ray.engine.finality import FinalityRule, Tag
from sep_ray.engine.ports import Model
from sep_ray.engine.rules import Meter
from sep_ray.execution.ports import Signer
from sep_ray.kernel.clock import SteadyClock, SystemClock
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.ids import SystemIds
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.settings import Settings, addresses

CHAINS: Final = (ETHEREUM, ARBITRUM)

NUMERAIRES: Final[Mapping[ChainId, Asset]] = MappingProxyType(
    {chain_id: BOOKS[chain_id].token("USDC").asset for chain_id in CHAINS}
)
"""Each chain's unit of account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainProfile:
    """How a chain is reached and when its blocks count."""

    chain_id: ChainId
    access: Access
    block_seconds: float
    finality: FinalityRule
    data_fee: Kind = "none"


@asynccontextmanager
async def open_executor(
    settings: Settings,
    chain_id: ChainId,
    store: ExecutorStore,
    cost_model: Model,
    meter: Meter,
    crossings: Crossings | None = None,
) -> AsyncIterator[ChainExecutor]:
    """Connect to a chain, find its pools and put its executor together.

    Raises Transient while the node cannot be asked, Rejected when settings do not suffice.
    """
    chain, book = profile(settings, chain_id), BOOKS[chain_id]
    clock = SystemClock()
    rules = rules_of(
        book,
        block_seconds=chain.block_seconds,
        finality=chain.finality,
        lease_ttl_ms=settings.lease_ttl_ms,
        price_tolerance_ppm=settings.price_tolerance_ppm,
        netting=settings.netted,
        refuel_below_wei=settings.refuel_below_wei,
        refuel_to_wei=settings.refuel_to_wei,
    )
    opened = open_world(
        book, chain.access, block_seconds=chain.block_seconds, data_fee=chain.data_fee
    )
    async with opened as world:
        yield ChainExecutor(
            world,
            store,
            signers(settings),
            rules,
            clock=clock,
            steady=SteadyClock(),
            ids=SystemIds(clock),
            holder=f"{socket.gethostname()}/{os.getpid()}",
            cost_model=cost_model,
            meter=meter,
            crossings=crossings,
        )


def signers(settings: Settings) -> Sequence[Signer]:
    """Return the accounts that trade, one per lane: configured ones, or the local chains' own."""
    configured = configured_signers(settings)
    return configured or devnet_signers(settings.state_dir, settings.lanes)


def devnet_signers(state_dir: Path, lanes: int) -> list[LocalSigner]:
    """Return the local chains' own accounts; the first is the same for any number of lanes."""
    names = ["executor", *(f"executor-{number}" for number in range(2, lanes + 1))]
    return [LocalSigner(devnet_secret(state_dir / "secrets", name)) for name in names]


def profile(settings: Settings, chain_id: ChainId) -> ChainProfile:
    """Return a chain's profile, or raise Rejected when its endpoint is not set."""
    ethereum = chain_id == ETHEREUM
    return ChainProfile(
        chain_id=chain_id,
        access=access(settings, chain_id),
        data_fee=settings.ethereum_data_fee if ethereum else settings.arbitrum_data_fee,
        block_seconds=(
            settings.ethereum_block_seconds if ethereum else settings.arbitrum_block_seconds
        ),
        finality=_finality(settings, chain_id),
    )


def _finality(settings: Settings, chain_id: ChainId) -> FinalityRule:
    ethereum = chain_id == ETHEREUM
    dollars = settings.confirmation_value
    decimals = BOOKS[chain_id].token("USDC").decimals
    tag = settings.ethereum_finality_tag if ethereum else settings.arbitrum_finality_tag
    return FinalityRule(
        confirmations=(
            settings.ethereum_confirmations if ethereum else settings.arbitrum_confirmations
        ),
        value_step=None if dollars is None else dollars * 10**decimals,
        reorg_depth=settings.reorg_depth,
        tag=Tag(tag),
    )


def access(settings: Settings, chain_id: ChainId) -> Access:
    """Return how a chain is reached, or raise Rejected when that is not set or makes no sense."""
    ethereum = chain_id == ETHEREUM
    url = settings.ethereum_rpc_url if ethereum else settings.arbitrum_rpc_url
    private = settings.ethereum_private_rpc_url if ethereum else settings.arbitrum_private_rpc_url
    if url is None:
        raise Rejected("no endpoint is configured", chain_id=chain_id)
    urls = addresses(url)
    return Access(
        urls=urls,
        needed=settings.rpc_agreement
        if settings.rpc_agreement is not None
        else majority(len(urls)),
        private=private.get_secret_value() if private is not None else None,
        private_blocks=settings.private_blocks,
    )
