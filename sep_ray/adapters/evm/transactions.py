"""Type-2 transactions as bytes: EIP-1559 over EIP-2718, in RLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from coincurve import PublicKey
from eth_utils.crypto import keccak

from sep_ray.kernel.errors import Rejected

TYPE_2: Final = b"\x02"

AccessList = Sequence[tuple[str, Sequence[str]]]
"""(address, storage keys) pairs, all 0x-hex."""


def rlp_bytes(data: bytes) -> bytes:
    """Encode a byte string."""
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _prefix(0x80, len(data)) + data


def rlp_int(value: int) -> bytes:
    """Encode a non-negative integer: big-endian without leading zeros; zero is empty."""
    return rlp_bytes(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rlp_list(encoded: bytes) -> bytes:
    """Wrap items that are encoded already."""
    return _prefix(0xC0, len(encoded)) + encoded


def _prefix(base: int, length: int) -> bytes:
    if length < 56:
        return bytes((base + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((base + 55 + len(size),)) + size


def body(
    *,
    chain_id: int,
    nonce: int,
    tip_wei: int,
    max_fee_wei: int,
    gas_limit: int,
    to: str | None,
    value_wei: int,
    data: str,
    access_list: AccessList = (),
) -> bytes:
    """Encode the nine signed fields, without the list's own prefix. `to` None creates."""
    return b"".join(
        (
            rlp_int(chain_id),
            rlp_int(nonce),
            rlp_int(tip_wei),
            rlp_int(max_fee_wei),
            rlp_int(gas_limit),
            rlp_bytes(bytes.fromhex(to[2:]) if to else b""),
            rlp_int(value_wei),
            rlp_bytes(bytes.fromhex(data[2:])),
            rlp_list(b"".join(map(_access, access_list))),
        )
    )


def unsigned(fields: bytes) -> bytes:
    """Return the bytes whose keccak256 is signed."""
    return TYPE_2 + rlp_list(fields)


def signed(fields: bytes, parity: int, r: int, s: int) -> bytes:
    """Return the bytes that are sent; their keccak256 is the transaction's hash."""
    return TYPE_2 + rlp_list(fields + rlp_int(parity) + rlp_int(r) + rlp_int(s))


def _access(entry: tuple[str, Sequence[str]]) -> bytes:
    address, keys = entry
    listed = b"".join(rlp_bytes(bytes.fromhex(key[2:])) for key in keys)
    return rlp_list(rlp_bytes(bytes.fromhex(address[2:])) + rlp_list(listed))


def parse(raw: bytes) -> list[bytes | list[Any]]:
    """Return the twelve fields of a signed type-2 transaction as RLP items.

    Raises Rejected for anything else.
    """
    try:
        if raw[:1] != TYPE_2:
            raise ValueError("not type 2")
        item, end = _item(raw, 1)
    except (IndexError, ValueError) as error:
        raise Rejected("not a signed type-2 transaction", why=str(error)) from None
    if end != len(raw) or not isinstance(item, list) or len(item) != 12:
        raise Rejected("not a signed type-2 transaction", why="wrong length")
    return item


def sender(raw: bytes) -> str:
    """Recover who signed a type-2 transaction: keccak256 over the list less its last three fields.

    Raises Rejected for anything else.
    """
    parity, r, s = (_number(field) for field in parse(raw)[9:])
    fields = raw[_span(raw, 1, 0xC0)[0] : -len(rlp_int(parity) + rlp_int(r) + rlp_int(s))]
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((parity,))
    try:
        key = PublicKey.from_signature_and_message(signature, keccak(unsigned(fields)), hasher=None)
    except ValueError as error:
        raise Rejected("the signature is nobody's", why=str(error)) from None
    return "0x" + keccak(key.format(compressed=False)[1:])[-20:].hex()


def _number(field: object) -> int:
    return int.from_bytes(field, "big") if isinstance(field, bytes) else 0


def _item(data: bytes, at: int) -> tuple[Any, int]:
    """Decode the item at a place; return it with the place after it."""
    first = data[at]
    if first < 0x80:
        return data[at : at + 1], at + 1
    start, end = _span(data, at, 0x80 if first < 0xC0 else 0xC0)
    if first < 0xC0:
        return data[start:end], end
    items = []
    while start < end:
        item, start = _item(data, start)
        items.append(item)
    return items, end


def _span(data: bytes, at: int, base: int) -> tuple[int, int]:
    short = data[at] - base
    size = max(short - 55, 0)
    start = at + 1 + size
    length = int.from_bytes(data[at + 1 : start], "big") if size else short
    if start + length > len(data):
        raise ValueError("longer than its bytes")
    return start, start + length
