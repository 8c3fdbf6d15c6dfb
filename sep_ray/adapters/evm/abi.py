"""The little of the contract ABI that the hot path needs: words, selectors, addresses."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from eth_hash.auto import keccak

WORD: Final = 32


@lru_cache(maxsize=512)
def selector(signature: str) -> bytes:
    """Return the first four bytes of keccak256 of a signature: ``transfer(address,uint256)``."""
    return keccak(signature.encode())[:4]


@lru_cache(maxsize=512)
def event_topic(signature: str) -> str:
    """Return the first topic of an event's logs: ``Transfer(address,address,uint256)``."""
    return "0x" + keccak(signature.encode()).hex()


def types_of(signature: str) -> list[str]:
    """Split the types between a signature's outer parentheses at their outer commas."""
    parts, depth = [""], 0
    for letter in signature[signature.index("(") + 1 : -1]:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]


def word(value: int) -> bytes:
    """Return a uint256; OverflowError outside 0..2^256-1."""
    return value.to_bytes(WORD, "big")


def address_word(address: str) -> bytes:
    """Return an address (0x and 40 hex digits) as a word."""
    return bytes(12) + bytes.fromhex(address[2:])


def padded(data: bytes) -> bytes:
    """Return a dynamic byte string: its length, then itself filled up to whole words."""
    return word(len(data)) + data + bytes(-len(data) % WORD)


def addresses(items: Iterable[str]) -> bytes:
    """Return a dynamic array of addresses: its length, then a word each."""
    words = [address_word(item) for item in items]
    return word(len(words)) + b"".join(words)


def words(data: bytes) -> list[int]:
    """Read a byte string as whole words, ignoring what is left over."""
    return [int.from_bytes(data[n : n + WORD], "big") for n in range(0, len(data) - 31, WORD)]


def checksummed(address: str) -> str:
    """Write an address in mixed case (ERC-55)."""
    digits = address[2:].lower()
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(
        letter.upper() if int(mark, 16) > 7 else letter
        for letter, mark in zip(digits, marks, strict=False)
    )
