"""What a node's reply to eth_sendRawTransaction means. One total function; unknown stays unknown.

Accepted: the node holds the transaction. Rejected: this node, by this reply, does not hold it.
Indeterminate: anything else; only the chain can say (P6). Texts are matched whole, each by at
most one pattern, so the order of the patterns cannot matter.

Texts: go-ethereum core/error.go and core/txpool, Nitro (go-ethereum's with the numbers appended),
Erigon txpoolcfg, Nethermind TxPoolErrorMessages and AcceptTxResult, Besu RpcErrorType, Reth
rpc-eth-types, anvil 1.7.1 as it answers; all in tests/data/send_replies.json.
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
    POOL_FULL = "pool_full"  # no room now, for anybody or for this account
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

_BEFORE: Final = r"(?:internal_error: )?"
_AFTER: Final = r"(?:(?:[:,;]| --| \() ?.*)?"
"""What clients put around their words: a kind before, the numbers after."""


def _words(*texts: str) -> re.Pattern[str]:
    """Compile texts, each a whole reply but for the numbers a client may append."""
    return re.compile(f"{_BEFORE}(?:{'|'.join(texts)}){_AFTER}", re.IGNORECASE)


KNOWN: Final = _words(
    r"already ?known",
    r"existing txn? with same hash",
    r"known transaction",
    r"transaction already imported",
)
PATTERNS: Final[Mapping[Refusal, re.Pattern[str]]] = {
    Refusal.NONCE_TOO_LOW: _words(r"nonce too low", r"oldnonce"),
    Refusal.NONCE_TOO_HIGH: _words(
        r"nonce too high",
        r"noncegap",
        r"nonce ?too ?far ?in(?: the)? ?future",
        r"nonce out of range",
        r"transaction nonce is too distant from current sender nonce",
        r"an invalid transaction with a lower nonce exists",
        r"gapped-nonce tx from delegated accounts",
    ),
    Refusal.UNDERPRICED: _words(
        r"transaction underpriced",
        r"underpriced",
        r"fee ?too ?low(?:tocompete)?",
        r"(?:max fee per gas|fee cap) less than (?:block )?base fee",
        r"transaction gas price below minimum",
        r"transaction priority fee below minimum required priority fee \d+",
        r"gas price below (?:configured minimum gas price|current base fee)",
    ),
    Refusal.REPLACEMENT_UNDERPRICED: _words(
        r"replacement transaction underpriced",
        r"could not replace existing tx",
        r"replacementnotallowed",
        r"future transaction tries to replace pending",
    ),
    Refusal.INSUFFICIENT_FUNDS: _words(
        r"insufficient ?funds(?: for (?:gas \* price \+ value|transfer))?",
        r"upfront cost exceeds account balance",
    ),
    Refusal.FEE_ABOVE_CAP: _words(
        r"tx fee \(.*\) exceeds the configured cap \(.*\)", r"transaction fee cap exceeded"
    ),
    Refusal.GAS_LIMIT: _words(
        r"intrinsic gas too (?:low|high)",
        r"intrinsicgas",
        r"intrinsic gas exceeds gas limit",
        r"insufficient gas for floor data gas cost",
        r"exceeds (?:block|max transaction) gas limit",
        r"transaction gas limit exceeds block gas limit",
        r"(?:transaction )?gas limit (?:is )?too high",
        r"gas limit reached",
        r"gaslimitexceeded",
    ),
    Refusal.POOL_FULL: _words(
        r"txpool is full",
        r"(?:pending|basefee|queued) sub-pool is full",
        r"account limit exceeded",
        r"in-flight transaction limit reached for delegated accounts",
        r"(?:address|authority) already reserved",
        r"pending transaction type conflict",
        r"pendingtxsofconflictingtype",
    ),
    Refusal.MALFORMED: _words(
        r"invalid sender",
        r"invalid signature",
        r"invalid transaction v, r, s values",
        r"failed ?to ?(?:recover|resolve) ?sender",
        r"sender (?:is )?not an eoa",
        r"(?:invalid|wrong) chain ?id(?: for signer)?",
        r"chainid (?:is required|not supported)",
        r"only replay-protected \(eip-155\) transactions allowed over rpc",
        r"max priority fee per gas (?:higher than|exceeds) max fee per gas",
        r"max (?:priority )?fee per gas higher than 2\^256-1",
        r"gas uint64 overflow",
        r"gasuintoverflow",
        r"transaction cost overflow",
        r"nonce has max value",
        r"negative value",
        r"oversized data",
        r"transaction too large",
        r"rlptoolong",
        r"rlp",
        r"typed transaction too short",
        r"(?:max initcode size exceeded|initcode too large)",
        r"transaction type not supported",
        r"unsupported transaction type",
        r"fork supporting this transaction type is not activated yet",
        r"transaction invalid",
        r"invalid",
    ),
}
"""Which refusal each client's words are. No text fits two of them, so their order is no matter."""

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
