"""Hyperlane's validator, who signs what was dispatched, and its relayer, who delivers it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coincurve import PrivateKey
from eth_utils.crypto import keccak

from sep_ray.adapters.bridges.addresses import HYPERLANE
from sep_ray.adapters.bridges.hyperlane import DISPATCH, INSERTED
from sep_ray.adapters.evm.abi import address_word
from sep_ray.devnet.bridges.accounts import CARRIER, VALIDATOR, secret
from sep_ray.devnet.bridges.local import LocalChain
from sep_ray.kernel.units import ChainId


@dataclass(slots=True)
class CarrierKnobs:
    """How both behave; may be turned while they work.

    `signs_after_s`, `delivers_after_s` count from the dispatch; the flags stop one of the two.
    """

    signs: bool = True
    signs_after_s: int = 1
    delivers: bool = True
    delivers_after_s: int = 2


@dataclass(frozen=True, slots=True)
class _Message:
    id: bytes
    bytes_: bytes
    leaf: int
    destination: ChainId
    age_s: int


class Carrier:
    """Signs and delivers between the local chains."""

    def __init__(
        self, chains: Mapping[ChainId, LocalChain], knobs: CarrierKnobs | None = None
    ) -> None:
        self.knobs = knobs or CarrierKnobs()
        self._chains = chains
        self._key = PrivateKey(secret(VALIDATOR))

    def step(self) -> None:
        """Deliver what is signed and due. A delivery that would fail is tried again later."""
        if not (self.knobs.signs and self.knobs.delivers):
            return
        due = max(self.knobs.signs_after_s, self.knobs.delivers_after_s)
        for origin in self._chains.values():
            for message in self._messages(origin):
                target = self._chains.get(message.destination)
                if target is not None and message.age_s >= due:
                    self._deliver(origin, target, message)

    def checkpoint(self, origin: ChainId, leaf: int) -> dict[str, Any] | None:
        """Return the signed checkpoint of one dispatched message, None while it is unsigned."""
        chain = self._chains.get(origin)
        if chain is None or not self.knobs.signs:
            return None
        for message in self._messages(chain):
            if message.leaf == leaf and message.age_s >= self.knobs.signs_after_s:
                root, signature = self._sign(chain, message)
                return {
                    "root": "0x" + root.hex(),
                    "index": leaf,
                    "message_id": "0x" + message.id.hex(),
                    "signatures": ["0x" + signature.hex()],
                }
        return None

    def _messages(self, origin: LocalChain) -> Iterator[_Message]:
        book, now = HYPERLANE[origin.chain_id], origin.now()
        leaves = {}
        for log in origin.logs(book.merkle_hook, [INSERTED.topic]):
            message_id, leaf = log.values(INSERTED.data)
            leaves[message_id] = leaf
        for log in origin.logs(book.mailbox, [DISPATCH.topic]):
            (message,) = log.values(DISPATCH.data)
            age = now - origin.time_of(log.block_number)
            message_id = bytes(keccak(message))
            destination = ChainId(int(log.topics[2], 16))
            yield _Message(message_id, message, leaves.get(message_id, 0), destination, age)

    def _deliver(self, origin: LocalChain, target: LocalChain, message: _Message) -> None:
        mailbox = HYPERLANE[target.chain_id].mailbox
        if target.rpc.read(mailbox, "delivered(bytes32)", message.id, returns="(bool)"):
            return
        root, signature = self._sign(origin, message)
        hook = address_word(HYPERLANE[origin.chain_id].merkle_hook)
        metadata = hook + root + message.leaf.to_bytes(4, "big") + signature
        target.act(CARRIER, mailbox, "process(bytes,bytes)", metadata, message.bytes_)

    def _sign(self, origin: LocalChain, message: _Message) -> tuple[bytes, bytes]:
        """Sign the checkpoint as a validator does: EIP-191 over domain, root, index and id."""
        hook = HYPERLANE[origin.chain_id].merkle_hook
        root: bytes = origin.rpc.read(hook, "root()", returns="(bytes32)")
        domain = keccak(origin.chain_id.to_bytes(4, "big") + address_word(hook) + b"HYPERLANE")
        digest = keccak(domain + root + message.leaf.to_bytes(4, "big") + message.id)
        signed = keccak(b"\x19Ethereum Signed Message:\n32" + digest)
        found = self._key.sign_recoverable(signed, hasher=None)
        return root, found[:64] + bytes([found[64] + 27])
