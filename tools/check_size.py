"""No function over 60 lines, no file over 500, no port over five methods.

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
    """Yield one line per function or file that is too long, and per idle exception."""
    seen: dict[str, int] = {}
    for file in project_files(root, "*.py"):
        path = file.relative_to(root).as_posix()
        try:
            measured = list(measures(path, file.read_text()))
        except SyntaxError:
            yield f"{path}: does not parse"
            continue
        for name, lines, limit in measured:
            if lines > limit:
                seen[name] = lines
            if lines > max(limit, allowed.get(name, 0)):
                unit = "methods" if limit == MAX_PORT else "lines"
                yield f"{name}: {lines} {unit}, the limit is {limit}"
    for name, lines in allowed.items():
        if seen.get(name, 0) < lines:
            yield f"{name}: the exception allows {lines} and {seen.get(name, 0)} are needed"


def main(root: Path) -> int:
    """Print what is too long; return 1 when anything is."""
    found = list(violations(root, read_exceptions(EXCEPTIONS.read_text())))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
