"""The embedded Valkey, and both services together."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from sep_ray.devnet import valkey as module
from sep_ray.devnet.postgres import SOCKET_LIMIT, EmbeddedPostgres
from sep_ray.devnet.services import start_services, stop_services
from sep_ray.devnet.valkey import EmbeddedValkey
from sep_ray.kernel.errors import Rejected
from tests.fixtures.eventually import eventually


@pytest.fixture(params=[False, True], ids=["unix", "tcp"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey]:
    embedded = EmbeddedValkey(tmp_path / "state", tcp=request.param, die_with_starter=True)
    yield embedded
    embedded.stop()


def test_data_survives_stop_and_crash(server: EmbeddedValkey) -> None:
    with redis.Redis.from_url(server.start()) as client:
        client.set("a", 1)
        client.xadd("stream", {"n": 1})
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    server.stop()
    assert server.pid is None
    with redis.Redis.from_url(server.start()) as client:
        assert client.get("a") == b"1"
        client.set("b", 2)
        client.wait(0, 0)
        server.kill()
    with redis.Redis.from_url(server.start()) as client:
        assert (client.get("a"), client.get("b")) == (b"1", b"2")


def test_a_password_is_needed_and_not_shown(server: EmbeddedValkey, tmp_path: Path) -> None:
    url = server.start()
    password = (tmp_path / "state" / "secrets" / "redis").read_text()
    assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()
    with (
        redis.Redis.from_url(url.replace(f":{password}@", "@")) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_torn_append_only_file_is_repaired(server: EmbeddedValkey, tmp_path: Path) -> None:
    with redis.Redis.from_url(server.start()) as client:
        client.set("a", 1)
    server.stop()
    (log,) = (tmp_path / "state" / "redis" / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as out:
        out.write(b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$100\r\nhalf")
    with redis.Redis.from_url(server.start()) as client:
        assert client.get("a") == b"1"


def test_a_long_path_falls_back_to_loopback(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / ("d" * SOCKET_LIMIT), die_with_starter=True)
    try:
        assert server.start().startswith("redis://")
    finally:
        server.stop()


def test_redis_on_the_path_is_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(
        shutil, "which", lambda name: "/bin/redis" if name == "redis-server" else None
    )
    assert module.program() == Path("/bin/redis")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Rejected, match="no Valkey"):
        module.program()


def test_given_urls_start_nothing(tmp_path: Path) -> None:
    urls = start_services(tmp_path / "state", postgres_url="postgresql://x", redis_url="redis://y")
    assert (urls.postgres, urls.redis) == ("postgresql://x", "redis://y")
    assert not (tmp_path / "state").exists()
    assert "postgresql" not in repr(urls)


_STARTER = """
import sys, time
from pathlib import Path
from sep_ray.devnet.services import start_services
start_services(Path(sys.argv[1]), die_with_starter=sys.argv[2] == "die")
print("up", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("fate", ["die", "live"])
def test_services_outlive_their_starter_unless_told(tmp_path: Path, fate: str) -> None:
    """Another process finds what one started, and stops it by the state folder alone."""
    state = tmp_path / "state"
    postgres, valkey = EmbeddedPostgres(state), EmbeddedValkey(state)
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(state), fate], stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"up\n"
        assert postgres.pid is not None
        assert valkey.pid is not None
        starter.kill()
    try:
        if fate == "die":
            eventually(lambda: postgres.pid is None and valkey.pid is None)
        else:
            assert postgres.sql("SELECT 1") == "1"
    finally:
        stop_services(state)
    assert postgres.pid is None
    assert valkey.pid is None
