"""Why a call failed, in words, from the bytes it returned."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sep_ray.adapters.evm.abi import WORD, selector, words

_ERROR: Final = selector("Error(string)")
_PANIC: Final = selector("Panic(uint256)")

MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "STF": "the token refused the transfer (allowance or balance)",
        "TF": "the pool could not pay out",
        "SPL": "price limit on the wrong side",
        "AS": "amount is zero",
        "IIA": "the pool was not paid",
        "LOK": "the pool is locked",
        "TransferHelper: TRANSFER_FROM_FAILED": "the token refused the transfer",
        "TransferHelper::transferFrom: transferFrom failed": "the token refused the transfer",
        "Too little received": "the price moved past the limit",
        "Too much requested": "the price moved past the limit",
        "Transaction too old": "the deadline passed",
        "UniswapV2Router: EXPIRED": "the deadline passed",
        "UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT": "the price moved past the limit",
        "UniswapV2Router: EXCESSIVE_INPUT_AMOUNT": "the price moved past the limit",
        "UniswapV2: K": "the pool was paid too little",
        "Insufficient token": "the price moved past the limit",
    }
)
"""What the short texts of routers and pools mean."""

PANICS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x01: "assertion failed",
        0x11: "arithmetic overflow",
        0x12: "division by zero",
        0x21: "invalid enum value",
        0x31: "pop from an empty array",
        0x32: "index out of bounds",
        0x41: "out of memory",
        0x51: "call of an uninitialised function",
    }
)

_CUSTOM: Final[Mapping[bytes, str]] = {
    selector(signature): signature
    for signature in (
        "ERC20InsufficientBalance(address,uint256,uint256)",
        "ERC20InsufficientAllowance(address,uint256,uint256)",
        "SafeERC20FailedOperation(address)",
        "AllowanceExpired(uint256)",
        "InsufficientAllowance(uint256)",
        "ExcessiveInvalidation()",
        "InvalidAmount(uint256)",
        "InvalidNonce()",
        "InvalidSigner()",
        "InvalidSignature()",
        "SignatureExpired(uint256)",
        "TransactionDeadlinePassed()",
        "V2TooLittleReceived()",
        "V2TooMuchRequested()",
        "V3TooLittleReceived()",
        "V3TooMuchRequested()",
        "V4TooLittleReceived(uint256,uint256)",
        "V4TooMuchRequested(uint256,uint256)",
        "InsufficientToken()",
        "PoolNotInitialized()",
        "T()",
        "R()",
    )
}
_COMMAND_FAILED: Final = selector("ExecutionFailed(uint256,bytes)")
_MOST_TEXT: Final = 300


def explained(data: bytes) -> str:
    """Return the reason in a failed call's return data: Error, Panic, a custom error, or none.

    The Universal Router wraps the reason and names the command that failed. Never raises: bytes
    that fit nothing are shown as hex. Texts are cut at 300 characters.
    """
    if not data:
        return "reverted without a reason"
    head, body = data[:4], data[4:]
    if head == _ERROR and (text := _text(body)) is not None:
        return f"{text}: {MEANINGS[text]}" if text in MEANINGS else text
    if head == _PANIC and len(body) >= WORD:
        code = words(body)[0]
        return f"panic 0x{code:02x}: {PANICS.get(code, 'unknown')}"
    if head == _COMMAND_FAILED and len(body) >= 3 * WORD:
        number, _, size = words(body)[:3]
        inner = body[3 * WORD : 3 * WORD + size]
        return f"command {number}: {explained(inner)[:_MOST_TEXT]}"
    if head in _CUSTOM:
        return _custom(_CUSTOM[head], body)
    return f"custom error 0x{data[:100].hex()}"


def _text(body: bytes) -> str | None:
    """Read an ABI string; None when the bytes are not one."""
    if len(body) < 2 * WORD:
        return None
    offset = words(body)[0]
    if offset + WORD > len(body):
        return None
    length = int.from_bytes(body[offset : offset + WORD], "big")
    raw = body[offset + WORD : offset + WORD + min(length, _MOST_TEXT)]
    return raw.decode("utf-8", "replace")


def _custom(signature: str, body: bytes) -> str:
    name, types = signature[:-1].split("(")
    shown = [
        f"0x{value:040x}" if kind == "address" else str(value)
        for kind, value in zip(types.split(","), words(body), strict=False)
        if kind
    ]
    return f"{name}({', '.join(shown)})"
