"""Many reads in one eth_call: Multicall3.aggregate3, each read free to fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sep_ray.adapters.evm.abi import WORD, address_word, padded, selector, word
from sep_ray.kernel.errors import Transient

MULTICALL3: Final = "0xca11bde05977b3631167028862be2a173976ca11"
_SIGNATURE: Final = "aggregate3((address,bool,bytes)[])"

Read = tuple[str, bytes]
"""A contract's address and the calldata for it."""


def aggregate(reads: Sequence[Read], multicall: str = MULTICALL3) -> dict[str, str]:
    """Return the call object of eth_call for these reads."""
    heads, tails = [], []
    place = len(reads) * WORD
    for target, data in reads:
        tail = address_word(target) + word(1) + word(3 * WORD) + padded(data)
        heads.append(word(place))
        tails.append(tail)
        place += len(tail)
    body = word(WORD) + word(len(reads)) + b"".join(heads) + b"".join(tails)
    return {"to": multicall, "data": "0x" + (selector(_SIGNATURE) + body).hex()}


def results(answer: str, count: int) -> list[bytes | None]:
    """Return what each of `count` reads returned, None for one that failed.

    Raises Transient when the answer is not one: Multicall3 is not there, or not at that block.
    """
    data = bytes.fromhex(answer[2:])
    start = 2 * WORD
    if len(data) < start + count * WORD or _int(data, WORD) != count:
        raise Transient("no results in the node's answer", answer=answer[:100])
    return [_result(data, start + _int(data, start + n * WORD)) for n in range(count)]


def _result(data: bytes, place: int) -> bytes | None:
    if not _int(data, place):
        return None
    size = _int(data, place + 2 * WORD)
    return data[place + 3 * WORD : place + 3 * WORD + size]


def _int(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + WORD], "big")
