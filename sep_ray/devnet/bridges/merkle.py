"""Merkle trees as OpenZeppelin's MerkleProof checks them: pairs are sorted, an odd one moves up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eth_utils.crypto import keccak

EMPTY: Final = bytes(32)


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes; EMPTY for none."""
    row = list(leaves)
    while len(row) > 1:
        row = _above(row)
    return row[0] if row else EMPTY


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the proof that the leaf at `index` is under the root."""
    row, found = list(leaves), []
    while len(row) > 1:
        sibling = index ^ 1
        if sibling < len(row):
            found.append(row[sibling])
        row, index = _above(row), index // 2
    return found


def _above(row: list[bytes]) -> list[bytes]:
    pairs = [sorted(row[n : n + 2]) for n in range(0, len(row), 2)]
    return [keccak(b"".join(pair)) if len(pair) == 2 else pair[0] for pair in pairs]
