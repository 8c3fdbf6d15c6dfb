"""What can be killed, and how one sees that it works again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sep_ray.adapters.evm.addresses import BOOKS
from sep_ray.devnet.funding import fund
from sep_ray.devnet.keeper import save_state
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.devnet.rpc import Rpc
from sep_ray.devnet.valkey import EmbeddedValkey
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.points import Point
from sep_ray.kernel.units import ChainId

ACTORS: Final[Mapping[str, str]] = {
    "executor": "ray::ChainExecutor",
    "router": "ray::IntentRouter",
    "supervisor": "ray::Supervisor",
    "strategy": "ray::Strateg",
    "settlement": "ray::Settlement",
    "api_replica": "ray::ServeReplica:api",
    "model_replica": "ray::ServeReplica:models",
}
"""Kinds of processes of Ray, by the beginning of their titles."""
PROXY: Final = "sep_ray.devnet.faults"
SETTLE_S: Final = 0.03
"""How long after a save a block shows that was being made meanwhile."""
GIFT: Final[Mapping[str, int]] = {"WETH": 10**15}
"""Smallest units that somebody else sends to an account of ours."""


class Targets:
    """The processes of one running platform."""

    def __init__(self, state: Path, daemon: int, orders: Path) -> None:
        self._state = state
        self._daemon = daemon
        self._orders = orders

    def pids(self, kind: str) -> list[int]:
        """Return the processes of a kind, oldest pid first."""
        match kind:
            case "postgres":
                return _some(EmbeddedPostgres(self._state).pid)
            case "redis":
                return _some(EmbeddedValkey(self._state).pid)
            case "chain":
                files = sorted((self._state / "chains").glob("*/endpoint.json"))
                return [int(json.loads(file.read_text())["pid"]) for file in files]
            case "proxy":
                return self._like(lambda words: PROXY in words)
            case _:
                title = ACTORS[kind]
                return self._like(lambda words: words.startswith(title))

    def kill(self, kind: str, pid: int) -> None:
        """End one, unasked; a local chain's state is saved right before.

        One that lost the blocks since its last regular save would have forgotten final ones, which
        is not what any platform promises to survive; and a node that writes its state by itself at
        its end, while somebody has it mine, may write accounts of a block that it leaves out.
        """
        if kind == "chain":
            self._save(pid)
        os.kill(pid, signal.SIGKILL)

    def _save(self, pid: int) -> None:
        for file in (self._state / "chains").glob("*/endpoint.json"):
            told = json.loads(file.read_text())
            if told["pid"] != pid:
                continue
            rpc = Rpc(f"http://127.0.0.1:{told['port']}")
            try:
                save_state(rpc, file.parent / "saved.json", settle_s=SETTLE_S)
            finally:
                rpc.close()

    def chain_of(self, kind: str, pid: int) -> int | None:
        """Return the chain that a node is, or that a proxy stands before; None for other kinds."""
        for file in (self._state / "chains").glob("*/endpoint.json"):
            told = json.loads(file.read_text())
            is_node = kind == "chain" and told["pid"] == pid
            before_it = kind == "proxy" and f"127.0.0.1:{told['port']} " in _words(pid)
            if is_node or before_it:
                return int(file.parent.name)
        return None

    def give(self, chain_id: int, account: str | None) -> None:
        """Have somebody else send an account a little WETH, past the proxy."""
        if account is None:
            raise Transient("no account has sent anything yet")
        told = json.loads((self._state / "chains" / str(chain_id) / "endpoint.json").read_text())
        rpc = Rpc(f"http://127.0.0.1:{told['port']}")
        try:
            fund(rpc, BOOKS[ChainId(chain_id)], account, GIFT)
        finally:
            rpc.close()

    def order(self, point: Point) -> Path:
        """Have the next process that reaches a point die there; the file is gone when it has."""
        self._orders.mkdir(exist_ok=True)
        path = self._orders / point.value
        path.touch()
        return path

    def _like(self, fits: Callable[[str], bool]) -> list[int]:
        """Return the processes below the daemon whose command line fits."""
        return [pid for pid in sorted(_all_pids()) if fits(_words(pid)) and self._below(pid)]

    def _below(self, pid: int) -> bool:
        while pid > 1 and pid != self._daemon:
            pid = _parent(pid)
        return pid == self._daemon


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _some(pid: int | None) -> list[int]:
    return [] if pid is None else [pid]


def _all_pids() -> Sequence[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int:
    """Return a process's parent; 0 when it has gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
