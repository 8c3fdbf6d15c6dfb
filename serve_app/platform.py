"""The platform from outside: bring it up, find it, take it down. One per state folder."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sep_ray.devnet.folders import private_folder, tail
from sep_ray.devnet.processes import Command, Daemon
from sep_ray.kernel.errors import Transient
from sep_ray.settings import Settings

UP_S: Final = 330.0
"""The first start installs and builds; later ones take under a minute."""
DOWN_S: Final = 60.0

Report = Callable[[str], None]


def up(settings: Settings, foreground: bool, report: Report) -> dict[str, Any]:
    """Start the platform unless it runs; return its endpoints.

    In the foreground it runs here until a signal, and the answer is empty. Raises Transient, with
    the log's last lines, when it ends while starting or is not ready in time.
    """
    if foreground:
        from serve_app.daemon import main

        os.environ["SEP_STATE_DIR"] = str(settings.state_dir)
        if main():
            raise Transient("the platform did not start", log=tail(_log(settings)))
        return {}
    daemon = _daemon(settings)
    with daemon.claim(seconds=DOWN_S) as claim:
        if claim is not None:
            _endpoints_file(settings).unlink(missing_ok=True)
            _progress_file(settings).unlink(missing_ok=True)
            claim.spawn(_command(settings))
    return _await_ready(settings, daemon, report)


def down(settings: Settings, report: Report) -> bool:
    """Stop the platform; False when none runs here."""
    daemon = _daemon(settings)
    pid = daemon.pid()
    if pid is None:
        return False
    report("stopping the platform")
    daemon.stop(signal.SIGTERM, DOWN_S)
    return True


def status(settings: Settings) -> dict[str, Any]:
    """Return whether the platform's process runs, what it last said, and its endpoints."""
    pid = _daemon(settings).pid()
    return {
        "running": pid is not None,
        "pid": pid,
        "progress": _read(_progress_file(settings)).get("text"),
        "endpoints": _read(_endpoints_file(settings)) if pid is not None else {},
        "state_dir": str(settings.state_dir),
    }


def _await_ready(settings: Settings, daemon: Daemon, report: Report) -> dict[str, Any]:
    deadline = time.monotonic() + UP_S
    said = ""
    while time.monotonic() < deadline:
        text = str(_read(_progress_file(settings)).get("text", ""))
        if text and text != said:
            report(text)
            said = text
        pid = daemon.pid()
        endpoints = _read(_endpoints_file(settings))
        if pid is not None and endpoints.get("pid") == pid:
            return endpoints
        if pid is None:
            raise Transient("the platform ended while starting", said=said, log=tail(daemon.log))
        time.sleep(0.05)
    raise Transient("the platform was not ready in time", said=said, log=tail(daemon.log))


def _command(settings: Settings) -> Command:
    env = dict(os.environ) | {
        "SEP_STATE_DIR": str(settings.state_dir),
        "SEP_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }
    argv = [sys.executable, "-m", "serve_app.daemon"]
    return Command(argv=argv, cwd=private_folder(settings.state_dir), env=env)


def _daemon(settings: Settings) -> Daemon:
    folder = private_folder(private_folder(settings.state_dir) / "platform")
    return Daemon("the platform", folder, _log(settings))


def _log(settings: Settings) -> Path:
    return settings.state_dir / "logs" / "platform.log"


def _endpoints_file(settings: Settings) -> Path:
    return settings.state_dir / "endpoints.json"


def _progress_file(settings: Settings) -> Path:
    return settings.state_dir / "platform" / "progress.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
