"""Make `.venv` from the locked requirements. Needs only Python 3.11 to 3.13 with `venv`.

Every file is checked against the hashes in requirements*.lock. A step is done again only when what
it depends on changed, so calling this twice costs nothing.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 11), (3, 14))
INSTALLER_LOCK = "requirements-uv.lock"
RUNTIME_LOCK = "requirements.lock"
TRAIN_LOCK = "requirements-train.lock"
CODE = ("sep_ray", "actors", "serve_app", "models", "bench", "tools")


def fingerprint(root: Path, names: Sequence[str]) -> str:
    """Return one hash over the named files' contents and the running Python's version."""
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for name in names:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def once(stamp: Path, wanted: str, title: str, step: Callable[[], None]) -> bool:
    """Run `step` unless `stamp` already says `wanted`; return whether it ran."""
    if stamp.is_file() and stamp.read_text() == wanted:
        return False
    started = time.monotonic()
    print(f"install: {title} ...", flush=True)
    stamp.unlink(missing_ok=True)
    step()
    stamp.write_text(wanted)
    print(f"install: {title}: done in {time.monotonic() - started:.0f} s", flush=True)
    return True


def run(*command: str | Path) -> None:
    """Run a command to its end; end the installation with its words when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=_environment())
    if done.returncode:
        sys.exit(f"install: failed ({done.returncode}): {' '.join(map(str, command))}")


def _environment() -> dict[str, str]:
    """Return this environment without another project's virtual environment in it.

    The installer trusts what the system trusts, as pip does: behind a company's proxy, too.
    """
    paths = ssl.get_default_verify_paths()
    trusted = {"UV_SYSTEM_CERTS": "true"} if paths.cafile or paths.capath else {}
    kept = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    return {**trusted, **kept, "UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "copy")}


def install(venv: Path, *, train: bool) -> None:
    """Bring `venv` to what the lock files say."""
    python, uv = venv / "bin" / "python", venv / "bin" / "uv"
    into = ("--python", python)
    lock = TRAIN_LOCK if train else RUNTIME_LOCK

    def make() -> None:
        run(sys.executable, "-m", "venv", venv)
        run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", INSTALLER_LOCK)

    def requirements() -> None:
        run(uv, "pip", "install", *into, "--compile-bytecode", "--require-hashes", "-r", lock)

    def project() -> None:
        run(uv, "pip", "install", *into, "--quiet", "--no-deps", "--no-build-isolation", "-e", ".")

    made = fingerprint(ROOT, [INSTALLER_LOCK])
    venv.mkdir(parents=True, exist_ok=True)
    fresh = once(venv / ".stamp-uv", made, f"environment {venv.name}", make)
    locked = made + fingerprint(ROOT, [lock])
    fresh |= once(venv / f".stamp-{Path(lock).stem}", locked, "locked packages", requirements)
    editable = made + fingerprint(ROOT, ["pyproject.toml"])
    fresh |= once(venv / ".stamp-project", editable, "this project", project)
    compile_code(python)
    if not fresh:
        print(f"install: {venv.name} is up to date", flush=True)


def compile_code(python: Path) -> None:
    """Compile this project where that has not been done.

    A platform starts a dozen processes, and each would compile everything anew where Python is
    told to write no bytecode (PYTHONDONTWRITEBYTECODE): twice the time to start or to come back.
    """
    run(python, "-m", "compileall", "-q", *CODE)


def main() -> None:
    """Install into `.venv` beside this folder; `--train` adds what training models needs."""
    if not SUPPORTED[0] <= sys.version_info[:2] < SUPPORTED[1]:
        sys.exit(f"install: Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}")
    install(ROOT / ".venv", train="--train" in sys.argv[1:])


if __name__ == "__main__":
    main()
