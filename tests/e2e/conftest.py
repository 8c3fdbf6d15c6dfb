"""One platform for all end-to-end tests, brought up and down as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("SEP_CACHE_DIR", REPOSITORY / ".sep" / "cache"))


@dataclass(frozen=True)
class Sep:
    """The `sep` command against one state folder."""

    state: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment every command runs in."""
        return dict(os.environ) | {
            "SEP_STATE_DIR": str(self.state),
            "SEP_CACHE_DIR": str(CACHE),
            "SEP_HTTP_PORT": "0",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("sep")), *words],
            env=self.env,
            cwd=self.state,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, code: int = 0, seconds: float = 300) -> str:
        """Run a command to its end and return its output; fail on another exit code."""
        process = self.start(*words)
        out, err = process.communicate(timeout=seconds)
        assert process.returncode == code, f"sep {' '.join(words)}: {out}\n{err}"
        assert "Traceback" not in err
        return out + err if code else out

    def json(self, *words: str) -> Any:
        """Run a command with --json and return what it says."""
        return json.loads(self.run(*words, "--json"))

    def endpoints(self) -> dict[str, Any]:
        """Return where the running platform is, without asking it."""
        found: dict[str, Any] = json.loads((self.state / "endpoints.json").read_text())
        return found

    def actors(self) -> dict[str, int]:
        """Return the platform's Ray worker processes: title -> pid."""
        daemon = psutil.Process(self.endpoints()["pid"])
        found = {}
        for child in daemon.children(recursive=True):
            title = " ".join(child.cmdline())
            if title.startswith("ray::"):
                found[f"{title.removeprefix('ray::')}/{child.pid}"] = child.pid
        return found


def pids(actors: dict[str, int], prefixes: Sequence[str]) -> list[int]:
    """Return the pids of actors whose title begins with one of these."""
    return [pid for title, pid in actors.items() if title.startswith(tuple(prefixes))]


@pytest.fixture(scope="session")
def sep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sep]:
    """A running platform."""
    command = Sep(tmp_path_factory.mktemp("e2e"))
    command.run("up", seconds=330)
    yield command
    command.run("down")
