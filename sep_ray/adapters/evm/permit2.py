"""Permit2's typed data: the digests an owner signs (EIP-712; permit2 PermitHash.sol)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from sep_ray.adapters.evm.abi import address_word, word

_DOMAIN: Final = keccak(b"EIP712Domain(string name,uint256 chainId,address verifyingContract)")
_NAME: Final = keccak(b"Permit2")
_DETAILS_TYPE: Final = b"PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)"
_DETAILS: Final = keccak(_DETAILS_TYPE)
_SINGLE: Final = keccak(
    b"PermitSingle(PermitDetails details,address spender,uint256 sigDeadline)" + _DETAILS_TYPE
)
_PERMISSIONS_TYPE: Final = b"TokenPermissions(address token,uint256 amount)"
_PERMISSIONS: Final = keccak(_PERMISSIONS_TYPE)
_TRANSFER: Final = keccak(
    b"PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,"
    b"uint256 deadline)" + _PERMISSIONS_TYPE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitSingle:
    """An allowance: `amount` of `token` for `spender` until `expiration` (Unix seconds)."""

    token: str
    amount: int
    expiration: int
    nonce: int
    spender: str
    sig_deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitTransferFrom:
    """One transfer of at most `amount` of `token` by `spender` before `deadline`."""

    token: str
    amount: int
    spender: str
    nonce: int
    deadline: int


def digest(permit: PermitSingle | PermitTransferFrom, chain_id: int, contract: str) -> bytes:
    """Return the 32 bytes to sign: keccak256(0x1901, domain, struct)."""
    domain = keccak(_DOMAIN + _NAME + word(chain_id) + address_word(contract))
    return keccak(b"\x19\x01" + domain + _struct(permit))


def _struct(permit: PermitSingle | PermitTransferFrom) -> bytes:
    token, amount = address_word(permit.token), word(permit.amount)
    spender = address_word(permit.spender)
    if isinstance(permit, PermitSingle):
        limits = word(permit.expiration) + word(permit.nonce)
        details = keccak(_DETAILS + token + amount + limits)
        return keccak(_SINGLE + details + spender + word(permit.sig_deadline))
    permitted = keccak(_PERMISSIONS + token + amount)
    ends = word(permit.nonce) + word(permit.deadline)
    return keccak(_TRANSFER + permitted + spender + ends)
