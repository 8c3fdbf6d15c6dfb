"""Keys in AWS KMS (ECC_SECG_P256K1): the key never leaves it; digests go there, signatures come.

KMS answers in DER: a SubjectPublicKeyInfo (RFC 5280) for the public key and an Ecdsa-Sig-Value
(RFC 3279) without parity for a signature, with s anywhere below the order. Chains want s in the
lower half (EIP-2) and the parity, which is found by recovering the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Protocol

from coincurve import PublicKey
from eth_hash.auto import keccak

from sep_ray.adapters.evm.signer import ORDER, signed_by
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import Unsigned
from sep_ray.kernel.errors import Rejected, Transient

ALGORITHM: Final = "ECDSA_SHA_256"
"""What KMS calls signing 32 bytes as they are with MessageType DIGEST."""
POINT: Final = 64
_SPKI: Final = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a03420004")
"""All of a secp256k1 SubjectPublicKeyInfo before the point's two coordinates."""


class KmsClient(Protocol):
    """The two calls of boto3's KMS client that are used; blocking."""

    def get_public_key(self, *, KeyId: str) -> Mapping[str, Any]:
        """Return PublicKey in DER."""

    def sign(
        self,
        *,
        KeyId: str,
        Message: bytes,
        MessageType: str,
        SigningAlgorithm: str,
    ) -> Mapping[str, Any]:
        """Return Signature in DER."""


class KmsSigner:
    """Signs by asking KMS. Answers execution's port Signer; build it with `open`."""

    def __init__(self, client: KmsClient, key_id: str, point: bytes) -> None:
        self._client = client
        self._key_id = key_id
        self._point = point
        self.address = "0x" + keccak(point)[-20:].hex()

    @classmethod
    def open(cls, client: KmsClient, key_id: str) -> KmsSigner:
        """Read the public key. Raises Rejected when it is not one of secp256k1."""
        try:
            answer = client.get_public_key(KeyId=key_id)
        except Exception as error:  # noqa: BLE001 - the library's errors are made at run time
            raise _failed("the public key cannot be read", error) from None
        der = bytes(answer["PublicKey"])
        if len(der) != len(_SPKI) + POINT or not der.startswith(_SPKI):
            raise Rejected("not a key of secp256k1 (ECC_SECG_P256K1)", key_id=key_id)
        return cls(client, key_id, der[len(_SPKI) :])

    def __repr__(self) -> str:
        return f"KmsSigner({self.address})"

    async def sign(self, batch: Sequence[Unsigned]) -> tuple[Signed, ...]:
        """Sign type-2 transactions, in order, several at once. Transient when KMS does not."""
        return tuple(await asyncio.gather(*(asyncio.to_thread(self._sign, tx) for tx in batch)))

    def sign_digest(self, digest: bytes) -> tuple[int, int, int]:
        """Sign 32 bytes; return parity, r and s (s in the lower half)."""
        try:
            answer = self._client.sign(
                KeyId=self._key_id,
                Message=digest,
                MessageType="DIGEST",
                SigningAlgorithm=ALGORITHM,
            )
        except Exception as error:  # noqa: BLE001 - the library's errors are made at run time
            raise _failed("KMS does not sign", error) from None
        r, s = read_signature(bytes(answer["Signature"]))
        s = min(s, ORDER - s)
        compact = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        for parity in (0, 1):
            if self._recovers(compact + bytes([parity]), digest):
                return parity, r, s
        raise Transient("KMS signed with another key", address=self.address)

    def _sign(self, tx: Unsigned) -> Signed:
        return signed_by(tx, self.sign_digest)

    def _recovers(self, signature: bytes, digest: bytes) -> bool:
        try:
            found = PublicKey.from_signature_and_message(signature, digest, hasher=None)
        except ValueError:
            return False
        return found.format(compressed=False)[1:] == self._point


def read_signature(der: bytes) -> tuple[int, int]:
    """Return r and s of a DER Ecdsa-Sig-Value; Rejected when it is not one."""
    try:
        if der[0] != 0x30 or der[1] != len(der) - 2:
            raise ValueError("not a sequence")
        r, rest = _integer(der[2:])
        s, rest = _integer(rest)
    except (IndexError, ValueError):
        raise Rejected("not a DER signature", length=len(der)) from None
    if rest or not 0 < r < ORDER or not 0 < s < ORDER:
        raise Rejected("not a signature of secp256k1", length=len(der))
    return r, s


def aws_client(region: str | None) -> KmsClient:
    """Return boto3's client, with credentials found its usual way.

    Raises Rejected when the extra `aws` is not installed.
    """
    try:
        boto3 = import_module("boto3")
    except ImportError:
        raise Rejected("KMS needs the extra: pip install 'sep-ray[aws]'") from None
    client: KmsClient = boto3.client("kms", region_name=region)
    return client


def _integer(data: bytes) -> tuple[int, bytes]:
    if data[0] != 0x02 or not 0 < data[1] <= len(data) - 2:
        raise ValueError("not an integer")
    end = 2 + data[1]
    return int.from_bytes(data[2:end], "big", signed=True), data[end:]


def _failed(what: str, error: Exception) -> Transient:
    """Name the kind of error only: its text may hold what should not be logged."""
    return Transient(what, why=type(error).__name__)
