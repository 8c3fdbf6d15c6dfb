"""Puts the parts together from settings: which chains, which store, where the models are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.adapters.postgres import PostgresStore
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.settings import Settings

CHAINS: Final = (ETHEREUM, ARBITRUM)

NUMERAIRES: Final[Mapping[ChainId, Asset]] = MappingProxyType(
    {chain_id: BOOKS[chain_id].token("USDC").asset for chain_id in CHAINS}
)
"""Each chain's unit of account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainProfile:
    """How a chain is reached and when its blocks count."""

    chain_id: ChainId
    http: str
    ws: str | None
    block_seconds: float
    confirmations: int


@asynccontextmanager
async def open_store(settings: Settings, clock: Clock) -> AsyncIterator[PostgresStore]:
    """Connect to the database and close the connections at the end.

    Raises Rejected when no database is configured: the platform's process sets the embedded one.
    """
    if settings.postgres_url is None:
        raise Rejected("no database is configured", setting="SEP_POSTGRES_URL")
    store = await PostgresStore.connect(settings.postgres_url.get_secret_value(), clock=clock)
    try:
        yield store
    finally:
        await store.close()


def profile(settings: Settings, chain_id: ChainId) -> ChainProfile:
    """Return a chain's profile, or raise Rejected when its endpoint is not set."""
    url = settings.ethereum_rpc_url if chain_id == ETHEREUM else settings.arbitrum_rpc_url
    if url is None:
        raise Rejected("no endpoint is configured", chain_id=chain_id)
    http = url.get_secret_value()
    ethereum = chain_id == ETHEREUM
    return ChainProfile(
        chain_id=chain_id,
        http=http,
        ws=http.replace("http", "ws", 1),
        block_seconds=(
            settings.ethereum_block_seconds if ethereum else settings.arbitrum_block_seconds
        ),
        confirmations=(
            settings.ethereum_confirmations if ethereum else settings.arbitrum_confirmations
        ),
    )
