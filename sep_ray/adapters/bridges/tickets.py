"""Arbitrum's retryable tickets: their ids, as every node computes them, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from sep_ray.adapters.bridges.reading import Event, Log
from sep_ray.adapters.evm.transactions import rlp_bytes, rlp_int, rlp_list
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
        fields = (
            rlp_int(child_chain),
            rlp_bytes(self.number.to_bytes(32, "big")),
            _address(self.sender),
            rlp_int(self.base_fee_wei),
            rlp_int(self.deposit),
            rlp_int(self.max_fee_wei),
            rlp_int(self.gas_limit),
            _address(self.to) if int(self.to, 16) else rlp_bytes(b""),
            rlp_int(self.call_value),
            _address(self.value_refund),
            rlp_int(self.most_submission_fee),
            _address(self.fee_refund),
            rlp_bytes(self.data),
        )
        return "0x" + keccak(SUBMIT_TYPE + rlp_list(b"".join(fields))).hex()


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


def _address(value: str) -> bytes:
    return rlp_bytes(bytes.fromhex(value[2:]))
