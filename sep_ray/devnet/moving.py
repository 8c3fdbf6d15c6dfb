"""A moving market beside whatever else runs: the driver in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import structlog

from sep_ray.adapters.evm.addresses import BOOKS
from sep_ray.devnet.driver import DriverOptions, MarketDriver
from sep_ray.devnet.lifetimes import Lifetime
from sep_ray.devnet.market import Pool
from sep_ray.devnet.paths import geometric_path
from sep_ray.devnet.rpc import Rpc
from sep_ray.devnet.trading import DrivenChain
from sep_ray.kernel.errors import SepError
from sep_ray.kernel.units import ChainId

log = structlog.get_logger()


class MovingMarket(Lifetime):
    """Moves the prices of local chains from entry to exit of a `with` block, or start to stop.

    `urls` are the chains' endpoints, the one that sets the pace first; `pools_file` lists their
    pools. The same seed on the same state gives the same orders.
    """

    def __init__(
        self, urls: Mapping[ChainId, str], pools_file: Path, seed: int, volatility_ppm: int = 800
    ) -> None:
        pools = [Pool(**each) for each in json.loads(pools_file.read_text())]
        chains = [
            DrivenChain(
                rpc=Rpc(url),
                book=BOOKS[chain_id],
                pools=[pool for pool in pools if pool.chain_id == chain_id],
            )
            for chain_id, url in urls.items()
        ]
        path = geometric_path(seed, volatility_ppm=volatility_ppm)
        self._driver = MarketDriver(chains, path, DriverOptions(seed=seed))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="moving-market", daemon=True)

    def start(self) -> None:
        """Begin to move prices."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the prices where they are; returns when nothing more is sent."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._stop.is_set():
            try:
                self._loop.run_until_complete(self._driver.run(stop=self._stop))
            except SepError as error:
                log.warning("market_driver_interrupted", error=str(error))
                self._loop.run_until_complete(asyncio.sleep(1.0))
