"""One platform for all end-to-end tests, brought up and down as a user would.

What takes long is done once and looked at by several tests: a schedule that outlives its platform
runs on behind the demonstration during which every process is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.fixtures.eventually import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("SEP_CACHE_DIR", REPOSITORY / ".sep" / "cache"))
SWAP = ("--type", "DISPOSE", "--sell", "WETH", "--buy", "USDC", "--slippage", "0.02")
EVERY_WAY = {
    "SEP_LANES": "3",
    "SEP_LOCAL_ENDPOINTS": "3",
    "SEP_FAULT_PROXIES": "true",
    "SEP_SUBMISSIONS_PER_MINUTE": "100000",
    "SEP_REFUEL_BELOW_WEI": str(400 * 10**18),
    "SEP_REFUEL_TO_WEI": str(450 * 10**18),
}
"""Several accounts on each chain, of which only the first has coin enough, and several endpoints,
of which one misbehaves when told."""
SCHEDULE = ("--amount", "4", "--twap", "4", "--catch-up", "spread", "--chain", "42161")
WINDOW = ("--window-ms", "150000")
"""Longer than the platform needs to come back."""
VICTIMS = (
    ("IntentRouter",),
    ("ChainExecutor",),
    ("Supervisor",),
    ("Strategy",),
    ("ServeReplica:models",),
    ("ServeReplica:api",),
)
"""Titles of the processes that are killed, one kind after the other, during a run."""


@dataclass(frozen=True)
class Sep:
    """The `sep` command against one state folder."""

    state: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment every command runs in."""
        return dict(os.environ) | {
            "SEP_STATE_DIR": str(self.state),
            "SEP_CACHE_DIR": str(CACHE),
            "SEP_HTTP_PORT": "0",
        }

    def start(self, *words: str, more: Mapping[str, str] = {}) -> subprocess.Popen[str]:
        """Start a command, with more variables than the usual."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("sep")), *words],
            env=self.env | dict(more),
            cwd=self.state,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *words: str, code: int = 0, seconds: float = 300, more: Mapping[str, str] = {}
    ) -> str:
        """Run a command to its end and return its output; fail on another exit code."""
        process = self.start(*words, more=more)
        out, err = process.communicate(timeout=seconds)
        assert process.returncode == code, f"sep {' '.join(words)}: {out}\n{err}"
        assert "Traceback" not in err
        return out + err if code else out

    def json(self, *words: str) -> Any:
        """Run a command with --json and return what it says."""
        return json.loads(self.run(*words, "--json"))

    def endpoints(self) -> dict[str, Any]:
        """Return where the running platform is, without asking it."""
        found: dict[str, Any] = json.loads((self.state / "endpoints.json").read_text())
        return found

    def actors(self) -> dict[str, int]:
        """Return the platform's Ray worker processes: title -> pid."""
        daemon = psutil.Process(self.endpoints()["pid"])
        found = {}
        for child in daemon.children(recursive=True):
            title = " ".join(child.cmdline())
            if title.startswith("ray::"):
                found[f"{title.removeprefix('ray::')}/{child.pid}"] = child.pid
        return found


def pids(actors: dict[str, int], prefixes: Sequence[str]) -> list[int]:
    """Return the pids of actors whose title begins with one of these."""
    return [pid for title, pid in actors.items() if title.startswith(tuple(prefixes))]


@pytest.fixture(scope="session")
def sep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sep]:
    """A running platform."""
    command = Sep(tmp_path_factory.mktemp("e2e"))
    command.run("up", seconds=330)
    yield command
    command.run("down")


@pytest.fixture(scope="session")
def interrupted(sep: Sep) -> str:
    """The id of a schedule whose platform was killed after it began, and started again, with more
    accounts and endpoints than before.

    It goes on while other tests run.
    """
    made = sep.json("intent", "submit", *SWAP, *WINDOW, *SCHEDULE)
    time.sleep(3.0)
    os.kill(sep.endpoints()["pid"], signal.SIGKILL)
    eventually(lambda: not _left_behind(sep.state))
    sep.run("up", seconds=330, more=EVERY_WAY)
    return str(made["id"])


def _left_behind(state: Path) -> list[str]:
    """Return what still runs of a killed platform, apart from its databases."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in _processes()]
    return [line for line in lines if str(state / "balancer") in line]


def _processes() -> list[psutil.Process]:
    return list(psutil.process_iter(["cmdline"]))


@dataclass(frozen=True)
class Drill:
    """A demonstration during which every process was killed."""

    result: dict[str, Any]
    killed: Counter[str]
    first_blocks: dict[str, int]
    """The newest block of each chain when it began."""


@pytest.fixture(scope="session")
def drill(sep: Sep, interrupted: str, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    """Run the demonstration and kill every kind of process in turn meanwhile."""
    file = tmp_path_factory.mktemp("drill") / "demo.json"
    first_blocks = {chain: head(url) for chain, url in sep.endpoints()["chains"].items()}
    demo = sep.start("demo", "--json", str(file))
    killed: Counter[str] = Counter()
    time.sleep(3.0)
    for prefixes in VICTIMS:
        eventually(lambda wanted=prefixes: pids(sep.actors(), wanted), 20)
        for pid in pids(sep.actors(), prefixes):
            os.kill(pid, signal.SIGKILL)
            killed[prefixes[0]] += 1
            time.sleep(1.0)
        time.sleep(3.0)
        assert demo.poll() is None, "the run ended before everything was killed"
    out, err = demo.communicate(timeout=300)
    assert demo.returncode == 0, out + err
    return Drill(json.loads(file.read_text()), killed, first_blocks)


def rpc(url: str, method: str, *params: Any) -> Any:
    """Ask a chain's node."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(url, json=request, timeout=10).json()["result"]


def head(url: str) -> int:
    """Return the number of a chain's newest block."""
    return int(rpc(url, "eth_blockNumber"), 16)
