"""A platform of its own for a run: a state folder that goes afterwards, the shared cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sep_ray.settings import Settings


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """Make a folder with a short name (unix sockets lie in it); remove it at the end."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def own_settings(state: Path, cache: Path, **variables: str) -> Iterator[Settings]:
    """Set exactly these SEP_* variables, and the cache's, for this process and its children."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("SEP_")]:
        del os.environ[name]
    os.environ.update({"SEP_STATE_DIR": str(state), "SEP_CACHE_DIR": str(cache), **variables})
    try:
        yield Settings(_env_file=None)
    finally:
        os.environ.clear()
        os.environ.update(before)
