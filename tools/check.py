"""Run every static check and say in one line each how it went."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
TYPED = ("sep_ray", "actors", "serve_app", "tools", "tests", "bench")


def checks(root: Path) -> dict[str, list[str]]:
    """Return the checks by name, each as the command that exits 0 when all is well."""
    typed = [name for name in TYPED if any((root / name).rglob("*.py"))]
    return {
        "format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
        "lint": [str(BIN / "ruff"), "check", "--quiet", "."],
        "types": [str(BIN / "mypy"), "--no-error-summary", *typed],
        "imports": [str(BIN / "lint-imports"), "--no-cache"],
        "sizes": [sys.executable, "-m", "tools.check_size"],
        "floats": [sys.executable, "-m", "tools.check_floats"],
        "leaks": [sys.executable, "-m", "tools.check_leaks"],
    }


def run_checks(root: Path) -> dict[str, bool]:
    """Run all checks, print what the failing ones say, and return name -> passed."""
    results = {}
    for name, command in checks(root).items():
        started = time.monotonic()
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        results[name] = done.returncode == 0
        verdict = "ok" if results[name] else "FAILED"
        print(f"check {name}: {verdict} ({time.monotonic() - started:.1f} s)", flush=True)
        if not results[name]:
            print((done.stdout + done.stderr).rstrip(), flush=True)
    return results


def main() -> int:
    """Run all checks; return 1 when one failed."""
    results = run_checks(ROOT)
    failed = [name for name, passed in results.items() if not passed]
    print(f"checks: {len(results) - len(failed)} ok, {len(failed)} failed", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
