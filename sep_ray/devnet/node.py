"""One anvil process: how it is started, found, recognised and ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from sep_ray.devnet.rpc import Rpc
from sep_ray.kernel.errors import InvariantBroken, Rejected, SepError, Transient
from sep_ray.kernel.units import ChainId

START_WAIT_S: Final = 20.0
KEPT_STATES: Final = 128
"""Historical states kept in memory. The default writes one file per block to the home folder;
none at all breaks reorgs and reads of the past."""
GENESIS_TIME: Final = 1_760_000_000
"""Seconds; block 0 of a chain is its chain id later. Fixed, because a node that loads a state makes
its own block 0 first, and with another timestamp the state would have two."""

_PR_SET_PDEATHSIG: Final = 1
_LISTEN: Final = "0A"
_libc = ctypes.CDLL(None, use_errno=True)

Mining = Literal["interval", "auto", "manual"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How a local chain mines and what it charges.

    block_time_s holds for mining="interval" and may be below one second. port 0 lets the node
    choose. base_fee is what a newly built chain asks for at first, in wei; it then moves by
    EIP-1559.
    """

    mining: Mining = "interval"
    block_time_s: float = 1.0
    port: int = 0
    base_fee: int = 1_000_000_000
    first_come_first_served: bool = False
    kept_states: int = KEPT_STATES
    network: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFiles:
    """Files of one node: state to load, state to write at a clean end, seconds between writes."""

    load: Path | None = None
    dump: Path | None = None
    dump_every_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEndpoint:
    """A running chain: where it is and what tells it from another on the same port."""

    chain_id: ChainId
    http: str
    ws: str
    port: int
    pid: int
    genesis_hash: str
    instance_id: str


@dataclass(slots=True)
class Node:
    """A child process and its endpoint."""

    process: subprocess.Popen[bytes]
    endpoint: ChainEndpoint

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def rpc(self) -> Rpc:
        """Open a connection to it."""
        return Rpc(self.endpoint.http)

    def stop(self, wait_s: float = 20.0) -> None:
        """End it; it writes its state first where it has a file for it."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def command(anvil: Path, chain_id: int, options: NodeOptions, files: NodeFiles) -> list[str]:
    """The command line of a chain: loopback only, no accounts, bounded history."""
    parts: list[str] = [str(anvil), "--host", "127.0.0.1", "--port", str(options.port)]
    parts += ["--chain-id", str(chain_id), "--accounts", "0", "--slots-in-an-epoch", "1"]
    parts += ["--prune-history", str(options.kept_states)]
    parts += ["--timestamp", str(GENESIS_TIME + chain_id), "--no-request-size-limit", "-q"]
    parts.append("--no-cors")  # no web page has business with a local chain
    if options.mining != "auto":  # an interval is the keeper's work, see keeper.py
        parts.append("--no-mining")
    if options.first_come_first_served:
        parts += ["--order", "fifo"]
    if options.network is not None:
        parts += ["--network", options.network]
    return parts + _file_arguments(files)


def _file_arguments(files: NodeFiles) -> list[str]:
    parts: list[str] = []
    if files.load is not None:
        parts += ["--load-state", str(files.load)]
    if files.dump is not None:
        parts += ["--dump-state", str(files.dump)]
        if files.dump_every_s is not None:
            parts += ["--state-interval", str(files.dump_every_s)]
    return parts


def spawn(anvil: Path, chain_id: int, options: NodeOptions, files: NodeFiles, home: Path) -> Node:
    """Start a chain and wait until it answers as the process that was started.

    It ends with the thread that started it, so call from one that lives as long as the chain
    should. home is the node's own folder (its log lies there). Raises Transient when it ends or
    stays silent (a taken port, a broken state file), Rejected when it cannot run here at all.
    """
    home.mkdir(parents=True, exist_ok=True)
    process = _popen(command(anvil, chain_id, options, files), home)
    try:
        port = _await_port(process, home / "anvil.log")
        endpoint = _identify(process.pid, ChainId(chain_id), port)
        if files.load is not None:
            _set_clock(endpoint)
        return Node(process, endpoint)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _set_clock(endpoint: ChainEndpoint) -> None:
    """Bring a chain that began at GENESIS_TIME to the present."""
    rpc = Rpc(endpoint.http)
    try:
        rpc("anvil_setTime", int(time.time()))
    finally:
        rpc.close()


def _popen(arguments: list[str], home: Path) -> subprocess.Popen[bytes]:
    with (home / "anvil.log").open("wb") as log:
        try:
            return subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": os.defpath, "HOME": str(home)},
                start_new_session=True,
                preexec_fn=partial(_die_with, os.getpid()),
            )
        except OSError as error:
            raise Rejected("cannot run the chain's binary", why=error.strerror) from None


def _die_with(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)


def _await_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if (port := listening_port(process.pid)) is not None:
            return port
        time.sleep(0.005)
    said = log.read_text(errors="replace")[-500:]
    raise Transient("local chain did not start", code=process.poll(), said=said)


def listening_port(pid: int) -> int | None:
    """Return the loopback port a process itself listens on, from the kernel's tables.

    Unlike an answer on a port, this cannot come from a process left over by an earlier run.
    """
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        table = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    rows = [line.split() for line in table]
    for row in rows:
        if row[3] == _LISTEN and f"socket:[{row[9]}]" in links:
            return int(row[1].split(":")[1], 16)
    return None


def _link(path: str) -> str:
    """Where an open file leads; a file that is closed meanwhile leads nowhere."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _identify(pid: int, chain_id: ChainId, port: int) -> ChainEndpoint:
    http = f"http://127.0.0.1:{port}"
    rpc = Rpc(http)
    try:
        metadata = rpc("anvil_metadata")
        genesis = rpc("eth_getBlockByNumber", "0x0", False)
    finally:
        rpc.close()
    if metadata["chainId"] != chain_id:
        raise InvariantBroken("another chain answers", wanted=chain_id, got=metadata["chainId"])
    return ChainEndpoint(
        chain_id=chain_id,
        http=http,
        ws=f"ws://127.0.0.1:{port}",
        port=port,
        pid=pid,
        genesis_hash=genesis["hash"],
        instance_id=metadata["instanceId"],
    )


def same_node(endpoint: ChainEndpoint) -> bool:
    """Say whether the chain that answers is the very process the endpoint names."""
    if listening_port(endpoint.pid) != endpoint.port:
        return False
    try:
        return _identify(endpoint.pid, endpoint.chain_id, endpoint.port) == endpoint
    except SepError:
        return False
