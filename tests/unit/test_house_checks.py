"""Each check of the house catches what it is there for, planted in a small tree."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import check_floats, check_leaks, check_size

Plant = Callable[[str, str], Path]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Write a file into a fresh repository and return the repository's root."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    return write


def body(lines: int) -> str:
    return "\n".join(f"    x{n} = {n}" for n in range(lines)) + "\n"


def test_size_accepts_what_is_at_the_limit(plant: Plant) -> None:
    root = plant("a.py", "def f():\n" + body(59))
    assert list(check_size.violations(root, {})) == []


def test_size_names_a_long_function_and_a_long_file(plant: Plant) -> None:
    plant("a.py", "class A:\n    async def f(self):\n" + body(60).replace("    x", "        x"))
    root = plant("b.py", "x = 1\n" * 501)
    assert list(check_size.violations(root, {})) == [
        "a.py::A.f: 61 lines, the limit is 60",
        "b.py: 501 lines, the limit is 500",
    ]


def test_size_exceptions_only_shrink(plant: Plant) -> None:
    root = plant("a.py", "def f():\n" + body(64))
    assert list(check_size.violations(root, {"a.py::f": 65})) == []
    assert list(check_size.violations(root, {"a.py::f": 70})) == [
        "a.py::f: the exception allows 70 and 65 are needed"
    ]
    assert list(check_size.violations(root, {"a.py::f": 64})) == [
        "a.py::f: 65 lines, the limit is 60"
    ]
    assert list(check_size.violations(root, {"a.py::f": 65, "gone.py": 600})) == [
        "gone.py: the exception allows 600 and 0 are needed"
    ]


def test_size_names_a_port_with_too_many_methods(plant: Plant) -> None:
    methods = "".join(f"    async def m{n}(self): ...\n" for n in range(5))
    properties = "    @property\n    def p(self): ...\n"
    plant("a.py", f"class A(Protocol):\n{properties}{methods}")
    root = plant("b.py", f"class B(Protocol[T]):\n{methods}    def more(self): ...\n")
    assert list(check_size.violations(root, {})) == ["b.py::B: 6 methods, the limit is 5"]


def test_size_keeps_stage_and_decision_pages_short(plant: Plant) -> None:
    plant("README.md", "line\n" * 200)
    plant("sep_ray/intent/README.md", "line\n" * 41)
    plant("sep_ray/routing/README.md", "line\n" * 40)
    root = plant("docs/adr/0001-a.md", "line\n" * 61)
    assert list(check_size.violations(root, {})) == [
        "sep_ray/intent/README.md: 41 lines, the limit is 40",
        "docs/adr/0001-a.md: 61 lines, the limit is 60",
    ]


def test_size_reads_its_list() -> None:
    assert check_size.read_exceptions("# head\n\na.py::A.f 61\n") == {"a.py::A.f": 61}


def test_size_list_is_empty() -> None:
    assert check_size.read_exceptions(check_size.EXCEPTIONS.read_text()) == {}


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("x = 0.5", "float literal 0.5"),
        ("x = 1e18", "float literal 1e+18"),
        ("x = 2j", "float literal 2j"),
        ("def f(a: float) -> int: ...", "the name float"),
        ("def f(a: list[float | None]) -> int: ...", "the name float"),
        ("x = float('inf')", "the name float"),
        ("x = a / b", "true division"),
        ("x /= 2", "true division"),
    ],
)
def test_floats_finds(source: str, what: str) -> None:
    assert list(check_floats.float_uses("\n" + source)) == [(2, what)]


def test_floats_accepts_integers_and_named_division() -> None:
    source = "x = 10**18 // 3\ny = -(-x // 2)\nz = divide(x, 3, Rounding.UP)\nx //= 2\n"
    assert list(check_floats.float_uses(source)) == []


def test_floats_looks_where_amounts_are_handled_and_nowhere_else(plant: Plant) -> None:
    plant("sep_ray/kernel/deep/a.py", "x = 1.5\n")
    plant("sep_ray/routing/plan.py", "y = a / b\n")
    root = plant("sep_ray/priority/score.py", "z = 1.5\n")
    assert list(check_floats.violations(root)) == [
        "sep_ray/kernel/deep/a.py:1: float literal 1.5",
        "sep_ray/routing/plan.py:1: true division",
    ]


KEY_HEX = "ab" * 32


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("a.md", "see https://" + "docs.somewhere." + "net/x", "address"),
        ("a.py", "'postgresql://" + "user:word@db.somewhere.net:5432/x'", "address"),
        ("a.md", "from registry." + "somewhere.org", "registry"),
        ("a.md", "from py" + "pi.org", "registry"),
        ("requirements.lock", "--extra-ind" + "ex-url something", "option"),
        ("requirements.lock", "  --find" + "-links folder", "option"),
        ("a.py", "open('/" + "home/someone/x')", "path"),
        ("a.toml", "path = \"/" + "tmp/x\"", "path"),
        ("a.py", "PRIVATE_" + f"KEY = '0x{KEY_HEX}'", "key"),
        ("a.json", '"secret' + f'Key": "{KEY_HEX}"', "key"),
        ("a.pem", "-----BEGIN EC " + "PRIVATE KEY-----", "pem"),
        ("a.py", "'te" + "st test test test test test test test test test test junk'", "words"),
    ],
)  # fmt: skip
def test_leaks_finds(name: str, text: str, rule: str) -> None:
    assert rule in {found for _, found, _ in check_leaks.leaks(name, "first line\n" + text)}


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8700/v1/intents and ws://localhost/v1/stream",
        "https://eips.ethereum.org/EIPS/eip-1559",
        'base = f"{root}/tmp/x" + str(path) + "../tmp/y"',
        "hash = 0x" + KEY_HEX,
        "    --hash=sha256:" + KEY_HEX,
        "postgresql://sep@localhost/sep",
        "GET /v1/home, /health, /metrics",
    ],
)
def test_leaks_accepts(text: str) -> None:
    assert list(check_leaks.leaks("requirements.lock", text)) == []


def test_leaks_allowance_must_match_something(plant: Plant) -> None:
    path = "/" + "tmp/x"
    root = plant("a.py", f"\nx = '{path}'\n")
    assert list(check_leaks.violations(root, set())) == [f"a.py:2: path: {path}"]
    assert list(check_leaks.violations(root, {("a.py", path)})) == []
    assert list(check_leaks.violations(root, {("a.py", path), ("b.py", path)})) == [
        f"b.py: the allowance {path!r} matches nothing"
    ]


def test_leaks_skips_what_is_not_text(plant: Plant) -> None:
    root = plant("a.bin", "\0 /" + "tmp/x")
    assert list(check_leaks.violations(root, set())) == []


def test_ignored_files_are_not_the_projects(plant: Plant) -> None:
    plant(".gitignore", "out/\n")
    root = plant("out/a.py", "x = 1\n" * 501)
    assert list(check_size.violations(root, {})) == []


def test_a_file_that_does_not_parse_is_a_violation_and_not_a_crash(plant: Plant) -> None:
    root = plant("sep_ray/kernel/a.py", "def f(:\n")
    assert list(check_size.violations(root, {})) == ["sep_ray/kernel/a.py: does not parse"]
    assert list(check_floats.violations(root)) == ["sep_ray/kernel/a.py: does not parse"]
