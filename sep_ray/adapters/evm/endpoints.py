"""How a chain is reached: one endpoint, or several that answer as one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from sep_ray.adapters.evm.chain import Feed
from sep_ray.adapters.evm.heads import HeadFeed
from sep_ray.adapters.evm.pool import EndpointPool, endpoint_status
from sep_ray.adapters.evm.pool_heads import PoolFeed
from sep_ray.adapters.evm.rpc import EvmRpc, Node
from sep_ray.execution.ports import EndpointStatus
from sep_ray.kernel.errors import Rejected, SepError, Transient

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The endpoints of a chain, by HTTP address; `subscribe` also has their heads by WebSocket.

    `needed` of them must agree where money moves: 1 (each is trusted) or more than half.
    A `private` endpoint shows transactions to nobody; what has not landed `private_blocks` after
    it was first handed over there goes to all.
    """

    urls: tuple[str, ...]
    needed: int = 1
    subscribe: bool = True
    private: str | None = None
    private_blocks: int = 5

    def __post_init__(self) -> None:
        count = len(self.urls)
        if count == 0:
            raise Rejected("no endpoint is configured")
        if self.needed != 1 and not count < 2 * self.needed <= 2 * count:
            allowed = f"1, or {count // 2 + 1}..{count}"
            raise Rejected("agreement is out of range", got=self.needed, range=allowed)

    @classmethod
    def to(cls, url: str, *, subscribe: bool = True) -> Access:
        """Return the way to one endpoint."""
        return cls(urls=(url,), subscribe=subscribe)


def majority(count: int) -> int:
    """Return the least number that is more than half."""
    return count // 2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A chain within reach: where to ask, where heads come from. Implements `Endpoints`."""

    node: Node
    feed: Feed
    endpoints: tuple[EvmRpc, ...]
    needed: int

    def status(self) -> tuple[EndpointStatus, ...]:
        """Return how each endpoint is."""
        heads = sorted((each.health.head or 0 for each in self.endpoints), reverse=True)
        return endpoint_status(self.endpoints, heads[self.needed - 1] or None)

    async def check(self, chain_id: int) -> None:
        """Ask every endpoint which chain it is.

        Raises Rejected when one is another chain's, Transient while too few answer.
        """
        answering, last = 0, None
        for each in self.endpoints:
            try:
                found = int(await each.request("eth_chainId"), 16)
            except (SepError, ValueError, TypeError) as error:
                last = error
                log.warning("endpoint_does_not_answer", node=each.host, why=str(error))
                continue
            if found != chain_id:
                raise Rejected("another chain answers", node=each.host, wanted=chain_id, got=found)
            answering += 1
        if answering < self.needed:
            raise Transient("too few endpoints answer", needed=self.needed, why=str(last))


@asynccontextmanager
async def reach(
    access: Access, poll_s: float, *, timeout_s: float = 10.0, connections: int = 16
) -> AsyncIterator[Way]:
    """Open the way to a chain and close its connections at the end.

    One endpoint without a private one is asked directly; a pool stands before all else.
    """
    rpcs = tuple(EvmRpc(url, timeout_s=timeout_s, connections=connections) for url in access.urls)
    feeds = [
        HeadFeed(rpc, url.replace("http", "ws", 1) if access.subscribe else None, poll_s)
        for rpc, url in zip(rpcs, access.urls, strict=True)
    ]
    if len(rpcs) == 1 and access.private is None:
        try:
            yield Way(node=rpcs[0], feed=feeds[0], endpoints=rpcs, needed=1)
        finally:
            await rpcs[0].close()
        return
    pool = EndpointPool(
        rpcs,
        access.needed,
        private=EvmRpc(access.private) if access.private else None,
        private_blocks=access.private_blocks,
    )
    try:
        feed: Feed = PoolFeed(pool, feeds)
        yield Way(node=pool, feed=feed, endpoints=rpcs, needed=access.needed)
    finally:
        await pool.close()
