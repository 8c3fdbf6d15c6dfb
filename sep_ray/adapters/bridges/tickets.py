"""Arbitrum's retryable tickets: their ids, as every node computes them, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from sep_ray.adapters.bridges.reading import Event, Log
from sep_ray.kernel.errors import Transient

DELIVERED: Final = Event(signature="InboxMessageDelivered(uint256,bytes)", data=("bytes",))
BRIDGED: Final = Event(
    signature="MessageDelivered(uint256,bytes32,address,uint8,address,bytes32,uint256,uint64)",
    data=("address", "uint8", "address", "bytes32", "uint256", "uint64"),
)
SUBMISSION: Final = 9
"""The kind of an inbox message that submits a retryable."""
SUBMIT_TYPE: Final = b"\x69"
_WORDS: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A retryable as the inbox took it. Addresses lower case, amounts wei of the child chain.

    `sender` is the aliased address that the call will come from.
    """

    number: int
    sender: str
    base_fee_wei: int
    to: str
    call_value: int
    deposit: int
    most_submission_fee: int
    fee_refund: str
    value_refund: str
    gas_limit: int
    max_fee_wei: int
    data: bytes

    def ticket_id(self, child_chain: int) -> str:
        """Keccak256 of the submission as a transaction of type 0x69 (ArbitrumSubmitRetryableTx)."""
        fields = [
            _number(child_chain),
            self.number.to_bytes(32, "big"),
            _address(self.sender),
            _number(self.base_fee_wei),
            _number(self.deposit),
            _number(self.max_fee_wei),
            _number(self.gas_limit),
            _address(self.to) if int(self.to, 16) else b"",
            _number(self.call_value),
            _address(self.value_refund),
            _number(self.most_submission_fee),
            _address(self.fee_refund),
            self.data,
        ]
        return "0x" + keccak(SUBMIT_TYPE + _rlp_list(fields)).hex()


def submissions(logs: Sequence[Log], inbox: str, bridge: str) -> list[Submission]:
    """Read the retryables that a transaction submitted, out of both contracts' logs."""
    heads = {log.topics[1]: log for log in BRIDGED.found_in(logs, bridge)}
    found = []
    for log in DELIVERED.found_in(logs, inbox):
        head = heads.get(log.topics[1])
        if head is None:
            raise Transient("an inbox message without its head", number=int(log.topics[1], 16))
        _, kind, sender, _, base_fee, _ = head.values(BRIDGED.data)
        if kind == SUBMISSION:
            (packed,) = log.values(DELIVERED.data)
            found.append(_unpacked(int(log.topics[1], 16), sender, base_fee, packed))
    return found


def _unpacked(number: int, sender: str, base_fee: int, packed: bytes) -> Submission:
    words = [int.from_bytes(packed[32 * n : 32 * n + 32], "big") for n in range(_WORDS)]
    to, value, deposit, fee, fee_refund, value_refund, gas, max_fee, length = words
    return Submission(
        number=number,
        sender=sender,
        base_fee_wei=base_fee,
        to=f"0x{to:040x}",
        call_value=value,
        deposit=deposit,
        most_submission_fee=fee,
        fee_refund=f"0x{fee_refund:040x}",
        value_refund=f"0x{value_refund:040x}",
        gas_limit=gas,
        max_fee_wei=max_fee,
        data=packed[32 * _WORDS : 32 * _WORDS + length],
    )


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _address(value: str) -> bytes:
    return bytes.fromhex(value[2:])


def _rlp_list(items: Sequence[bytes]) -> bytes:
    body = b"".join(_rlp(item) for item in items)
    return _length(len(body), 0xC0) + body


def _rlp(item: bytes) -> bytes:
    if len(item) == 1 and item[0] < 0x80:
        return item
    return _length(len(item), 0x80) + item


def _length(size: int, base: int) -> bytes:
    if size < 56:
        return bytes([base + size])
    digits = _number(size)
    return bytes([base + 55 + len(digits)]) + digits
