"""Everybody who serves the local bridges, as one: a step of each in turn, and their web services.

They keep nothing that the chains do not hold, so they may be stopped, killed and started again at
any time. What they do follows from the chains, their knobs and their order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiohttp import web

from sep_ray.adapters.bridges.addresses import (
    ARBITRUM_BRIDGE,
    CCTP,
    HUB_POOL,
    HYPERLANE,
    SPOKE_POOLS,
)
from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.devnet.bridges.accounts import RIVAL
from sep_ray.devnet.bridges.attester import Attester
from sep_ray.devnet.bridges.carrier import Carrier
from sep_ray.devnet.bridges.dataworker import Dataworker
from sep_ray.devnet.bridges.knobs import shown, turn
from sep_ray.devnet.bridges.local import LocalChain
from sep_ray.devnet.bridges.relayer import Relayer, RelayerKnobs
from sep_ray.devnet.bridges.sequencer import Sequencer
from sep_ray.devnet.lifetimes import Lifetime
from sep_ray.devnet.rpc import Rpc
from sep_ray.kernel.errors import Rejected, SepError, Transient
from sep_ray.kernel.units import ChainId

log = structlog.get_logger()

POLL_S: Final = 0.5
START_WAIT_S: Final = 10.0
CONTRACTS: Final = {
    ETHEREUM: (
        *(SPOKE_POOLS[ETHEREUM], HUB_POOL, HYPERLANE[ETHEREUM].mailbox),
        *(ARBITRUM_BRIDGE.inbox, ARBITRUM_BRIDGE.outbox, CCTP[ETHEREUM].transmitter),
    ),
    ARBITRUM: (
        *(SPOKE_POOLS[ARBITRUM], HYPERLANE[ARBITRUM].mailbox, CCTP[ARBITRUM].transmitter),
        *(ARBITRUM_BRIDGE.arb_sys, ARBITRUM_BRIDGE.arb_retryable),
    ),
}
"""The contracts whose logs tell the servants that there is work."""


@dataclass(slots=True)
class ServiceKnobs:
    """down: the web services of this path prefix ("/cctp", "/across", ...) answer 503."""

    down: frozenset[str] = frozenset()


class Servants:
    """The servants on two chains, each with its knobs: `servants.relayer.knobs.paused = True`."""

    def __init__(self, urls: Mapping[ChainId, str]) -> None:
        self.chains = {
            chain_id: LocalChain(Rpc(url), BOOKS[chain_id]) for chain_id, url in urls.items()
        }
        self.relayer = Relayer(self.chains)
        self.rival = Relayer(self.chains, RelayerKnobs(paused=True), RIVAL)
        self.dataworker = Dataworker(self.chains)
        self.carrier = Carrier(self.chains)
        self.sequencer = Sequencer(self.chains)
        self.attester = Attester(self.chains)
        self.services = ServiceKnobs()
        self.knobs: dict[str, Any] = {
            "relayer": self.relayer.knobs,
            "rival": self.rival.knobs,
            "dataworker": self.dataworker.knobs,
            "carrier": self.carrier.knobs,
            "sequencer": self.sequencer.knobs,
            "attester": self.attester.knobs,
            "services": self.services,
        }

    def busy(self) -> bool:
        """Whether anything may be left to do; costs one question to each chain."""
        try:
            found = [each.is_busy(CONTRACTS[each.chain_id]) for each in self.chains.values()]
        except SepError:
            return False
        return any(found)

    def step(self) -> None:
        """Let each do what is due. One whose chain does not answer is left out this time."""
        for each in (
            self.relayer,
            self.rival,
            self.sequencer,
            self.dataworker,
            self.carrier,
            self.attester,
        ):
            try:
                each.step()
            except SepError as error:
                log.info("bridge_servant_waits", servant=type(each).__name__, why=str(error))

    def close(self) -> None:
        """Drop the connections."""
        for chain in self.chains.values():
            chain.rpc.close()

    def application(self) -> web.Application:
        """The web services: Across's fees, Hyperlane's checkpoints, the attester's API; knobs."""
        app = web.Application()
        app.router.add_get("/across/suggested-fees", self._fees)
        app.router.add_get("/hyperlane/checkpoints/{origin}/{leaf}", self._checkpoint)
        app.router.add_get("/cctp/v2/messages/{domain}", self._messages)
        app.router.add_get("/cctp/v2/burn/USDC/fees/{source}/{target}", self._burn_fees)
        app.router.add_post("/cctp/v2/reattest/{nonce}", self._reattest)
        app.router.add_get("/knobs", self._shown)
        app.router.add_post("/knobs/{servant}", self._turned)
        return app

    async def _shown(self, request: web.Request) -> web.Response:
        return web.json_response(shown(self.knobs))

    async def _turned(self, request: web.Request) -> web.Response:
        try:
            wanted = await request.json()
            found = turn(self.knobs, request.match_info["servant"], wanted)
        except (ValueError, Rejected) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(found)

    async def _fees(self, request: web.Request) -> web.Response:
        units = int(request.query["amount"])
        return await self._answer(request, lambda: self.relayer.suggest(units))

    async def _checkpoint(self, request: web.Request) -> web.Response:
        origin, leaf = (int(request.match_info[name]) for name in ("origin", "leaf"))
        return await self._answer(request, lambda: self.carrier.checkpoint(ChainId(origin), leaf))

    async def _messages(self, request: web.Request) -> web.Response:
        domain, tx_hash = int(request.match_info["domain"]), request.query["transactionHash"]
        return await self._answer(request, lambda: self.attester.messages(domain, tx_hash))

    async def _burn_fees(self, request: web.Request) -> web.Response:
        return await self._answer(request, self.attester.fees)

    async def _reattest(self, request: web.Request) -> web.Response:
        nonce = request.match_info["nonce"]
        return await self._answer(request, lambda: self.attester.reattest(nonce))

    async def _answer(self, request: web.Request, ask: Any) -> web.Response:
        """Answer with what is known, 404 for nothing, 503 while the service is down."""
        if any(request.path.startswith(prefix) for prefix in self.services.down):
            return web.json_response({"error": "unavailable"}, status=503)
        try:
            found = await asyncio.to_thread(ask)
        except SepError as error:
            return web.json_response({"error": str(error)}, status=503)
        if found is None:
            return web.json_response({"error": "not found"}, status=404)
        return web.json_response(found)


