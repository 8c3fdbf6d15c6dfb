"""Files of the state folder: private folders, secrets, logs, atomic replacement."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import IO, Final

from sep_ray.kernel.errors import Rejected

_LOG_LIMIT_BYTES: Final = 16 * 1024 * 1024


def private_folder(path: Path, *, mode: int = 0o700) -> Path:
    """Make one folder of ours with exactly this mode; parents are made, never changed.

    Raises Rejected when it cannot be made or belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)
    except OSError as error:
        raise Rejected("cannot use this folder", path=str(path), why=error.strerror) from None
    return path


def replace_file(path: Path, text: str) -> None:
    """Write a file (0600) so that a reader or a crash sees the old text or the new, no mix."""
    os.replace(_written_beside(path, text), path)


def secret(state: Path, name: str) -> str:
    """Return the secret of this name, made at first use: 43 characters that need no quoting.

    It lives in the state folder's `secrets/` (0700), one file (0600) each; two processes that ask
    at once get the same one.
    """
    path = private_folder(state / "secrets") / name
    if not path.exists():
        fresh = _written_beside(path, secrets.token_urlsafe(32))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(fresh)
    return path.read_text()


def open_log(path: Path) -> IO[bytes]:
    """Open a log (0600) to append to; one that has grown past 16 MiB is set aside as .old."""
    private_folder(path.parent)
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".old"))
    return open(path, "ab", opener=_private)


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log, at most 4,000 characters; empty when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 4_000))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _written_beside(path: Path, text: str) -> str:
    """Write a new file (0600) in the same folder, down to the disk; return its name."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with open(handle, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    return name


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
