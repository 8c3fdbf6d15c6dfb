"""Keys in this process: signing, encrypted key files, and the key of a local chain.

A key leaves its object only into an encrypted file. It is in no repr, log or error.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from coincurve import PrivateKey
from eth_hash.auto import keccak

from sep_ray.adapters.evm import transactions
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import Unsigned
from sep_ray.kernel.errors import Rejected

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The number of points of secp256k1: keys lie in 1..ORDER-1."""


class LocalSigner:
    """Signs with a key held in memory. Answers execution's port Signer."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < ORDER:
            raise Rejected("not a private key: 32 bytes below the curve's order are needed")
        self._key = PrivateKey(secret)
        point = self._key.public_key.format(compressed=False)[1:]
        self.address = "0x" + keccak(point)[-20:].hex()

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    def __reduce__(self) -> Any:
        raise Rejected("a signer does not travel", address=self.address)

    async def sign(self, batch: Sequence[Unsigned]) -> tuple[Signed, ...]:
        """Sign type-2 transactions, in order (RFC 6979: the same bytes for the same fields)."""
        return tuple(signed_by(each, self.sign_digest) for each in batch)

    def sign_digest(self, digest: bytes) -> tuple[int, int, int]:
        """Sign 32 bytes; return parity, r and s (s in the lower half, EIP-2)."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        return signature[64], r, s


def signed_by(tx: Unsigned, sign_digest: Callable[[bytes], tuple[int, int, int]]) -> Signed:
    """Return a type-2 transaction signed by whoever signs its digest: parity, r and s."""
    fields = transactions.body(
        chain_id=tx.chain_id,
        nonce=tx.nonce,
        tip_wei=tx.tip_wei,
        max_fee_wei=tx.max_fee_wei,
        gas_limit=tx.gas_limit,
        to=tx.call.to,
        value_wei=tx.call.value_wei,
        data=tx.call.data,
    )
    parity, r, s = sign_digest(keccak(transactions.unsigned(fields)))
    raw = transactions.signed(fields, parity, r, s)
    return Signed(
        raw="0x" + raw.hex(),
        tx_hash="0x" + keccak(raw).hex(),
        max_fee_wei=tx.max_fee_wei,
        tip_wei=tx.tip_wei,
        gas_limit=tx.gas_limit,
    )


def from_hex(text: str) -> LocalSigner:
    """Return the signer of a key in hex, as an environment holds it.

    Raises Rejected, saying nothing of the key, when it is not one.
    """
    try:
        return LocalSigner(bytes.fromhex(text.strip().removeprefix("0x")))
    except ValueError:
        raise Rejected("not a private key in hex") from None


def from_keystore(path: Path, password: str) -> LocalSigner:
    """Open an encrypted key file (Web3 Secret Storage, version 3).

    Raises Rejected, naming the file only, when it cannot be read or the password is wrong.
    """
    from eth_account import Account  # takes most of a second to import, and only here

    try:
        return LocalSigner(bytes(Account.decrypt(path.read_text(), password)))
    # All that the library raises for a file that is none, of another version or for a wrong word.
    except (OSError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError):
        raise Rejected("key file cannot be opened", file=path.name) from None


def to_keystore(secret: bytes, path: Path, password: str, iterations: int | None = None) -> None:
    """Write an encrypted key file, readable by its owner only; an existing file is kept."""
    from eth_account import Account

    _write_once(path, json.dumps(Account.encrypt(secret, password, iterations=iterations)))


def devnet_secret(folder: Path, name: str = "executor") -> bytes:
    """Return the key of a local chain's account, made at first use and kept in `folder`.

    For local chains only: the file is not encrypted, merely readable by its owner alone.
    """
    path = folder / f"{name}.key"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path, (secrets.randbelow(ORDER - 1) + 1).to_bytes(32, "big").hex())
    try:
        return bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError):
        raise Rejected("key file cannot be read", file=path.name) from None


def _write_once(path: Path, text: str) -> None:
    """Write a whole file or none: of two writers one wins, and both read the same afterwards."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
