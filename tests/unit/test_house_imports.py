"""The import contracts hold for every package, and refuse what they are there to refuse."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools.install import ROOT

SHELLS = {"adapters", "devnet", "simulation", "bootstrap", "settings", "logs"}


def contracts() -> dict[str, dict[str, Any]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {one["id"]: one for one in config["tool"]["importlinter"]["contracts"]}


def test_every_stage_is_held_to_be_pure() -> None:
    stages = {
        f"sep_ray.{entry.stem}"
        for entry in (ROOT / "sep_ray").iterdir()
        if (entry / "__init__.py").is_file() or (entry.suffix == ".py" and entry.stem != "__init__")
    }
    assert set(contracts()["pure-stages"]["source_modules"]) == stages - {
        f"sep_ray.{name}" for name in SHELLS
    }


def test_the_layers_are_the_flow() -> None:
    assert contracts()["flow"]["layers"] == [
        "(bootstrap)",
        "(logs) : (settings)",
        "(simulation)",
        "(adapters) : (devnet)",
        "(engine) : (pipeline)",
        "(backtest)",
        "(journal)",
        "(strategy)",
        "(policy) : (portfolio)",
        "(settlement)",
        "(execution)",
        "(routing)",
        "(decomposition)",
        "(priority)",
        "(intent)",
        "kernel",
    ]


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    """The project's packages without their code, under the project's own contracts."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for package in ("sep_ray", "actors", "serve_app"):
        for source in (ROOT / package).rglob("*.py"):
            empty = tmp_path / source.relative_to(ROOT)
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.write_text("")
            (empty.parent / "__init__.py").touch()
    return tmp_path


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(linter), "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )


def add(tree: Path, module: str, line: str = "") -> None:
    file = tree / module
    file.parent.mkdir(exist_ok=True)
    (file.parent / "__init__.py").touch()
    file.write_text(f"{line}\n")


def test_empty_packages_pass(small_tree: Path) -> None:
    done = lint(small_tree)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("sep_ray/kernel/x.py", "import sep_ray.routing", "downhill"),
        ("sep_ray/intent/x.py", "import pydantic", "pure"),
        ("sep_ray/routing/x.py", "import actors", "shells"),
        ("sep_ray/execution/x.py", "import ray", "Only actors and serve_app know Ray"),
        ("sep_ray/adapters/one/x.py", "import sep_ray.adapters.two", "know one another"),
        ("sep_ray/newcomer/__init__.py", "", "downhill"),
    ],
)
def test_a_planted_import_is_refused(small_tree: Path, module: str, line: str, broken: str) -> None:
    add(small_tree, "sep_ray/adapters/two/__init__.py")
    add(small_tree, module, line)
    done = lint(small_tree)
    assert done.returncode == 1
    assert any(broken in said and "BROKEN" in said for said in done.stdout.splitlines())
