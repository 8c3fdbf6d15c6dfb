"""Who serves the local bridges. Keys and addresses follow from names, so every build agrees."""

from __future__ import annotations

from typing import Final

from eth_account import Account
from eth_utils.crypto import keccak


def named(name: str) -> str:
    """An address nobody has the key of: the node acts for it."""
    return "0x" + keccak(text=f"sep-ray devnet {name}")[-20:].hex()


def secret(name: str) -> bytes:
    """A key for those whose signatures contracts check."""
    return bytes(keccak(text=f"sep-ray devnet key of {name}"))


def signer(name: str) -> str:
    """The address of `secret(name)`."""
    return str(Account.from_key(secret(name)).address).lower()


RELAYER: Final = named("Across relayer")
RIVAL: Final = named("Across rival relayer")
DATAWORKER: Final = named("Across dataworker")
CARRIER: Final = named("Hyperlane relayer")
SEQUENCER: Final = named("Arbitrum sequencer")
STRANGER: Final = named("somebody who mints for others")
SERVANTS: Final = (RELAYER, RIVAL, DATAWORKER, CARRIER, SEQUENCER, STRANGER)

VALIDATOR: Final = "Hyperlane validator"
ATTESTERS: Final = ("first attester", "second attester")
