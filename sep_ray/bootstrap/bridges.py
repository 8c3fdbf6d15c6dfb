"""Bridges from settings."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from sep_ray.adapters.bridges.world import BridgeTerms, ServiceUrls, open_bridges
from sep_ray.bootstrap.chain import CHAINS, profile
from sep_ray.settings import Settings
from sep_ray.settlement.ports import Bridge


def bridges_of(settings: Settings) -> AbstractAsyncContextManager[tuple[Bridge, ...]]:
    """Connect all bridges: the local chains' own where their services are set, else the real ones.

    Raises Rejected where a chain has no endpoint.
    """
    accesses = {chain_id: profile(settings, chain_id).access for chain_id in CHAINS}
    if settings.bridge_services_url is not None:
        local = ServiceUrls.local(settings.bridge_services_url)
        return open_bridges(accesses, local, BridgeTerms.local())
    services = ServiceUrls(
        across=settings.across_api_url,
        cctp=settings.cctp_api_url,
        hyperlane=settings.hyperlane_api_url,
    )
    return open_bridges(accesses, services)
