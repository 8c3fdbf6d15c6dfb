"""The embedded stack: Postgres, Redis and two funded chains, started, watched and stopped as one.

A part that the settings name by URL is somebody else's and is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog
from pydantic import SecretStr

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.bootstrap.chain import devnet_signers
from sep_ray.devnet.bridges.servants import ServedBridges
from sep_ray.devnet.build import build_states
from sep_ray.devnet.chains import DEFAULT_OPTIONS, Chains
from sep_ray.devnet.faults.process import ProxyProcess, spawn_proxy
from sep_ray.devnet.folders import private_folder, replace_file
from sep_ray.devnet.funding import balances, fund
from sep_ray.devnet.importer import PoolSnapshot, read_snapshots
from sep_ray.devnet.moving import MovingMarket
from sep_ray.devnet.node import NodeOptions
from sep_ray.devnet.packages import install
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.devnet.rpc import Rpc
from sep_ray.devnet.valkey import EmbeddedValkey
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import ChainId
from sep_ray.settings import Settings

log = structlog.get_logger()

Report = Callable[[str], None]

ENDOWMENT: Final[Mapping[str, int]] = {
    "ETH": 1_000 * 10**18,
    "WETH": 500 * 10**18,
    "USDC": 1_500_000 * 10**6,
    "USDT": 500_000 * 10**6,
    "WBTC": 10 * 10**8,
    "DAI": 500_000 * 10**18,
}
"""What the platform's accounts share on each local chain when they have nothing, smallest units."""


