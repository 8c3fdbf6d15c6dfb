"""Background processes that a folder remembers: start, find again, stop, never the wrong one.

Two files in a daemon's folder say what runs there. `lock` is an open file that the daemon itself
holds (flock) from before its first instruction until its last child is gone: as long as it is
held, nothing else starts there, whatever a pid file claims. `pid.json` names the process by pid,
start time and boot, so that a recycled pid is never taken for it and never signalled.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sep_ray.devnet.folders import open_log, replace_file, tail
from sep_ray.kernel.errors import Rejected, Transient

_POLL_SECONDS: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)  # loaded here: not safe between fork and exec
_children: Final[list[subprocess.Popen[bytes]]] = []


def plain_environment() -> dict[str, str]:
    """Return an environment with nothing of ours in it: no secrets, no PG* or locale settings."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The user a command runs as, by number; only root may name another than itself."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to start.

    `env` is the whole environment of the new process. `death_signal` is sent to it by the kernel
    when the thread that started it ends; None lets it outlive its starter.
    """

    argv: Sequence[str | Path]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=plain_environment)
    owner: Owner | None = None
    death_signal: signal.Signals | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """Which process: pid, its start in clock ticks since boot, and which boot that was."""

    pid: int
    started: int
    boot: str

    def alive(self) -> bool:
        return self.boot == _boot() and self.started == _start_ticks(self.pid)


class Claim:
    """The right to start one daemon; what it starts inherits the daemon's lock."""

    def __init__(self, daemon: Daemon, lock: int) -> None:
        self._daemon = daemon
        self._lock = lock

    def spawn(self, command: Command) -> int:
        """Start the command in a session of its own, logging to the daemon's log; return its pid.

        Raises Rejected when it cannot be executed at all.
        """
        with open_log(self._daemon.log) as log:
            child = _popen(command, log.fileno(), self._lock)
        _children.append(child)
        self._daemon.remember(child.pid)
        return child.pid


class Daemon:
    """At most one background process in a folder, found again by any later process.

    `folder` holds pid.json and lock and must exist; `log` collects both output streams.
    """

    def __init__(self, name: str, folder: Path, log: Path) -> None:
        self.name = name
        self.log = log
        self._pid_file = folder / "pid.json"
        self._lock_file = folder / "lock"

    def pid(self) -> int | None:
        """Return the living daemon's pid; None when it is gone (a zombie is gone)."""
        record = self._recall()
        return record.pid if record is not None and record.alive() else None

    @contextmanager
    def claim(self, seconds: float) -> Iterator[Claim | None]:
        """Wait for the right to start the daemon; None says that it is running already.

        Raises Transient when the folder stays taken: the last of a killed daemon's children are
        not gone, or another start is under way.
        """
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield Claim(self, lock) if self._may_start(lock, seconds) else None
        finally:
            os.close(lock)

    def ensure(
        self, command: Callable[[], Command], ready: Callable[[], bool], seconds: float
    ) -> int:
        """Start the daemon unless it runs, wait until it is ready, return its pid."""
        with self.claim(seconds) as claim:
            if claim is not None:
                claim.spawn(command())
        return self.wait_ready(ready, seconds)

    def wait_ready(self, ready: Callable[[], bool], seconds: float) -> int:
        """Wait until `ready()`; Transient with the log's tail when it ends or takes too long.

        A daemon that did not become ready in time is stopped: nothing half-started stays behind.
        """
        deadline = time.monotonic() + seconds
        while (pid := self.pid()) is not None:
            if ready():
                return pid
            if time.monotonic() > deadline:
                self.stop()
                message = f"{self.name} was not ready in time"
                raise Transient(message, seconds=seconds, log=tail(self.log))
            time.sleep(_POLL_SECONDS)
        raise Transient(f"{self.name} ended while starting", log=tail(self.log))

    def stop(self, signum: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> None:
        """Ask the daemon to end, wait, then kill that one process. Nothing running is fine."""
        record = self._recall()
        if record is not None:
            _end(record, signum, seconds)
            reap()
        self._pid_file.unlink(missing_ok=True)

    def remember(self, pid: int) -> None:
        """Write down which process is the daemon."""
        started = _start_ticks(pid)  # None: it has ended already, and there is nothing to name
        if started is not None:
            facts = {"pid": pid, "started": started, "boot": _boot()}
            replace_file(self._pid_file, json.dumps(facts))

    def _recall(self) -> _Record | None:
        reap()
        try:
            facts = json.loads(self._pid_file.read_text())
            return _Record(pid=facts["pid"], started=facts["started"], boot=facts["boot"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # absent or foreign; the lock still says whether something runs

    def _may_start(self, lock: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not _try_lock(lock):
            if self.pid() is not None:
                return False
            if time.monotonic() > deadline:
                message = f"something that is not {self.name} holds its folder"
                raise Transient(message, lock=str(self._lock_file), seconds=seconds)
            time.sleep(_POLL_SECONDS)
        return self.pid() is None


def reap() -> None:
    """Collect those of our own children that have ended, so that none stays a zombie."""
    _children[:] = [child for child in _children if child.poll() is None]


def free_port(wanted: int | None = None) -> int:
    """Return a free loopback TCP port: the wanted one unless somebody has it."""
    for port in (wanted or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Transient("no free loopback port")


def run_to_end(command: Command, seconds: float) -> str:
    """Run a short-lived command; return what it wrote, or raise Transient with that text."""
    argv = [str(part) for part in command.argv]
    who = command.owner
    try:
        done = subprocess.run(
            argv,
            cwd=command.cwd,
            env=dict(command.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
            user=who.uid if who else None,
            group=who.gid if who else None,
            extra_groups=[] if who else None,
        )
    except OSError as error:
        raise Rejected(f"cannot run {argv[0]}", why=error.strerror) from None
    except subprocess.TimeoutExpired:
        raise Transient(f"{argv[0]} took too long", seconds=seconds) from None
    text = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        raise Transient(f"{argv[0]} failed", status=done.returncode, said=text[-4_000:])
    return text


def _popen(command: Command, log: int, lock: int) -> subprocess.Popen[bytes]:
    argv = [str(part) for part in command.argv]
    who = command.owner
    try:
        return subprocess.Popen(
            argv,
            cwd=command.cwd,
            env=dict(command.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,
            user=who.uid if who else None,
            group=who.gid if who else None,
            extra_groups=[] if who else None,
            preexec_fn=_arm(command.death_signal),
        )
    except OSError as error:
        raise Rejected(f"cannot run {argv[0]}", why=error.strerror) from None


def _arm(signum: signal.Signals | None) -> Callable[[], None] | None:
    """Build what asks the kernel for the death signal; runs after the change of user."""
    if signum is None:
        return None
    parent = os.getpid()

    def arm() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signum))
        if os.getppid() != parent:  # it died before we asked
            os._exit(0)

    return arm


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end(record: _Record, signum: signal.Signals, seconds: float) -> None:
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if not record.alive():  # asked after the handle exists: it cannot become another process
            return
        signal.pidfd_send_signal(handle, signum)
        if not _ended(handle, seconds):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            if not _ended(handle, seconds):
                raise Transient("a killed process does not end", pid=record.pid)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def _ended(handle: int, seconds: float) -> bool:
    """Wait until the process behind a pidfd has ended (a zombie has), at most so long."""
    watch = select.poll()
    watch.register(handle, select.POLLIN)
    return bool(watch.poll(seconds * 1_000))


def _start_ticks(pid: int) -> int | None:
    """Return when a process started; None when it does not live. See proc_pid_stat(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
