"""What a node's reply to eth_sendRawTransaction means. One total function; unknown stays unknown.

Accepted: the node holds the transaction. Rejected: this node, by this reply, does not hold it.
Indeterminate: anything else; only the chain can say (P6). Texts are matched whole, each by at
most one pattern, so the order of the patterns cannot matter.

Texts: go-ethereum core/error.go and core/txpool/errors.go, Nitro (go-ethereum's with the numbers
appended), Erigon txpoolcfg, Nethermind TxPoolErrorMessages and AcceptTxResult, Besu RpcErrorType,
anvil 1.7.1 as it answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Refusal(StrEnum):
    """Why a node does not hold a transaction."""

    NONCE_TOO_LOW = "nonce_too_low"  # the nonce is used: by this transaction or by another
    NONCE_TOO_HIGH = "nonce_too_high"
    UNDERPRICED = "underpriced"  # below the base fee or the node's own minimum
    REPLACEMENT_UNDERPRICED = "replacement_underpriced"  # another holds the nonce in the pool
    INSUFFICIENT_FUNDS = "insufficient_funds"
    FEE_ABOVE_CAP = "fee_above_cap"  # the node's own cap on what a transaction may pay
    GAS_LIMIT = "gas_limit"  # less than the transaction needs at least, or more than a block holds
    POOL_FULL = "pool_full"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The node holds the transaction; `known` when it had it before."""

    known: bool = False

    def __str__(self) -> str:
        return "already known" if self.known else "accepted"


@dataclass(frozen=True, slots=True)
class Rejected:
    """The node does not hold the transaction."""

    reason: Refusal
    text: str

    def __str__(self) -> str:
        return f"rejected ({self.reason}): {self.text}"


@dataclass(frozen=True, slots=True)
class Indeterminate:
    """The node may or may not hold the transaction."""

    text: str

    def __str__(self) -> str:
        return f"unknown: {self.text}"


Verdict = Accepted | Rejected | Indeterminate


@dataclass(frozen=True, slots=True)
class Answered:
    """The node returned a result."""

    result: object


@dataclass(frozen=True, slots=True)
class Refused:
    """The node returned a JSON-RPC error."""

    code: object
    message: object


@dataclass(frozen=True, slots=True)
class Lost:
    """No reply that can be read: timeout, broken connection, an HTTP status, bad JSON.

    `reached` is False only when nothing can have arrived: no connection was had.
    """

    text: str
    reached: bool = True


Reply = Answered | Refused | Lost

_MALFORMED_CODES: Final = frozenset({-32700, -32600, -32601, -32602})
_SERVER_CODES: Final = range(-32_099, -31_999)

