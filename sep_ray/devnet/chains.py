"""The pair of local chains: started from built states, kept, restarted, stopped.

With a folder the chains outlive their processes: they are written there at a clean end, and every
few seconds in between, so that a killed one loses little. Without a folder they are for a test.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from sep_ray.adapters.evm.addresses import ARBITRUM, ETHEREUM
from sep_ray.devnet.build import StateFiles
from sep_ray.devnet.keeper import Keeper
from sep_ray.devnet.lifetimes import Lifetime
from sep_ray.devnet.market import Pool
from sep_ray.devnet.node import (
    KEPT_STATES,
    ChainEndpoint,
    Node,
    NodeFiles,
    NodeOptions,
    same_node,
    spawn,
)
from sep_ray.devnet.packages import Bundle, replace_file
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import ChainId

DEFAULT_OPTIONS: Final[Mapping[ChainId, NodeOptions]] = MappingProxyType(
    {
        ETHEREUM: NodeOptions(block_time_s=1.0, base_fee=1_000_000_000),
        ARBITRUM: NodeOptions(
            block_time_s=0.25,
            base_fee=10_000_000,
            first_come_first_served=True,
            kept_states=4 * KEPT_STATES,  # as many seconds as on Ethereum
        ),
    }
)
SAVE_EVERY_S: Final = 15.0
_OLD_NODE_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Home:
    """A chain's own files: what it loaded, what was saved as it ran, and at its end."""

    folder: Path

    @property
    def loaded(self) -> Path:
        return self.folder / "loaded.json"

    @property
    def saved(self) -> Path:
        return self.folder / "saved.json"

    @property
    def ended(self) -> Path:
        return self.folder / "ended.json"

    @property
    def endpoint(self) -> Path:
        return self.folder / "endpoint.json"


