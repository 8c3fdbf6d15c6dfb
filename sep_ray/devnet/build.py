"""Builds the two chains' states once and caches them, so that later starts only load a file."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Final

from sep_ray.adapters.bridges import addresses as bridge_addresses
from sep_ray.adapters.evm import addresses
from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM, ChainBook
from sep_ray.devnet import funding, importer, market, market_v4, node, placement, rpc
from sep_ray.devnet.bridges import accounts, contracts
from sep_ray.devnet.bridges.contracts import place_bridges
from sep_ray.devnet.importer import PoolSnapshot, implied_prices, import_pools
from sep_ray.devnet.market import MarketSpec, Pool, build_market, pools_by_chain
from sep_ray.devnet.node import NodeFiles, NodeOptions, spawn
from sep_ray.devnet.packages import Bundle, OnProgress, locked, scratch_folder, silent
from sep_ray.devnet.placement import place_core
from sep_ray.kernel.units import ChainId

_SOURCES: Final[tuple[ModuleType, ...]] = (
    accounts,
    addresses,
    bridge_addresses,
    contracts,
    funding,
    importer,
    market,
    market_v4,
    node,
    placement,
    rpc,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFiles:
    """A built market: per chain the state file to load and the pools it holds."""

    files: Mapping[ChainId, Path]
    pools: Mapping[ChainId, tuple[Pool, ...]]


@dataclass(frozen=True, slots=True)
class _Plan:
    spec: MarketSpec
    imported: tuple[PoolSnapshot, ...]


def build_states(
    bundle: Bundle,
    cache: Path,
    on_progress: OnProgress = silent,
    *,
    spec: MarketSpec | None = None,
    imported: Sequence[PoolSnapshot] = (),
) -> StateFiles:
    """Return both chains' states with the market of `spec`, building them if not cached.

    Pools in `imported` replace their seeded twins on Ethereum; all else is built at the prices
    they imply. Safe when two run at once.
    """
    plan = _Plan(_fitting(spec or MarketSpec(), imported), tuple(imported))
    folder = cache / f"states-{_digest(bundle, plan)}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "install.lock"):
            if not folder.exists():
                _build(bundle, plan, folder, on_progress)
    return _load(folder)


def blank() -> MarketSpec:
    """Core contracts and no pool."""
    return MarketSpec(v2={}, v3={}, v4={})


def _fitting(spec: MarketSpec, imported: Sequence[PoolSnapshot]) -> MarketSpec:
    return replace(spec, prices=implied_prices(imported)) if imported else spec


def _without(spec: MarketSpec, imported: Sequence[PoolSnapshot]) -> MarketSpec:
    taken = {(frozenset(each.symbols), each.fee) for each in imported}
    kept = {
        (base, quote, fee): value
        for (base, quote, fee), value in spec.v3.items()
        if (frozenset((base, quote)), fee) not in taken
    }
    return replace(spec, v3=kept)


def _digest(bundle: Bundle, plan: _Plan) -> str:
    sources = [inspect.getsource(each) for each in (*_SOURCES, sys.modules[__name__])]
    parts = [bundle.digest, repr(plan), *sources]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build(bundle: Bundle, plan: _Plan, folder: Path, on_progress: OnProgress) -> None:
    with scratch_folder(folder.parent) as scratch:
        kept = scratch / "kept"
        kept.mkdir()
        pools: list[Pool] = []
        for done, book in enumerate(BOOKS.values(), start=1):
            pools += _build_chain(bundle, book, plan, kept, scratch)
            on_progress(f"chain {book.chain_id}", done, len(BOOKS))
        (kept / "pools.json").write_text(json.dumps([pool.as_json() for pool in pools]))
        kept.rename(folder)


def _build_chain(
    bundle: Bundle, book: ChainBook, plan: _Plan, kept: Path, scratch: Path
) -> tuple[Pool, ...]:
    options = NodeOptions(mining="manual")
    files = NodeFiles(dump=kept / f"{book.chain_id}.json")
    process = spawn(bundle.anvil, book.chain_id, options, files, scratch)
    connection = process.rpc()
    try:
        connection("anvil_setBlockTimestampInterval", 1)
        place_core(connection, bundle, book)
        place_bridges(connection, bundle, book)
        if book.chain_id != ETHEREUM:
            return build_market(connection, book, plan.spec)
        seeded = build_market(connection, book, _without(plan.spec, plan.imported))
        return seeded + import_pools(connection, book, plan.imported)
    finally:
        connection.close()
        process.stop()


def _load(folder: Path) -> StateFiles:
    pools = [Pool(**each) for each in json.loads((folder / "pools.json").read_text())]
    files = {chain_id: folder / f"{chain_id}.json" for chain_id in BOOKS}
    return StateFiles(files=files, pools=pools_by_chain(pools))
