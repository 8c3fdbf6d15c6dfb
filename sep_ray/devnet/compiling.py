"""Compiles our own contracts, those that stand in for code nobody publishes or nodes contain."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from sep_ray.kernel.errors import InvariantBroken, Transient

SOURCES: Final = Path(__file__).with_name("solidity")
COMPILE_WAIT_S: Final = 120
_RUN: Final = (
    "const c = require(process.argv[1]);"
    "const run = c.cwrap('solidity_compile', 'string', ['string', 'number', 'number']);"
    "process.stdout.write(run(require('fs').readFileSync(0, 'utf8'), 0, 0));"
)


def sources() -> dict[str, str]:
    """Our contracts' files, by name."""
    return {path.name: path.read_text() for path in sorted(SOURCES.glob("*.sol"))}


def standard_input(files: dict[str, str]) -> str:
    """What to compile and how: the same text in, the same bytecode out."""
    return json.dumps(
        {
            "language": "Solidity",
            "sources": {name: {"content": text} for name, text in files.items()},
            "settings": {
                "optimizer": {"enabled": True, "runs": 200},
                "evmVersion": "cancun",
                "viaIR": False,
                "metadata": {"bytecodeHash": "none", "appendCBOR": False},
                "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
            },
        }
    )


def compile_all(node: str, compiler: Path) -> dict[str, dict[str, Any]]:
    """Run the compiler in the given JavaScript runtime; return the artifacts by contract.

    Raises InvariantBroken where our sources do not compile, Transient where it takes too long.
    """
    try:
        ended = subprocess.run(
            [node, "-e", _RUN, str(compiler)],
            input=standard_input(sources()),
            capture_output=True,
            text=True,
            timeout=COMPILE_WAIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Transient("compiling our contracts takes too long") from None
    if ended.returncode != 0:
        raise InvariantBroken("the compiler did not run", why=ended.stderr[-500:])
    found = json.loads(ended.stdout)
    wrong = [each for each in found.get("errors", ()) if each["severity"] == "error"]
    if wrong:
        raise InvariantBroken("our contracts do not compile", why=wrong[0]["formattedMessage"])
    return {
        name: {"abi": each["abi"], "bytecode": each["evm"]["bytecode"]["object"], "links": {}}
        for contracts in found["contracts"].values()
        for name, each in contracts.items()
        if each["evm"]["bytecode"]["object"]
    }
