"""Install, lock files, Makefile and the continuous run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from functools import partial
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sep_ray
from tools import check_leaks, install
from tools.files import project_files
from tools.hatch_models import artefacts
from tools.install import INSTALLER_LOCK, ROOT, RUNTIME_LOCK, TRAIN_LOCK

LOCKS = (INSTALLER_LOCK, RUNTIME_LOCK, TRAIN_LOCK)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lock: str) -> dict[str, set[str]]:
    """Read a lock: name -> versions (one per Python where they differ)."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.M):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def asked(*extras: str) -> list[Requirement]:
    optional = PROJECT["optional-dependencies"]
    lists = [PROJECT["dependencies"], *(optional[extra] for extra in extras)]
    return [Requirement(line) for lines in lists for line in lines]


def imported(*folders: str) -> set[str]:
    """Return the distributions whose modules the Python files of these folders import."""
    owners = packages_distributions()
    trees = [
        ast.parse(file.read_text())
        for folder in folders
        for file in project_files(ROOT, f"{folder}/*.py")
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    tops = {module.partition(".")[0] for module in modules}
    found: set[str] = {canonicalize_name(name) for top in tops for name in owners.get(top, [])}
    return found - {"sep-ray"}


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (("sep_ray", "actors", "serve_app"), ()),
        (("tests", "tools"), ("dev",)),
        (("bench",), ("dev", "train")),
    ],
)
def test_what_is_imported_is_asked_for(folders: tuple[str, ...], extras: tuple[str, ...]) -> None:
    assert imported(*folders) - {canonicalize_name(r.name) for r in asked(*extras)} == set()


@pytest.mark.parametrize(
    ("lock", "extras"), [(RUNTIME_LOCK, ("dev",)), (TRAIN_LOCK, ("dev", "train"))]
)
def test_the_lock_answers_every_requirement(lock: str, extras: tuple[str, ...]) -> None:
    locked = pins(lock)
    for requirement in asked(*extras):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(v) for v in versions), requirement


def test_training_runs_on_the_versions_the_platform_runs_on() -> None:
    platform, training = pins(RUNTIME_LOCK), pins(TRAIN_LOCK)
    assert {name: training[name] for name in platform} == platform


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[\w.-]+==)", (ROOT / lock).read_text(), flags=re.M)[1:]
    assert entries
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "//" not in text
    assert list(check_leaks.leaks(lock, text)) == []


def test_the_installed_project_is_this_one() -> None:
    assert Path(sep_ray.__file__).is_relative_to(ROOT)
    installed = {Requirement(r).name for r in requires("sep-ray") or [] if "extra ==" not in r}
    assert installed == {r.name for r in asked()}


def test_a_step_runs_once_until_what_it_depends_on_changes(tmp_path: Path) -> None:
    ran: list[int] = []
    stamp = tmp_path / "stamp"
    for place, wanted in enumerate(("one", "one", "two")):
        install.once(stamp, wanted, "a step", partial(ran.append, place))
    assert ran == [0, 2]


def test_a_step_that_failed_runs_again(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    stamp.write_text("old")

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        install.once(stamp, "new", "a step", fail)
    assert not stamp.exists()


def test_a_fingerprint_depends_on_the_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = install.fingerprint(tmp_path, ["a"])
    assert install.fingerprint(tmp_path, ["a"]) == before
    (tmp_path / "a").write_text("2")
    assert install.fingerprint(tmp_path, ["a"]) != before


def test_models_that_are_there_go_into_the_wheel_and_missing_ones_do_not_matter(
    tmp_path: Path,
) -> None:
    assert artefacts(tmp_path) == {}
    for name in ("model.onnx", "golden.json", "train.py"):
        file = tmp_path / "models" / "cost" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert set(artefacts(tmp_path).values()) == {
        "sep_ray/_models/cost/model.onnx",
        "sep_ray/_models/cost/golden.json",
    }


def test_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony is not None
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  make ([\w-]+)", shown.stdout, re.M)) == set(phony[1].split())


def test_the_continuous_run_is_a_program_that_parses() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
