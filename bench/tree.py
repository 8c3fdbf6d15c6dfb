"""A platform's processes: which there are, of what kind, what they use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

KINDS: Final[Mapping[str, str]] = {
    "ray::StrategyShell": "strategy actors",
    "ray::ChainExecutorShell": "chain executors",
    "ray::IntentRouterShell": "intent router",
    "ray::SettlementManagerShell": "settlement manager",
    "ray::Supervisor": "supervisor",
    "ray::ServeReplica:api": "API replica",
    "ray::ServeReplica:models": "model replicas",
    "ray::ServeController": "Serve controller",
    "ray::HAProxyManager": "balancer's manager",
    "ray::ProxyActor": "balancer's manager",
    "ray::DashboardAgent": "Ray's agents",
    "ray::RuntimeEnvAgent": "Ray's agents",
    "haproxy": "balancer",
    "/dashboard/dashboard.py": "Ray's agents",
    "log_monitor.py": "Ray's agents",
    "monitor.py": "Ray's agents",
    "gcs_server": "Ray's core",
    "raylet": "Ray's core",
    "anvil": "chains",
    "postgres": "Postgres",
    "valkey": "Redis",
    "redis-server": "Redis",
    "serve_app.daemon": "platform daemon",
}
"""A part of the command line, and the kind; the first that fits counts."""


def processes(root: int, state: Path) -> list[psutil.Process]:
    """Return a platform's processes: its daemon's descendants, and what runs on its folder."""
    found = {root: psutil.Process(root)}
    found |= {child.pid: child for child in psutil.Process(root).children(recursive=True)}
    for process in psutil.process_iter():
        try:
            if process.environ().get("SEP_STATE_DIR") == str(state) and process.pid != _own():
                found[process.pid] = process
        except psutil.Error:
            continue
    return list(found.values())


def kind(process: psutil.Process) -> str:
    """Return what a process is, in a few words."""
    try:
        words = " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return "ended"
    return next((name for part, name in KINDS.items() if part in words), "other")


def pss_mib(pid: int) -> float:
    """Return a process's proportional set size: pages it shares count by their share.

    0 when it has ended.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1_024


def core_shares(root: int, state: Path, seconds: float) -> dict[str, float]:
    """Return the cores that each kind of process uses, on average over so many seconds."""
    before = [(process, kind(process), _spent(process)) for process in processes(root, state)]
    began = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    shares: dict[str, float] = {}
    for process, name, spent in before:
        used = max(_spent(process) - spent, 0.0)
        shares[name] = shares.get(name, 0.0) + used / elapsed
    return dict(sorted(shares.items(), key=lambda each: -each[1]))


def _spent(process: psutil.Process) -> float:
    """Return the seconds of CPU a process has used; 0 when it has ended."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _own() -> int:
    return psutil.Process().pid