KNOWN: Final = re.compile(
    r"(?:internal_error: )?(?:already ?known|existing tx with same hash|known transaction.*"
    r"|transaction already imported)",
    re.I,
)
PATTERNS: Final[Mapping[Refusal, re.Pattern[str]]] = {
    reason: re.compile(rf"(?:internal_error: )?(?:{text})", re.I)
    for reason, text in {
        Refusal.NONCE_TOO_LOW: r"nonce too low(?:: .*)?|oldnonce(?:, .*)?",
        Refusal.NONCE_TOO_HIGH: (
            r"nonce too high(?:: .*)?|noncegap(?:, .*)?|noncetoofarinfuture(?:, .*)?"
            r"|transaction nonce is too distant from current sender nonce"
            r"|nonce too far in the future|nonce out of range"
        ),
        Refusal.UNDERPRICED: (
            r"transaction underpriced(?:: .*)?|underpriced|fee too low|feetoolow(?:tocompete)?"
            r"(?:, .*)?|max fee per gas less than block base fee(?:: .*)?"
            r"|gas price below configured minimum gas price"
            r"|gas price below current base fee"
        ),
        Refusal.REPLACEMENT_UNDERPRICED: (
            r"replacement transaction underpriced(?:: .*)?|could not replace existing tx"
            r"|replacementnotallowed(?:, .*)?|future transaction tries to replace pending"
        ),
        Refusal.INSUFFICIENT_FUNDS: (
            r"insufficient funds(?: for (?:gas \* price \+ value|transfer))?(?:: .*)?"
            r"|insufficientfunds(?:, .*)?|upfront cost exceeds account balance"
        ),
        Refusal.FEE_ABOVE_CAP: (
            r"tx fee \(.*\) exceeds the configured cap \(.*\)|transaction fee cap exceeded"
        ),
        Refusal.GAS_LIMIT: (
            r"intrinsic gas too (?:low|high)(?:: .*| -- .*)?|intrinsicgas|exceeds block gas limit"
            r"|gas limit reached|gaslimitexceeded(?:, .*)?|intrinsic gas exceeds gas limit"
            r"|transaction gas limit exceeds block gas limit"
        ),
        Refusal.POOL_FULL: (
            r"txpool is full|account limit exceeded(?:: .*)?"
            r"|(?:pending|basefee|queued) sub-pool is full"
        ),
        Refusal.MALFORMED: (
            r"invalid sender|invalid signature|invalid chain id(?: for signer)?(?:: .*)?"
            r"|max priority fee per gas higher than max fee per gas(?:: .*)?"
            r"|oversized data(?:: .*)?"
            r"|transaction type not supported|rlp: .*|negative value"
            r"|failedtoresolvesender(?:, .*)?|invalid(?:, .*)?"
            r"|only replay-protected \(eip-155\) transactions allowed over rpc"
        ),
    }.items()
}


HOPE: Final = (
    Refusal.NONCE_TOO_LOW,
    Refusal.REPLACEMENT_UNDERPRICED,
    Refusal.UNDERPRICED,
    Refusal.POOL_FULL,
    Refusal.NONCE_TOO_HIGH,
    Refusal.INSUFFICIENT_FUNDS,
    Refusal.FEE_ABOVE_CAP,
    Refusal.GAS_LIMIT,
    Refusal.MALFORMED,
)
"""Which refusal speaks for several: what the chain itself says first, then what may pass, last
what sending the same bytes again cannot cure. One node's own rule gives up nothing that another
may take."""


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """Return what several nodes' verdicts on the same bytes mean together; the order is no matter.

    The first in this order speaks for all: Accepted, Accepted as known, Indeterminate (one node may
    hold the bytes), then the refusals in the order of HOPE: rejected only if every node refused.
    Raises ValueError for no verdict at all.
    """
    return min(verdicts, key=_rank)


def _rank(found: Verdict) -> tuple[int, int, str]:
    match found:
        case Accepted(known=known):
            return 0, int(known), ""
        case Indeterminate(text=text):
            return 1, 0, text
        case Rejected(reason=reason, text=text):
            return 2, HOPE.index(reason), text


def judge(reply: Reply, tx_hash: str) -> Verdict:
    """Return what a reply says about the transaction whose hash (0x, lower case) is given.

    Total: every reply has a verdict, and every text not known here is Indeterminate.
    """
    match reply:
        case Answered(result=result):
            if isinstance(result, str) and result.lower() == tx_hash:
                return Accepted()
            return Indeterminate(f"a result that is not the transaction's hash: {result!r:.100}")
        case Refused(code=code, message=message):
            return _refusal(code, str(message).strip())
        case Lost(text=text):
            return Indeterminate(text)


def _refusal(code: object, text: str) -> Verdict:
    if not isinstance(code, int):
        return Indeterminate(f"{code!r:.40}: {text}")
    if code in _MALFORMED_CODES:
        return Rejected(Refusal.MALFORMED, text)
    if code not in _SERVER_CODES:
        return Indeterminate(f"{code}: {text}")
    if KNOWN.fullmatch(text):
        return Accepted(known=True)
    for reason, pattern in PATTERNS.items():
        if pattern.fullmatch(text):
            return Rejected(reason, text)
    return Indeterminate(f"{code}: {text}")
