"""What adapters read of a chain: logs with their places, receipts, calls, heads. Nothing is kept.

An answer that contradicts another (a state without its log, a receipt that is gone) is Transient:
the chain is being reorganised or nodes disagree, and asking again settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from sep_ray.adapters.evm.abi import event_topic, selector, types_of
from sep_ray.adapters.evm.chain import TRANSFER
from sep_ray.adapters.evm.rpc import Node, RpcRefused
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import ChainId
from sep_ray.settlement.transfer import Proof

LOG_SPAN: Final = 10_000
"""Blocks asked for in one eth_getLogs: what public nodes allow."""
MOST_SPANS: Final = 200
"""Spans searched for one log; a search that needs more starts nearer the end."""
ZERO: Final = "0x" + 40 * "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One event's log and where it stands."""

    address: str
    topics: tuple[str, ...]
    data: bytes
    block_number: int
    block_hash: str
    tx_hash: str
    index: int

    def proof(self, chain_id: ChainId) -> Proof:
        """The log as evidence."""
        return Proof(
            chain_id=chain_id,
            block_number=self.block_number,
            block_hash=self.block_hash,
            tx_hash=self.tx_hash,
            log_index=self.index,
        )

    def values(self, types: Sequence[str]) -> tuple[Any, ...]:
        """Decode the data; Transient if it is not of these types."""
        return decoded(types, self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What an event's logs look like: its first topic, and the types in its data."""

    signature: str
    data: tuple[str, ...]

    @property
    def topic(self) -> str:
        return event_topic(self.signature)

    def found_in(self, logs: Iterable[Log], address: str) -> list[Log]:
        """The logs of this event that the contract at `address` wrote."""
        return [log for log in logs if log.topics[:1] == (self.topic,) and log.address == address]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block's number, hash and time in seconds, and its base fee."""

    number: int
    hash: str
    timestamp: int
    base_fee_wei: int


def decoded(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Decode ABI data; Transient if the answer is no such data (nobody is there, or not yet)."""
    try:
        return tuple(decode(list(types), data))
    except (DecodingError, OverflowError) as error:
        raise Transient("the contract's answer makes no sense", why=repr(error)) from None


def calldata(signature: str, *arguments: Any) -> str:
    """Encode a call; the types are read from the signature, arguments may be nested tuples."""
    return "0x" + (selector(signature) + encode(types_of(signature), arguments)).hex()


def unpadded(value: bytes) -> str:
    """The address in the last 20 of 32 bytes."""
    return "0x" + value[-20:].hex()


def topic(value: int | str) -> str:
    """An indexed number, address or hash as a topic."""
    number = value if isinstance(value, int) else int(value, 16)
    return f"0x{number:064x}"


def parse_log(raw: Mapping[str, Any]) -> Log:
    """Read a log as nodes write it; Transient when it makes no sense."""
    try:
        return Log(
            address=raw["address"].lower(),
            topics=tuple(each.lower() for each in raw["topics"]),
            data=bytes.fromhex(raw["data"][2:]),
            block_number=int(raw["blockNumber"], 16),
            block_hash=raw["blockHash"].lower(),
            tx_hash=raw["transactionHash"].lower(),
            index=int(raw["logIndex"], 16),
        )
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise Transient("the node's log makes no sense", why=repr(error)) from None


class Reader:
    """Reads one chain through one node."""

    def __init__(self, chain_id: ChainId, node: Node) -> None:
        self.chain_id = chain_id
        self._node = node

    async def block(self, which: str = "latest") -> Block:
        """Return a block by tag or 0x-number."""
        raw = await self._node.request("eth_getBlockByNumber", [which, False])
        return _block(raw)

    async def block_by_hash(self, block_hash: str) -> Block:
        """Return a block by hash; Transient if the node does not know it."""
        return _block(await self._node.request("eth_getBlockByHash", [block_hash, False]))

    async def call(
        self, to: str, signature: str, *arguments: Any, returns: str, at: str = "latest"
    ) -> Any:
        """Call a view; one value alone, several as a tuple. RpcRefused if it reverts."""
        call = {"to": to, "data": calldata(signature, *arguments)}
        answer = await self._node.request("eth_call", [call, at])
        values = decoded(types_of(returns), bytes.fromhex(answer[2:]))
        return values[0] if len(values) == 1 else values

    async def code(self, address: str) -> bytes:
        """Return an account's code; empty for an ordinary account."""
        answer = await self._node.request("eth_getCode", [address, "latest"])
        return bytes.fromhex(answer[2:])

    async def reverts(self, to: str, signature: str, *arguments: Any) -> str | None:
        """Return why a call would fail now, None if it would not."""
        call = {"to": to, "data": calldata(signature, *arguments)}
        try:
            await self._node.request("eth_call", [call, "latest"])
        except RpcRefused as refused:
            return str(refused.facts.get("text") or refused.facts.get("data"))
        return None

    async def receipt_logs(self, tx_hash: str) -> tuple[Log, ...]:
        """Return the logs of a mined transaction; Transient where there is no receipt."""
        raw = await self._node.request("eth_getTransactionReceipt", [tx_hash])
        if not raw:
            raise Transient("the transaction is not in the chain now", tx_hash=tx_hash)
        return tuple(parse_log(each) for each in raw["logs"])

    async def logs(
        self, address: str, topics: Sequence[str | None], first: int, last: int
    ) -> list[Log]:
        """Return a contract's logs in blocks first..last; of too many blocks, the newest."""
        spans = range(first, last + 1, LOG_SPAN)[-MOST_SPANS:]
        asked = {"address": address, "topics": list(topics)}
        calls: list[tuple[str, Sequence[Any]]] = [
            (
                "eth_getLogs",
                [
                    {
                        **asked,
                        "fromBlock": hex(start),
                        "toBlock": hex(min(start + LOG_SPAN - 1, last)),
                    }
                ],
            )
            for start in spans
        ]
        answers = await self._node.batch(calls) if calls else []
        return [parse_log(raw) for logs in answers for raw in logs]


def paid_to(
    logs: Iterable[Log], token: str, recipient: str, *, before: int | None = None, after: int = -1
) -> Log | None:
    """Return the Transfer of a token to the recipient that belongs to a log of the transaction.

    That is the last one before the log's index, or else the first one after it.
    """
    paid = [
        log
        for log in logs
        if log.address == token
        and len(log.topics) == 3
        and log.topics[0] == TRANSFER
        and log.topics[2] == topic(recipient)
        and log.index > after
        and (before is None or log.index < before)
    ]
    if not paid:
        return None
    return paid[0] if before is None else paid[-1]


def _block(raw: Any) -> Block:
    try:
        return Block(
            number=int(raw["number"], 16),
            hash=raw["hash"].lower(),
            timestamp=int(raw["timestamp"], 16),
            base_fee_wei=int(raw.get("baseFeePerGas", "0x0"), 16),
        )
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise Transient("the node's block makes no sense", why=repr(error)) from None
