"""Each promise of ARCHITECTURE.md is named by a test."""

from __future__ import annotations

import re

from tools.install import ROOT


def test_every_promise_is_named_by_a_test() -> None:
    promised = re.findall(r"^\| P(\d+) \|", (ROOT / "ARCHITECTURE.md").read_text(), re.M)
    assert list(map(int, promised)) == list(range(1, 15))
    named = {
        int(one or other)
        for file in (ROOT / "tests").rglob("test_*.py")
        if not file.name.startswith("test_house")
        for one, other in re.findall(r"def test_p(\d+)_|\bP(\d+)\b", file.read_text())
    }
    assert set(range(1, 15)) <= named
