"""The test runner counts right, ends what hangs, and never reports a crash as success."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tools import run_tests
from tools.run_tests import Count

REPORT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"/>
<testcase name="c"><failure>no</failure></testcase>
<testcase name="d"><error>set-up</error></testcase>
<testcase name="e"><failure>no</failure><error>tear-down</error></testcase>
<testcase name="f"><skipped>no data</skipped></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with no tests yet, in which the runner runs."""
    monkeypatch.setattr(run_tests, "ROOT", tmp_path)
    monkeypatch.setattr(run_tests, "REPORTS", tmp_path / "reports")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # half of the time it takes to start
    return tmp_path


def suite(tree: Path, name: str, source: str) -> None:
    folder = tree / "tests" / name
    folder.mkdir(parents=True)
    (folder / f"test_{name}.py").write_text(source)


def test_a_report_is_counted_by_test() -> None:
    assert run_tests.read_report(REPORT) == Count(passed=2, failed=3, skipped=1)


def test_one_line_per_suite_and_the_plain_total_last(
    tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    suite(tree, "unit", "import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip('why')\n")
    suite(tree, "ray", "def test_a(): assert 0\n")
    assert run_tests.main(["unit", "property", "ray"]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "1 passed, 1 failed, 1 skipped"
    wanted = {
        "suite unit: 1 passed, 0 failed, 1 skipped in",
        "suite property: 0 passed, 0 failed, 0 skipped in",
        "suite ray: 0 passed, 1 failed, 0 skipped in",
    }
    assert {line[: line.index(" in ") + 3] for line in lines[-4:-1]} == wanted


def test_all_means_every_folder_in_order() -> None:
    assert run_tests.ALL == (
        "unit",
        "property",
        "contract",
        "simulation",
        "integration",
        "ray",
        "e2e",
    )


def test_a_folder_without_tests_is_no_failure(tree: Path) -> None:
    (tree / "tests" / "unit").mkdir(parents=True)
    assert run_tests.main(["unit"]) == 0


def test_a_suite_that_dies_without_a_report_has_failed(tree: Path) -> None:
    suite(tree, "unit", "import os\ndef test_a(): os._exit(3)\n")
    assert run_tests.main(["unit"]) == 1


def test_a_suite_that_does_not_import_has_failed(tree: Path) -> None:
    suite(tree, "unit", "import no_such_module_anywhere\n")
    assert run_tests.main(["unit"]) == 1


def test_a_suite_that_hangs_is_ended_with_its_children(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(run_tests.BUDGET_S, "unit", 2)
    suite(tree, "unit", "import threading\ndef test_a(): threading.Event().wait()\n")
    started = time.monotonic()
    assert run_tests.main(["unit"]) == 1
    assert time.monotonic() - started < 30
    assert "suite unit: ended after 2 s" in capfd.readouterr().out


def test_what_a_command_left_behind_is_ended(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    leave = (
        "import subprocess, sys; from pathlib import Path;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        f"Path({str(tmp_path / 'pid')!r}).write_text(str(p.pid))"
    )
    assert run_tests.run_bounded([sys.executable, "-c", leave], 30) == 0
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be collected does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(SystemExit, match="no such suite: unti"):
        run_tests.main(["unti"])
