"""Write requirements*.lock: every package with the hashes of its files, and no host's name.

The locks hold for Linux and every supported Python. Pins stay as they are unless pyproject.toml
asks for something else; `--upgrade` takes the newest of everything.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.install import INSTALLER_LOCK, ROOT, RUNTIME_LOCK, TRAIN_LOCK

INSTALLER = "uv==0.13.9"


def compile_command(output: str, *sources: str, upgrade: bool) -> list[str]:
    """Return the command that resolves `sources` into the lock file `output`."""
    tool = str(Path(sys.executable).with_name("uv"))
    fixed = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    renew = ["--upgrade"] if upgrade else []
    header = ["--custom-compile-command", "make lock"]
    return [tool, "pip", "compile", *fixed, *renew, *header, *sources, "-o", output]


def main() -> None:
    """Resolve the installer, then the platform with its checks, then training on top of both."""
    upgrade = "--upgrade" in sys.argv[1:]

    def resolve(output: str, *sources: str, given: str | None = None) -> None:
        command = compile_command(output, *sources, upgrade=upgrade)
        subprocess.run(command, cwd=ROOT, input=given, text=True, check=True)
        print(f"lock: wrote {output}")

    dev = ("pyproject.toml", "--extra", "dev")
    resolve(INSTALLER_LOCK, "-", given=INSTALLER)
    resolve(RUNTIME_LOCK, *dev)
    resolve(TRAIN_LOCK, *dev, "--extra", "train", "--constraint", RUNTIME_LOCK)


if __name__ == "__main__":
    main()
