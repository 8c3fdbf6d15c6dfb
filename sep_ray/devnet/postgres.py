"""A Postgres of our own: the packaged programs, our launcher, everything in one state folder."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sep_ray.devnet.folders import private_folder, secret, tail
from sep_ray.devnet.postgres_install import packaged, runnable, server_owner
from sep_ray.devnet.processes import (
    Claim,
    Command,
    Daemon,
    Owner,
    free_port,
    plain_environment,
    run_to_end,
)
from sep_ray.kernel.errors import Rejected, SepError, Transient

USER: Final = "sep"
DATABASE: Final = "sep"
SOCKET_LIMIT: Final = 107
"""Longest path of a unix socket, in bytes (sun_path of unix(7) less its end mark)."""

_SOCKET_PORT: Final = 5432
_INIT_SECONDS: Final = 120.0
_QUERY_SECONDS: Final = 60.0
_SETTINGS: Final = {
    "cluster_name": "sep",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_sync_method": "open_datasync",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "min_wal_size": "192MB",
    "max_wal_size": "512MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "password_encryption": "scram-sha-256",
}
"""For two cores shared with everything else; durability is never traded."""


SPARE_SEGMENTS: Final = 8
"""Files of the write-ahead log that a new server finds ready. While it makes one itself, whoever
commits waits for 16 MB of zeros; once the log has gone round, it uses its old files again."""
_SEGMENT_BYTES: Final = 16 << 20


class EmbeddedPostgres:
    """One Postgres per state folder; any process may start, find or stop it.

    It listens on a unix socket in the state folder, or on a free loopback port when that path
    would be too long or `tcp` asks for it; in both cases with a generated password.
    `die_with_starter` ends it (cleanly) with the thread that started it.

    The server runs in its data folder and names it /proc/self/cwd, so that a server without
    privileges works below folders that only root may enter, and none of them is opened.
    """

    def __init__(self, state: Path, *, tcp: bool = False, die_with_starter: bool = False) -> None:
        self._state = state.absolute()
        self._home = self._state / "postgres"
        self._data = self._home / "data"
        self._run = self._home / "run"
        self._port_file = self._home / "port"
        self._daemon = Daemon("Postgres", self._home, self._state / "logs" / "postgres.log")
        socket = self._run / f".s.PGSQL.{_SOCKET_PORT}"
        self._tcp = tcp or len(os.fsencode(socket)) > SOCKET_LIMIT
        self._die_with_starter = die_with_starter

    @property
    def pid(self) -> int | None:
        """The server's pid; None when it does not run."""
        return self._daemon.pid()

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._daemon.log

    def start(self, seconds: float = 120.0) -> str:
        """Start the server, unless it runs, and return the URL of the database `sep`.

        After a crash this is also the recovery. Raises Rejected when the folder or the programs
        cannot be used, Transient (with the log's tail) when the server did not come up in time.
        """
        private_folder(self._state)
        private_folder(self._home, mode=0o711 if os.geteuid() == 0 else 0o700)
        with self._daemon.claim(seconds) as claim:
            if claim is not None:
                self._launch(claim)
        self._daemon.wait_ready(self._accepts, seconds)
        self._ensure_database()
        return self.url()

    def stop(self, seconds: float = 30.0) -> None:
        """Shut down cleanly: sessions are ended, everything is on disk. Not running is fine."""
        self._daemon.stop(signal.SIGINT, seconds)

    def kill(self) -> None:
        """End the postmaster as a crash would (SIGKILL); its children notice and end."""
        self._daemon.stop(signal.SIGKILL)

    def url(self, database: str = DATABASE) -> str:
        """Return a database's URL, password included."""
        password = secret(self._state, "postgres")
        if self._tcp:
            return f"postgresql://{USER}:{password}@127.0.0.1:{self._port()}/{database}"
        host = quote(str(self._run), safe="")
        return f"postgresql://{USER}:{password}@/{database}?host={host}&port={_SOCKET_PORT}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement through psql; return its rows, unaligned, without headers."""
        env = plain_environment() | {
            "PGPASSWORD": secret(self._state, "postgres"),
            "PGCLIENTENCODING": "UTF8",
        }
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database]
        argv = [f"{packaged()}/bin/psql", *self._address(), *options, "-c", statement]
        return run_to_end(Command(argv=argv, cwd=self._home, env=env), _QUERY_SECONDS)

    def _launch(self, claim: Claim) -> None:
        owner = server_owner(self._data)
        install = runnable(owner, near=self._home / "install")
        _owned_folder(self._run, owner)
        if not (self._data / "PG_VERSION").exists():
            self._initialise(install, owner)
        self._require_same_major(install)
        # The claim proves that no server and no child of one is left here, which Postgres itself
        # cannot know of a pid that is a zombie or has been given to another process.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        claim.spawn(
            Command(
                argv=[install / "bin" / "postgres", "-D", _here(self._data, owner), *self._flags()],
                cwd=self._data,
                owner=owner,
                death_signal=signal.SIGINT if self._die_with_starter else None,
            )
        )

    def _initialise(self, install: Path, owner: Owner | None) -> None:
        """Make the data folder beside its final place: a crash leaves none rather than half."""
        fresh = self._home / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        _owned_folder(fresh, owner)
        first_password = self._home / "first-password"
        first_password.unlink(missing_ok=True)
        first_password.touch(mode=0o600)
        first_password.write_text(secret(self._state, "postgres") + "\n")
        if owner is not None:
            os.chown(first_password, owner.uid, owner.gid)
        flags = [f"--username={USER}", "--auth=scram-sha-256", "--pwfile=../first-password"]
        locale = ["--locale=C", "--encoding=UTF8", "--no-instructions"]
        argv = [f"{install}/bin/initdb", f"--pgdata={_here(fresh, owner)}", *locale, *flags]
        try:
            run_to_end(Command(argv=argv, cwd=fresh, owner=owner), _INIT_SECONDS)
        finally:
            first_password.unlink()
        _lay_out_log(fresh / "pg_wal", owner)
        fresh.rename(self._data)

    def _require_same_major(self, install: Path) -> None:
        made = (self._data / "PG_VERSION").read_text().strip()
        command = Command(argv=[install / "bin" / "postgres", "-V"], cwd=Path("/"))
        ours = run_to_end(command, _QUERY_SECONDS).split()[-1].split(".")[0]
        if made != ours:
            raise Rejected("the data was made by another Postgres", made_by=made, ours=ours)

    def _flags(self) -> list[str]:
        listen = {"listen_addresses": "", "unix_socket_directories": "../run"}
        if self._tcp:
            port = free_port(self._port() if self._port_file.exists() else None)
            self._port_file.write_text(str(port))
            listen = {
                "listen_addresses": "127.0.0.1",
                "unix_socket_directories": "",
                "port": str(port),
            }
        pairs = (f"{key}={value}" for key, value in (_SETTINGS | listen).items())
        return [part for pair in pairs for part in ("-c", pair)]

    def _port(self) -> int:
        try:
            return int(self._port_file.read_text())
        except (FileNotFoundError, ValueError):
            raise Transient("Postgres has no port yet: it was not started") from None

    def _address(self) -> list[str]:
        if self._tcp:
            return ["-h", "127.0.0.1", "-p", str(self._port()), "-U", USER]
        return ["-h", str(self._run), "-p", str(_SOCKET_PORT), "-U", USER]

    def _accepts(self) -> bool:
        argv = [f"{packaged()}/bin/pg_isready", "-q", *self._address()]
        try:
            run_to_end(Command(argv=argv, cwd=self._home), _QUERY_SECONDS)
        except Transient:
            return False
        return True

    def _ensure_database(self) -> None:
        try:
            if not self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"):
                self.sql(f"CREATE DATABASE {DATABASE}")
        except SepError as error:
            why = str(error.facts.get("said", error))
            raise Transient("Postgres refuses us", why=why, log=tail(self.log)) from None


def _owned_folder(path: Path, owner: Owner | None) -> None:
    private_folder(path)
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)


def _lay_out_log(folder: Path, owner: Owner | None) -> None:
    """Put zeroed files after the first one, as the server does (XLogFileInit)."""
    zeros = bytes(_SEGMENT_BYTES)
    for number in range(2, 2 + SPARE_SEGMENTS):
        segment = folder / f"{1:08X}{0:08X}{number:08X}"
        segment.touch(mode=0o600)
        segment.write_bytes(zeros)
        if owner is not None:
            os.chown(segment, owner.uid, owner.gid)


def _here(folder: Path, owner: Owner | None) -> Path:
    """Name the folder for a program that runs in it: by path only if it may walk that path."""
    return folder if owner is None else Path("/proc/self/cwd")