class Chains(Lifetime):
    """Two anvil processes. Not for use from several threads at once.

    The nodes end with the thread that calls start() or restart(), so that nothing is left over
    when the platform dies: call those from one that lives as long as the chains should.
    """

    def __init__(
        self,
        bundle: Bundle,
        states: StateFiles,
        *,
        folder: Path | None = None,
        options: Mapping[ChainId, NodeOptions] = DEFAULT_OPTIONS,
        save_every_s: float = SAVE_EVERY_S,
    ) -> None:
        self._bundle = bundle
        self._states = states
        self._kept = folder is not None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="chains-"))
        self._options = dict(options)
        self._save_every_s = save_every_s
        self._nodes: dict[ChainId, Node] = {}
        self._keepers: dict[ChainId, Keeper] = {}
        self._lock: IO[str] | None = None

    @property
    def endpoints(self) -> Mapping[ChainId, ChainEndpoint]:
        """Where the running chains are."""
        return {chain_id: node.endpoint for chain_id, node in self._nodes.items()}

    @property
    def pools(self) -> Mapping[ChainId, tuple[Pool, ...]]:
        """The pools that the chains were built with."""
        kept = self._folder / "pools.json"
        if not kept.exists():
            return self._states.pools
        pools = [Pool(**each) for each in json.loads(kept.read_text())]
        return {
            chain_id: tuple(pool for pool in pools if pool.chain_id == chain_id)
            for chain_id in self._options
        }

    def start(self) -> Mapping[ChainId, ChainEndpoint]:
        """Start every chain from its last state, or from the built one the first time.

        A port of the last run is used again if free. Raises Rejected when another process already
        runs chains from this folder, Transient when a node does not start.
        """
        self._take_folder()
        try:
            for chain_id in self._options:
                self._start_node(chain_id)
        except BaseException:
            self.stop()
            raise
        return self.endpoints

    def stop(self) -> None:
        """End every chain; those with a folder write their state first. Safe to call twice."""
        for keeper in self._keepers.values():
            keeper.stop()
        self._keepers.clear()
        for node in self._nodes.values():
            node.stop()
        self._nodes.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if not self._kept:
            shutil.rmtree(self._folder, ignore_errors=True)

    def healthy(self, chain_id: ChainId) -> bool:
        """Say whether the chain's own process is alive and it, and no other, answers."""
        node = self._nodes.get(chain_id)
        return node is not None and node.alive and same_node(node.endpoint)

    def alive(self, chain_id: ChainId) -> bool:
        """Say whether the chain's own process is there, whether or not it answers now."""
        node = self._nodes.get(chain_id)
        return node is not None and node.alive

    def restart(self, chain_id: ChainId) -> ChainEndpoint:
        """End one chain if it lives and start it from its last state, on its last port.

        Raises as start() does; the chain is then still one of ours, not healthy, and may be tried
        again.
        """
        if (keeper := self._keepers.pop(chain_id, None)) is not None:
            keeper.stop()
        if (node := self._nodes.get(chain_id)) is not None:
            node.stop()
        return self._start_node(chain_id)

    def _take_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise Rejected("chains already run from this folder", folder=self._folder) from None
        if self._kept and not (self._folder / "pools.json").exists():
            pools = [pool.as_json() for each in self._states.pools.values() for pool in each]
            replace_file(self._folder / "pools.json", json.dumps(pools).encode())

    def _start_node(self, chain_id: ChainId) -> ChainEndpoint:
        home = _Home(self._folder / str(chain_id))
        home.folder.mkdir(parents=True, exist_ok=True)
        last = _end_old_node(home)
        fresh = _choose_state(home, self._states.files[chain_id])
        options = self._options[chain_id]
        files = NodeFiles(load=home.loaded, dump=home.ended if self._kept else None)
        node = self._spawn_on_last_port(chain_id, files, home, last)
        self._nodes[chain_id] = node
        found = {"pid": node.endpoint.pid, "port": node.endpoint.port}
        replace_file(home.endpoint, json.dumps(found).encode())
        if fresh:
            _set_base_fee(node, options.base_fee)
        self._keepers[chain_id] = Keeper(
            node.endpoint.http,
            block_time_s=options.block_time_s if options.mining == "interval" else None,
            save_to=home.saved if self._kept else None,
            save_every_s=self._save_every_s,
        )
        return node.endpoint

    def _spawn_on_last_port(
        self, chain_id: ChainId, files: NodeFiles, home: _Home, last: int
    ) -> Node:
        options = self._options[chain_id]
        if options.port or not last:
            return spawn(self._bundle.anvil, chain_id, options, files, home.folder)
        try:
            again = replace(options, port=last)
            return spawn(self._bundle.anvil, chain_id, again, files, home.folder)
        except Transient:  # somebody else has taken the port meanwhile
            return spawn(self._bundle.anvil, chain_id, options, files, home.folder)


def _choose_state(home: _Home, built: Path) -> bool:
    """Make `loaded` the newest whole state; True if that is the built one, never run before."""
    found = [path for path in (home.ended, home.saved) if path.exists()]
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if _whole(path):
            path.replace(home.loaded)
            break
    home.ended.unlink(missing_ok=True)
    home.saved.unlink(missing_ok=True)
    if home.loaded.exists():
        return False
    replace_file(home.loaded, built.read_bytes())
    return True


def _whole(path: Path) -> bool:
    """A node killed while it writes leaves a part of a file."""
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _end_old_node(home: _Home) -> int:
    """Wait until a node of an earlier run has written its state and gone; return its port or 0."""
    if not home.endpoint.exists():
        return 0
    last = json.loads(home.endpoint.read_text())
    deadline = time.monotonic() + _OLD_NODE_WAIT_S
    while _is_our_node(last["pid"], home):
        if time.monotonic() > deadline:
            raise Transient("a chain of an earlier run does not end", pid=last["pid"])
        time.sleep(0.02)
    return int(last["port"])


def _is_our_node(pid: int, home: _Home) -> bool:
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(home.loaded) in said.split(b"\0")


def _set_base_fee(node: Node, base_fee: int) -> None:
    rpc = node.rpc()
    try:
        rpc("anvil_setNextBlockBaseFeePerGas", hex(base_fee))
    finally:
        rpc.close()
