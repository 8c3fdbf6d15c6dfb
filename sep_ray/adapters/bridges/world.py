"""All bridges between our two chains, connected: to real services, or to the local chains' own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from sep_ray.adapters.bridges.across import Across, AcrossTerms
from sep_ray.adapters.bridges.arbitrum import DOWN, UP, Arbitrum, ArbitrumTerms
from sep_ray.adapters.bridges.cctp import Cctp, CctpTerms
from sep_ray.adapters.bridges.hyperlane import Hyperlane, HyperlaneTerms
from sep_ray.adapters.bridges.reading import Reader
from sep_ray.adapters.bridges.services import HttpService
from sep_ray.adapters.evm.endpoints import Access, reach
from sep_ray.kernel.units import ChainId
from sep_ray.settlement.ports import Bridge

POLL_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUrls:
    """Where the bridges' services are; a bridge whose service is None is not offered."""

    across: str | None = None
    cctp: str | None = None
    hyperlane: str | None = None

    @classmethod
    def local(cls, url: str) -> ServiceUrls:
        """The services that the local chains' servants answer at one URL."""
        return cls(across=f"{url}/across", cctp=f"{url}/cctp", hyperlane=f"{url}/hyperlane")


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeTerms:
    """How each bridge is used, and what it takes."""

    across: AcrossTerms = field(default_factory=AcrossTerms)
    hyperlane: HyperlaneTerms = field(default_factory=HyperlaneTerms)
    arbitrum: ArbitrumTerms = field(default_factory=ArbitrumTerms)
    cctp: CctpTerms = field(default_factory=CctpTerms)

    @classmethod
    def local(cls) -> BridgeTerms:
        """What the local servants take; a withdrawal waits its full challenge period there too."""
        quick = (4_000, 15_000)
        return cls(
            across=AcrossTerms(p50_ms=4_000, p95_ms=15_000),
            hyperlane=HyperlaneTerms(p50_ms=4_000, p95_ms=15_000, patience_s=60),
            arbitrum=ArbitrumTerms(times_ms={DOWN: quick, UP: ArbitrumTerms().times_ms[UP]}),
            cctp=CctpTerms(times_ms={"fast": (5_000, 15_000), "standard": (65_000, 90_000)}),
        )


@asynccontextmanager
async def open_bridges(
    accesses: Mapping[ChainId, Access], services: ServiceUrls, terms: BridgeTerms | None = None
) -> AsyncIterator[tuple[Bridge, ...]]:
    """Connect every bridge; connections are made at the first question, and mended by asking again.

    `accesses` are the ways to Ethereum and Arbitrum. Use the bridges on one event loop.
    """
    chosen = terms or BridgeTerms()
    async with AsyncExitStack() as stack:

        def service(url: str) -> HttpService:
            made = HttpService(url)
            stack.push_async_callback(made.close)
            return made

        readers = {}
        for chain_id, access in accesses.items():
            way = await stack.enter_async_context(reach(access, POLL_S))
            readers[chain_id] = Reader(chain_id, way.node)
        bridges: list[Bridge] = [Arbitrum(readers, chosen.arbitrum)]
        if services.across is not None:
            bridges.append(Across(readers, service(services.across), chosen.across))
        if services.cctp is not None:
            bridges.append(Cctp(readers, service(services.cctp), chosen.cctp))
        if services.hyperlane is not None:
            bridges.append(Hyperlane(readers, service(services.hyperlane), chosen.hyperlane))
        yield tuple(bridges)
