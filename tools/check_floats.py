"""Money is counted in integers: no float where amounts are handled.

In the packages below (and in the plan types of routing) a float literal, the name `float`, a true
division and a complex literal are violations. Scores and metrics live elsewhere.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.files import project_files

INTEGER_ONLY = (
    "sep_ray/kernel/*.py",
    "sep_ray/execution/*.py",
    "sep_ray/settlement/*.py",
    "sep_ray/policy/*.py",
    "sep_ray/portfolio/*.py",
    "sep_ray/routing/*plan*.py",
)


def float_uses(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for everything in `source` that makes or names a float."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=float() | complex() as value):
                yield node.lineno, f"float literal {value}"
            case ast.Name(id="float" | "complex" as name):
                yield node.lineno, f"the name {name}"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield node.lineno, "true division"
            case _:
                pass


def violations(root: Path) -> Iterator[str]:
    """Yield one line per float in the integer-only packages."""
    for file in project_files(root, *INTEGER_ONLY):
        path = file.relative_to(root).as_posix()
        try:
            yield from (f"{path}:{at}: {what}" for at, what in sorted(float_uses(file.read_text())))
        except SyntaxError:
            yield f"{path}: does not parse"


def main(root: Path) -> int:
    """Print every float found; return 1 when there is one."""
    found = list(violations(root))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
