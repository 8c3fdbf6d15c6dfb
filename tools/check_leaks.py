"""Nothing of the machine it was written on, and no secret, in a file of the project.

* addresses: a URL may name only a host of `KNOWN_HOSTS`; a bare name that looks like a package
  registry's is never allowed, nor is an option that sets one in a requirements file
* paths: no absolute path of a home, work or temporary folder
* secrets: no 64 hex digits behind a word that means key, no PEM private key, no mnemonic

`leaks_allowed.txt` lists what is meant to be there: `<path> <the matched text>`. An entry that
matches nothing is itself a violation.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.files import project_files

ALLOWED = Path(__file__).with_name("leaks_allowed.txt")
KNOWN_HOSTS = frozenset(
    {
        "127.0.0.1",
        "localhost",
        "doi.org",
        "eips.ethereum.org",
        "keepachangelog.com",
        "semver.org",
        "spdx.org",
        "www.apache.org",
        "www.rfc-editor.org",
        "www.w3.org",
    }
)
RESERVED = (".example", ".test", ".invalid", ".localhost", "example.com", "example.org")

URL = re.compile(r"\b(?:https?|wss?|redis|postgres(?:ql)?)://(?:[^\s/@\"'<>]*@)?([\w.-]*\w)")
REGISTRY = re.compile(
    r"\b(?:(?:registry|files|deb|security|proxy|index|mirrors?)\.\w[\w-]*\.(?:org|com|io|dev|net)"
    r"|(?:test\.)?(?:pypi|npmjs|pythonhosted)\.(?:org|com))\b"
)
INDEX_OPTION = re.compile(r"^\s*(?:-i|-f|--(?:extra-)?index(?:-url)?|--find-links)\b.*", re.M)
MACHINE_PATH = re.compile(r"(?<![\w.:/$}>*~-])/(?:work|root|home|farm|tmp|Users|opt)/[\w.+-]+")
KEY = re.compile(
    r"(?:priv|secret|signing|seed|private[ _-]?key|_key|\bkey)\w*\W{1,12}(?:0x)?[0-9a-f]{64}\b",
    re.IGNORECASE,
)
PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
MNEMONIC = re.compile(r"\b(?:(\w{3,8}) )\1 (?:\w{3,8} ){9}\w{3,8}\b")


def leaks(name: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, rule, matched text) for everything in `text` that must not be there."""
    for match in URL.finditer(text):
        host = match[1].lower()
        if host not in KNOWN_HOSTS and not host.endswith(RESERVED) and "." in host:
            yield _at(text, match, "address")
    rules = {"registry": REGISTRY, "path": MACHINE_PATH, "key": KEY, "pem": PEM, "words": MNEMONIC}
    if name.startswith("requirements"):
        rules["option"] = INDEX_OPTION
    for rule, pattern in rules.items():
        for match in pattern.finditer(text):
            yield _at(text, match, rule)


def _at(text: str, match: re.Match[str], rule: str) -> tuple[int, str, str]:
    return text.count("\n", 0, match.start()) + 1, rule, match[0].strip()


def read_allowed(text: str) -> set[tuple[str, str]]:
    """Read the list of meant matches: (path, matched text)."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {(path, matched) for path, matched in (line.split(" ", 1) for line in lines)}


def violations(root: Path, allowed: set[tuple[str, str]]) -> Iterator[str]:
    """Yield one line per leak in a text file of the project, and per idle allowance."""
    idle = set(allowed)
    for file in project_files(root):
        name = file.relative_to(root).as_posix()
        content = file.read_bytes()
        if b"\0" in content:
            continue
        for line, rule, matched in leaks(name, content.decode("utf-8", "replace")):
            idle.discard((name, matched))
            if (name, matched) not in allowed:
                yield f"{name}:{line}: {rule}: {matched[:80]}"
    for name, matched in sorted(idle):
        yield f"{name}: the allowance {matched[:80]!r} matches nothing"


def main(root: Path) -> int:
    """Print every leak; return 1 when there is one."""
    found = list(violations(root, read_allowed(ALLOWED.read_text())))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
