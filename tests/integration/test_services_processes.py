"""Daemons: one per folder, recognised without doubt, ended without harm to others."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sep_ray.devnet.folders import open_log, secret, tail
from sep_ray.devnet.processes import Command, Daemon, free_port
from sep_ray.kernel.errors import Rejected, Transient
from tests.fixtures.eventually import eventually


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon("sleeper", tmp_path, tmp_path / "logs" / "sleeper.log")
    yield made
    made.stop()


def _sleep(folder: Path, script: str = "sleep 60") -> Command:
    return Command(argv=["/bin/sh", "-c", script], cwd=folder, death_signal=signal.SIGKILL)


def _start(daemon: Daemon, folder: Path, script: str = "exec sleep 60") -> int:
    return daemon.ensure(lambda: _sleep(folder, script), lambda: True, 5)


def test_one_at_a_time_whoever_asks(tmp_path: Path) -> None:
    """Many starters at once, one process."""
    log = tmp_path / "logs" / "x.log"
    daemons = [Daemon("sleeper", tmp_path, log) for _ in range(8)]
    command = Command(argv=["/bin/sleep", "60"], cwd=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        pids = set(pool.map(lambda d: d.ensure(lambda: command, lambda: True, 10), daemons))
    try:
        assert len(pids) == 1
    finally:
        daemons[0].stop()


def test_a_recycled_pid_is_never_signalled(daemon: Daemon, tmp_path: Path) -> None:
    """The record's pid lives, but it started later than the record says."""
    pid = _start(daemon, tmp_path)
    record = tmp_path / "pid.json"
    facts = json.loads(record.read_text())
    with subprocess.Popen(["sleep", "60"]) as stranger:
        earlier = facts["started"] - 1
        record.write_text(json.dumps(facts | {"pid": stranger.pid, "started": earlier}))
        assert daemon.pid() is None
        daemon.stop()
        assert stranger.poll() is None
        stranger.kill()
    record.write_text(json.dumps(facts))
    assert daemon.pid() == pid


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid":"x","started":1,"boot":2}'])
def test_a_torn_pid_file_names_nothing(daemon: Daemon, tmp_path: Path, text: str) -> None:
    (tmp_path / "pid.json").write_text(text)
    assert daemon.pid() is None
    assert _start(daemon, tmp_path) == daemon.pid()


def test_a_zombie_is_gone(daemon: Daemon, tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as zombie:
        eventually(lambda: Path(f"/proc/{zombie.pid}/stat").read_text().split()[2] == "Z")
        daemon.remember(zombie.pid)
        assert daemon.pid() is None


def test_children_left_behind_keep_the_folder(daemon: Daemon, tmp_path: Path) -> None:
    """What a killed daemon's child may still write cannot mix with a new daemon's writing."""
    _start(daemon, tmp_path, "sleep 1 & exec sleep 60")
    daemon.stop(signal.SIGKILL)
    with pytest.raises(Transient, match="holds its folder"), daemon.claim(0.1):
        pass
    assert _start(daemon, tmp_path) == daemon.pid()


def test_what_ignores_the_signal_is_killed(daemon: Daemon, tmp_path: Path) -> None:
    _start(daemon, tmp_path, "trap '' TERM; echo armed; while :; do sleep 0.05; done")
    eventually(lambda: "armed" in tail(daemon.log))
    daemon.stop(seconds=0.3)
    assert daemon.pid() is None


def test_an_early_end_shows_the_log(daemon: Daemon, tmp_path: Path) -> None:
    with pytest.raises(Transient, match="out of luck"):
        daemon.ensure(lambda: _sleep(tmp_path, "echo out of luck; exit 3"), lambda: False, 5)


def test_not_ready_in_time_is_stopped(daemon: Daemon, tmp_path: Path) -> None:
    with pytest.raises(Transient, match="not ready in time"):
        daemon.ensure(lambda: _sleep(tmp_path), lambda: False, 0.2)
    assert daemon.pid() is None


def test_a_missing_program_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    command = Command(argv=[tmp_path / "none"], cwd=tmp_path)
    with pytest.raises(Rejected, match="cannot run"):
        daemon.ensure(lambda: command, lambda: True, 1)
    assert _start(daemon, tmp_path) == daemon.pid()


def test_secrets_are_made_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: secret(tmp_path, "x"), range(16)))
    assert len(made) == 1
    assert len(made.pop()) == 43
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["x"]


def test_a_big_log_is_set_aside(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    with open_log(log) as out:
        out.truncate(17 * 1024 * 1024)
    with open_log(log) as out:
        out.write(b"new\n")
    assert tail(log) == "new"
    assert log.with_suffix(".old").stat().st_size > 16 * 1024 * 1024


def test_a_wanted_port_is_kept_when_free() -> None:
    port = free_port()
    assert free_port(port) == port
