"""Which files are the project's own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path


def project_files(root: Path, *patterns: str) -> Iterator[Path]:
    """Yield the files git tracks or would track, below `root`, in order.

    A file that is listed and gone (a deletion not committed yet) is left out.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    listed = subprocess.run([*command, *patterns], cwd=root, capture_output=True, check=True)
    names = sorted(set(listed.stdout.decode().split("\0")) - {""})
    return (root / name for name in names if (root / name).is_file())
