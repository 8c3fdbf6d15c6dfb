"""What every process that Ray starts on an embedded platform does first."""

from __future__ import annotations

from actors.preload import preload
from serve_app.loopback import listen_on_loopback_only


def set_up() -> None:
    """Stay on loopback; import what its kind of process is for."""
    listen_on_loopback_only()
    preload()