class ServedBridges(Lifetime):
    """The servants in threads of their own, from start to stop.

    `works`: they act by themselves every POLL_S; otherwise whoever holds them calls `step`.
    """

    def __init__(self, urls: Mapping[ChainId, str], *, works: bool = True, port: int = 0) -> None:
        self.servants = Servants(urls)
        self.url = ""
        self._works = works
        self.port = port
        self._ended = threading.Event()
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._web = threading.Thread(target=self._serve, name="bridge-services", daemon=True)
        self._worker = threading.Thread(target=self._work, name="bridge-servants", daemon=True)

    def start(self) -> str:
        """Begin to serve; return the URL of the web services (loopback)."""
        self._web.start()
        if not self._started.wait(START_WAIT_S):
            raise Transient("the bridges' services did not start", port=self.port)
        if self._works:
            self._worker.start()
        return self.url

    @property
    def alive(self) -> bool:
        """Whether all that should run does."""
        return self._web.is_alive() and (self._worker.is_alive() or not self._works)

    def stop(self) -> None:
        """End after what they are doing. Safe to call twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._worker.is_alive():
            self._worker.join(timeout=START_WAIT_S)
        if self._web.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._web.join(timeout=START_WAIT_S)
        self.servants.close()

    def _work(self) -> None:
        while not self._ended.wait(POLL_S):
            if self.servants.busy():
                self.servants.step()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self.servants.application(), access_log=None)
        try:
            self._loop.run_until_complete(self._listen(runner))
            self._started.set()
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    async def _listen(self, runner: web.AppRunner) -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = int(runner.addresses[0][1])
        self.url = f"http://127.0.0.1:{self.port}"
