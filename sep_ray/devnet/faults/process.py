"""The proxy as a process of its own, so that it can be killed."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from sep_ray.devnet.faults.control import FaultControl
from sep_ray.kernel.errors import Transient

START_WAIT_S: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class ProxyProcess:
    """A running proxy: its process, address and control interface."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def http(self) -> str:
        """Where requests go."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        """Where subscriptions are had."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def control(self) -> FaultControl:
        """Its rules."""
        return FaultControl(self.http)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """End it (SIGKILL to kill it) and wait."""
        self.process.send_signal(signum)
        self.process.wait(10)


def spawn_proxy(
    upstream: str, *, port: int = 0, seed: int = 0, strict_replacement: bool = False
) -> ProxyProcess:
    """Start a proxy that ends with the calling process; the same port brings a killed one back.

    Raises Transient when it does not start (a taken port).
    """
    argv = [sys.executable, "-m", "sep_ray.devnet.faults", "--upstream", upstream]
    argv += ["--port", str(port), "--seed", str(seed), "--parent", str(os.getpid())]
    argv += ["--strict-replacement"] if strict_replacement else []
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    line = _first_line(process)
    if not line.startswith(b"Listening on 127.0.0.1:"):
        process.kill()
        process.wait()
        raise Transient("the fault proxy did not start", code=process.returncode)
    return ProxyProcess(process, int(line.rpartition(b":")[2]))


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    with process.stdout as out:
        deadline = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline:
            if select.select([out], [], [], 0.1)[0]:
                return out.readline()
    return b""


def die_with(parent: int) -> None:
    """Ask the kernel to end this process when the thread that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        raise SystemExit(0)