class Stack:
    """Start and watch from one thread that lives as long as the stack: the chains end with it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = settings.state_dir
        self._postgres = EmbeddedPostgres(self._state) if settings.postgres_url is None else None
        self._redis = EmbeddedValkey(self._state) if settings.redis_url is None else None
        self._chains: Chains | None = None
        self._proxies: dict[ChainId, ProxyProcess] = {}
        self._market: MovingMarket | None = None
        self._bridges: ServedBridges | None = None

    def start(self, report: Report) -> dict[str, str]:
        """Start everything embedded; return the SEP_* variables that say where all of it is."""
        private_folder(self._state)
        report("installing chain binary and contracts")
        variables = self._start_chains(report)
        report("starting Postgres")
        variables["SEP_POSTGRES_URL"] = (
            self._postgres.start() if self._postgres else _plain(self._settings.postgres_url)
        )
        report("starting Redis")
        variables["SEP_REDIS_URL"] = (
            self._redis.start() if self._redis else _plain(self._settings.redis_url)
        )
        if self._settings.market_driver and self._chains is not None:
            report("moving the market")
            urls = {chain: each.http for chain, each in self._chains.endpoints.items()}
            pools_file = Path(variables["SEP_POOLS_FILE"])
            self._market = MovingMarket(urls, pools_file, self._settings.market_seed)
            self._market.start()
        return variables

    def mend(self) -> list[str]:
        """Start again whatever embedded part has ended; return the names of those."""
        mended = []
        if self._postgres is not None and self._postgres.pid is None:
            self._postgres.start()
            mended.append("postgres")
        if self._redis is not None and self._redis.pid is None:
            self._redis.start()
            mended.append("redis")
        for chain_id in list(self._chains.endpoints) if self._chains else ():
            if self._chains is not None and not self._chains.alive(chain_id):
                self._chains.restart(chain_id)
                mended.append(f"chain {chain_id}")
        mended += self._mend_proxies()
        if self._bridges is not None and not self._bridges.alive:
            self._serve_bridges()
            mended.append("bridges")
        for name in mended:
            log.warning("service_restarted", service=name)
        return mended

    def stop(self, report: Report) -> None:
        """Stop everything embedded, each part cleanly."""
        if self._bridges is not None:
            self._bridges.stop()
        for proxy in self._proxies.values():
            proxy.stop()
        if self._market is not None:
            self._market.stop()
        if self._chains is not None:
            report("stopping chains")
            self._chains.stop()
        for name, service in (("Redis", self._redis), ("Postgres", self._postgres)):
            if service is not None:
                report(f"stopping {name}")
                service.stop()

    def _start_chains(self, report: Report) -> dict[str, str]:
        urls = {
            ETHEREUM: self._settings.ethereum_rpc_url,
            ARBITRUM: self._settings.arbitrum_rpc_url,
        }
        names = {ETHEREUM: "SEP_ETHEREUM_RPC_URL", ARBITRUM: "SEP_ARBITRUM_RPC_URL"}
        variables = {names[chain]: _plain(url) for chain, url in urls.items() if url is not None}
        local = [chain for chain, url in urls.items() if url is None]
        if not local:
            return variables
        bundle = install(
            self._settings.cache,
            lambda name, done, total: report(f"installing {name} ({done}/{total})"),
        )
        report("building the chains' state")
        states = build_states(bundle, self._settings.cache, imported=self._imported())
        report("starting chains")
        self._chains = Chains(
            bundle, states, folder=self._state / "chains", options=self._options(local)
        )
        for chain_id, endpoint in self._chains.start().items():
            first = self._start_proxy(chain_id) if self._settings.fault_proxies else endpoint.http
            others = [endpoint.http] * (self._settings.local_endpoints - 1)
            variables[names[chain_id]] = ",".join([first, *others])
        self._endow(report)
        variables["SEP_POOLS_FILE"] = str(self._write_pools())
        if len(local) == len(urls):
            report("serving bridges")
            variables["SEP_BRIDGE_SERVICES_URL"] = self._serve_bridges()
        return variables

    def _mend_proxies(self) -> list[str]:
        ended = {c: proxy for c, proxy in self._proxies.items() if proxy.process.poll() is not None}
        for chain_id, proxy in ended.items():
            self._start_proxy(chain_id, proxy.port)
        return [f"proxy {chain_id}" for chain_id in ended]

    def _start_proxy(self, chain_id: ChainId, port: int = 0) -> str:
        """Put a node that misbehaves when told before a local chain; return its address."""
        assert self._chains is not None
        upstream = self._chains.endpoints[chain_id].http
        seed = self._settings.market_seed
        self._proxies[chain_id] = spawn_proxy(
            upstream, port=port, seed=seed, strict_replacement=True
        )
        return self._proxies[chain_id].http

    def _serve_bridges(self) -> str:
        """Start relayers, attester and sequencer, on the port they had before if they did."""
        port = 0
        if self._bridges is not None:
            port = self._bridges.port
            self._bridges.stop()
        endpoints = self._chains.endpoints if self._chains is not None else {}
        urls = {chain: each.http for chain, each in endpoints.items()}
        self._bridges = ServedBridges(urls, port=port)
        return self._bridges.start()

    def _imported(self) -> tuple[PoolSnapshot, ...]:
        if self._settings.market == "seeded":
            return ()
        if self._settings.market_data is None:
            raise Rejected("an imported market needs its file", setting="SEP_MARKET_DATA")
        return read_snapshots(self._settings.market_data)

    def _options(self, local: list[ChainId]) -> Mapping[ChainId, NodeOptions]:
        seconds = {
            ETHEREUM: self._settings.ethereum_block_seconds,
            ARBITRUM: self._settings.arbitrum_block_seconds,
        }
        return {c: replace(DEFAULT_OPTIONS[c], block_time_s=seconds[c]) for c in local}

    def _endow(self, report: Report) -> None:
        lanes = self._settings.lanes
        accounts = [each.address for each in devnet_signers(self._state, lanes)]
        share = {token: units // lanes for token, units in ENDOWMENT.items()}
        for chain_id, endpoint in (self._chains.endpoints if self._chains else {}).items():
            rpc = Rpc(endpoint.http)
            try:
                for account in accounts:
                    if balances(rpc, BOOKS[chain_id], account)["ETH"] == 0:
                        report(f"funding the platform's account on chain {chain_id}")
                        fund(rpc, BOOKS[chain_id], account, share)
            finally:
                rpc.close()

    def _write_pools(self) -> Path:
        path = self._state / "chains" / "known_pools.json"
        pools = self._chains.pools if self._chains else {}
        replace_file(path, json.dumps([p.as_json() for each in pools.values() for p in each]))
        return path


def _plain(url: SecretStr | None) -> str:
    return url.get_secret_value() if url is not None else ""
