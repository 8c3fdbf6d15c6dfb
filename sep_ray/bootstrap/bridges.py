"""Bridges from settings."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import fields, replace

from sep_ray.adapters.bridges.world import BridgeTerms, ServiceUrls, open_bridges
from sep_ray.adapters.evm.addresses import BOOKS
from sep_ray.adapters.evm.world import open_chain
from sep_ray.bootstrap.chain import CHAINS, NUMERAIRES, profile, signers
from sep_ray.engine.departing import Crossings, Far
from sep_ray.engine.ports import Market
from sep_ray.engine.proving import Prices
from sep_ray.engine.rules import Meter
from sep_ray.engine.settlement import SettlementManager, SettlementRules, SettlementStore
from sep_ray.kernel.clock import SteadyClock, SystemClock
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import NATIVE, Asset, ChainId
from sep_ray.settings import Settings
from sep_ray.settlement.ports import Bridge


def bridges_of(settings: Settings) -> AbstractAsyncContextManager[tuple[Bridge, ...]]:
    """Connect all bridges: the local chains' own where their services are set, else the real ones.

    Raises Rejected where a chain has no endpoint.
    """
    accesses = {chain_id: profile(settings, chain_id).access for chain_id in CHAINS}
    if settings.bridge_services_url is not None:
        local = ServiceUrls.local(settings.bridge_services_url)
        return open_bridges(accesses, local, _capped(BridgeTerms.local(), settings))
    services = ServiceUrls(
        across=settings.across_api_url,
        cctp=settings.cctp_api_url,
        hyperlane=settings.hyperlane_api_url,
    )
    return open_bridges(accesses, services, _capped(BridgeTerms(), settings))


def crossings_of(settings: Settings, bridges: Sequence[Bridge]) -> Mapping[ChainId, Crossings]:
    """Return, per chain, the bridges that may be taken from it and where they lead.

    On every chain the first account receives.
    """
    recipient = signers(settings)[0].address
    decimals = {
        token.asset: token.decimals for chain_id in CHAINS for token in BOOKS[chain_id].tokens()
    }
    fars = {chain_id: Far(recipient=recipient, coin=Asset(chain_id, NATIVE)) for chain_id in CHAINS}
    return {
        chain_id: Crossings(
            bridges=tuple(bridges),
            fars={other: far for other, far in fars.items() if other != chain_id},
            decimals=decimals,
        )
        for chain_id in CHAINS
    }


@asynccontextmanager
async def open_settlement(
    settings: Settings,
    store: SettlementStore,
    on_claim: Callable[[ChainId], None],
    meter: Meter,
    market: Market,
) -> AsyncIterator[SettlementManager]:
    """Connect to all chains and bridges and put the settlement together."""
    async with AsyncExitStack() as stack:
        bridges = await stack.enter_async_context(bridges_of(settings))
        chains, finality = {}, {}
        for chain_id in CHAINS:
            known = profile(settings, chain_id)
            opened = open_chain(BOOKS[chain_id], known.access, block_seconds=known.block_seconds)
            chains[chain_id] = await stack.enter_async_context(opened)
            finality[chain_id] = known.finality
        yield SettlementManager(
            store,
            bridges,
            chains,
            SettlementRules(finality=finality, lease_ttl_ms=settings.lease_ttl_ms),
            clock=SystemClock(),
            steady=SteadyClock(),
            holder=f"{socket.gethostname()}/{os.getpid()}",
            on_claim=on_claim,
            meter=meter,
            prices=Prices(market=market, numeraires=NUMERAIRES),
            words=chains,
        )


def _capped(terms: BridgeTerms, settings: Settings) -> BridgeTerms:
    """Return the terms with the desk's exposure caps; Rejected for a bridge there is not."""
    known = {each.name for each in fields(terms)}
    for name, caps in settings.bridge_caps.items():
        if name not in known:
            raise Rejected(
                "no such bridge", setting="SEP_BRIDGE_CAPS", got=name, known=sorted(known)
            )
        if any(units <= 0 for units in caps.values()):
            raise Rejected("a cap is from 1", setting="SEP_BRIDGE_CAPS", bridge=name)
        by_asset = {Asset.parse(text): units for text, units in caps.items()}
        terms = replace(terms, **{name: replace(getattr(terms, name), caps=by_asset)})
    return terms
