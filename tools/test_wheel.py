"""The built wheel, installed into a clean environment and used from another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.hatch_models import artefacts
from tools.install import ROOT, RUNTIME_LOCK

IMPORT_ALL = """
import importlib, pkgutil, sys
for name in ("sep_ray", "actors", "serve_app"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    print(package.__file__)
"""

SCORE_GOLDEN = """
import json, math
from sep_ray.adapters.onnx.session import OnnxModel, find_models
for folder in sorted(path for path in find_models(None).iterdir() if path.is_dir()):
    golden = json.loads((folder / "golden.json").read_text())
    scores = OnnxModel.load(folder).score(golden["rows"])
    assert len(scores) == len(golden["scores"]) > 0
    for ours, theirs in zip(scores, golden["scores"], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert math.isclose(a, b, rel_tol=golden["relative_tolerance"], abs_tol=1e-6), folder
    print(folder.name, folder)
"""


def environment() -> dict[str, str]:
    """Return this environment without anything that points back at the source tree."""
    dropped = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}
    return {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("SEP_")}


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it printed; its failure is the test's."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert done.returncode == 0, f"{command} said:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree."""
    out = tmp_path_factory.mktemp("dist")
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    call(sys.executable, *build, cwd=ROOT)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def clean_bin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bin folder of an environment that holds the wheel and its locked dependencies."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    uv = Path(sys.executable).with_name("uv")
    call(uv, "venv", "--quiet", "--python", sys.executable, venv, cwd=ROOT)
    into = ("--python", venv / "bin" / "python", "--constraint", ROOT / RUNTIME_LOCK)
    call(uv, "pip", "install", "--quiet", *into, wheel, cwd=venv.parent)
    yield venv / "bin"
    shutil.rmtree(venv)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that has nothing to do with the source tree."""
    return tmp_path


def test_wheel_holds_the_packages_their_data_and_the_models(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"sep_ray/__init__.py", "sep_ray/py.typed"} <= names
    packages = ("sep_ray", "actors", "serve_app")
    data = {
        file.relative_to(ROOT).as_posix()
        for package in packages
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert data <= names
    assert set(artefacts(ROOT).values()) <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(packages)


def test_command_says_its_version(clean_bin: Path, elsewhere: Path) -> None:
    python = call(
        clean_bin / "python", "-c", "import sep_ray; print(sep_ray.__version__)", cwd=elsewhere
    )
    assert python.strip() in call(clean_bin / "sep", "--version", cwd=elsewhere)


def test_every_module_imports_without_the_development_packages(
    clean_bin: Path, elsewhere: Path
) -> None:
    files = call(clean_bin / "python", "-c", IMPORT_ALL, cwd=elsewhere).split()
    assert files
    assert all(Path(file).is_relative_to(clean_bin.parent) for file in files)


def test_packaged_models_give_their_golden_scores(clean_bin: Path, elsewhere: Path) -> None:
    lines = call(clean_bin / "python", "-c", SCORE_GOLDEN, cwd=elsewhere).splitlines()
    trained = {Path(place).parent.name for place in artefacts(ROOT).values()}
    assert {line.split(" ", 1)[0] for line in lines} == trained
    folders = [Path(line.split(" ", 1)[1]) for line in lines]
    assert all(folder.is_relative_to(clean_bin.parent) for folder in folders)


def test_locked_versions_are_what_the_wheel_runs_on(clean_bin: Path, elsewhere: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {name for name in project["dependencies"] if "==" in name}
    uv = Path(sys.executable).with_name("uv")
    listed = call(
        uv, "pip", "list", "--format", "json", "--python", clean_bin / "python", cwd=elsewhere
    )
    versions = {row["name"]: row["version"] for row in json.loads(listed)}
    for pin in pinned:
        name, version = pin.split("==")
        assert versions[name.split("[")[0]] == version
    assert "pytest" not in versions
