"""Run the test suites one after the other, each in its own pytest, and count.

    python -m tools.run_tests [SUITE ...]

A suite is a folder of tests/ (`all` stands for every one, in order), `check` (the static checks)
or `wheel` (the built package in a clean environment). After each suite one line says how it went;
the last line is the plain total. The exit code is 0 only when nothing failed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from tools.check import ROOT, run_checks

REPORTS = ROOT / ".cache" / "tests"
BUDGET_S = {
    "unit": 300,
    "property": 300,
    "contract": 300,
    "simulation": 300,
    "integration": 480,
    "ray": 480,
    "e2e": 900,
    "bridges": 600,
    "wheel": 600,
}
"""After how long a suite is ended, so that a hang is a failure with a name and not a lost run."""
APART = frozenset({"bridges", "wheel"})
"""Suites that run only when they are named."""
ALL = tuple(name for name in BUDGET_S if name not in APART)


@dataclass(frozen=True, slots=True)
class Count:
    """How the tests of one suite, or of all, ended."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def read_report(xml: str) -> Count:
    """Count a JUnit report: a test is failed when its call, set-up or tear-down was."""
    failed = skipped = total = 0
    for case in ET.fromstring(xml).iter("testcase"):
        total += 1
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
    return Count(total - failed - skipped, failed, skipped)


def run_bounded(command: Sequence[str], seconds: float) -> int | None:
    """Run a command in its own process group; return its exit code, None if it took too long."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        return None
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Give the process ten seconds to end by itself, then end whatever is left of its group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_suite(name: str) -> Count:
    """Run one suite and return its count; a crash or a hang counts as one failure more."""
    if name == "check":
        results = run_checks(ROOT)
        return Count(sum(results.values()), len(results) - sum(results.values()))
    target = ROOT / ("tools/test_wheel.py" if name == "wheel" else f"tests/{name}")
    if not target.exists():
        return Count()
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    options = ["-q", "--junitxml", str(report), "-o", f"junit_suite_name={name}"]
    code = run_bounded([sys.executable, "-m", "pytest", *options, str(target)], BUDGET_S[name])
    count = read_report(report.read_text()) if report.is_file() else Count()
    if code is None:
        print(f"suite {name}: ended after {BUDGET_S[name]} s without coming to an end")
    if code not in (0, 5) and not count.failed:
        count += Count(failed=1)
    return count


def main(names: Sequence[str]) -> int:
    """Run the named suites (all of tests/ when none is named); return 1 when something failed."""
    known = {*BUDGET_S, "check", "all"}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no such suite: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    wanted = [one for name in names or ["all"] for one in (ALL if name == "all" else (name,))]
    lines, total = [], Count()
    for name in wanted:
        print(f"\nsuite {name}: running", flush=True)
        started = time.monotonic()
        count = run_suite(name)
        total += count
        lines.append(f"suite {name}: {count} in {time.monotonic() - started:.0f} s")
        print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))
    print(total, flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
