"""No function over 60 lines, no file over 500, no port over five methods, no page too long.

A port is a class that lists Protocol as its base; its properties do not count. An exception is a
line `<path>[::<name>] <size>` in size_exceptions.txt. The list only shrinks: an entry that is no
longer needed, or that allows more than there is, is itself a violation.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.files import project_files

MAX_FUNCTION = 60
MAX_FILE = 500
MAX_PORT = 5
MAX_PAGE = {"sep_ray/*/README.md": 40, "docs/adr/*.md": 60}
EXCEPTIONS = Path(__file__).with_name("size_exceptions.txt")


def measures(path: str, source: str) -> Iterator[tuple[str, int, int]]:
    """Yield (name, size, limit) of the file, its functions and its ports; a method is `A.b`.

    The size of a port is its number of methods, of everything else its number of lines.
    """
    yield path, source.count("\n"), MAX_FILE

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, int, int]]:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{prefix}{child.name}"
                if not isinstance(child, ast.ClassDef):
                    lines = (child.end_lineno or child.lineno) - child.lineno + 1
                    yield f"{path}::{inner}", lines, MAX_FUNCTION
                elif any(ast.unparse(base).startswith("Protocol") for base in child.bases):
                    yield f"{path}::{inner}", _methods(child), MAX_PORT
                inner += "."
            yield from walk(child, inner)

    yield from walk(ast.parse(source), "")


def _methods(port: ast.ClassDef) -> int:
    """Count what one can call on a port."""
    defined = (d for d in port.body if isinstance(d, ast.FunctionDef | ast.AsyncFunctionDef))
    return sum("property" not in map(ast.unparse, d.decorator_list) for d in defined)


def read_exceptions(text: str) -> dict[str, int]:
    """Read the list of exceptions; blank lines and lines starting with # are left out."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {name: int(allowed) for name, allowed in lines}


def violations(root: Path, allowed: dict[str, int]) -> Iterator[str]:
    """Yield one line per function, file, port or page that is too big, and per idle exception."""
    seen: dict[str, int] = {}
    for name, size, limit in (*_code(root), *_pages(root)):
        if limit == 0:
            yield f"{name}: does not parse"
        elif size > limit:
            seen[name] = size
            if size > allowed.get(name, 0):
                unit = "methods" if limit == MAX_PORT else "lines"
                yield f"{name}: {size} {unit}, the limit is {limit}"
    for name, size in allowed.items():
        if seen.get(name, 0) < size:
            yield f"{name}: the exception allows {size} and {seen.get(name, 0)} are needed"


def _code(root: Path) -> Iterator[tuple[str, int, int]]:
    """Measure all Python; a file that does not parse has a limit of 0."""
    for file in project_files(root, "*.py"):
        path = file.relative_to(root).as_posix()
        try:
            yield from list(measures(path, file.read_text()))
        except SyntaxError:
            yield path, 0, 0


def _pages(root: Path) -> Iterator[tuple[str, int, int]]:
    """Measure the pages that must stay short."""
    for pattern, limit in MAX_PAGE.items():
        for file in project_files(root, f":(glob){pattern}"):
            yield file.relative_to(root).as_posix(), file.read_text().count("\n"), limit


def main(root: Path) -> int:
    """Print what is too long; return 1 when anything is."""
    found = list(violations(root, read_exceptions(EXCEPTIONS.read_text())))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
