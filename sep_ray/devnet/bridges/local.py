"""A local chain as those who serve bridges see it: logs, the time, and acting without a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sep_ray.adapters.bridges.reading import Log, parse_log
from sep_ray.adapters.evm.addresses import ChainBook
from sep_ray.devnet.rpc import Rpc, RpcRefused, call_data
from sep_ray.kernel.errors import Transient

BUSY_S: Final = 24 * 3_600
"""How long after a bridge's last log on a chain there may still be something to do for it."""
LOOKBACK: Final = 50_000
"""Blocks in which a servant looks for work: some hours of the local chains."""
_MAX: Final = 2**256 - 1


class LocalChain:
    """One chain through one connection."""

    def __init__(self, rpc: Rpc, book: ChainBook) -> None:
        self.rpc = rpc
        self.book = book
        self.chain_id = book.chain_id
        self._looked = 0
        self._stirred = 0

    def head(self) -> tuple[int, int]:
        """Return the newest block's number and its time in seconds."""
        block = self.rpc("eth_getBlockByNumber", "latest", False)
        return int(block["number"], 16), int(block["timestamp"], 16)

    def now(self) -> int:
        """Return the newest block's time in seconds."""
        return self.head()[1]

    def time_of(self, number: int) -> int:
        """Return a block's time in seconds."""
        block = self.rpc("eth_getBlockByNumber", hex(number), False)
        if not block:
            raise Transient("the block is gone", number=number)
        return int(block["timestamp"], 16)

    def logs(
        self, address: str, topics: Sequence[str | None], last: int | None = None
    ) -> list[Log]:
        """Return a contract's logs of the last LOOKBACK blocks, or up to block `last`."""
        head, _ = self.head()
        asked = {
            "address": address,
            "topics": list(topics),
            "fromBlock": hex(max(0, head - LOOKBACK)),
            "toBlock": hex(head if last is None else last),
        }
        return [parse_log(raw) for raw in self.rpc("eth_getLogs", asked)]

    def is_busy(self, contracts: Sequence[str]) -> bool:
        """Whether any of the contracts wrote a log in the last BUSY_S. Looks at new blocks only."""
        head, now = self.head()
        asked = {
            "address": list(contracts),
            "fromBlock": hex(min(max(self._looked, head - LOOKBACK, 0), head)),
            "toBlock": hex(head),
        }
        found = self.rpc("eth_getLogs", asked)
        if found:
            self._stirred = self.time_of(int(found[-1]["blockNumber"], 16))
        self._looked = head + 1
        return now - self._stirred < BUSY_S

    def logs_of(self, tx_hash: str) -> list[Log]:
        """Return the logs of a mined transaction."""
        receipt = self.rpc("eth_getTransactionReceipt", tx_hash)
        if not receipt:
            raise Transient("the transaction is gone", tx_hash=tx_hash)
        return [parse_log(raw) for raw in receipt["logs"]]

    def act(
        self, sender: str, to: str, signature: str, *arguments: Any, value: int = 0, gas: int = 0
    ) -> str | None:
        """Send a call as `sender` unless it would fail after what the pool holds; return its hash.

        That check makes every servant safe to restart: what is done, or about to be, fails.
        """
        call = {"from": sender, "to": to, "data": call_data(signature, *arguments)}
        call |= {"value": hex(value), "gas": hex(gas or 3_000_000)}
        try:
            self.rpc("eth_call", call, "pending")
        except RpcRefused:
            return None
        self.rpc("anvil_impersonateAccount", sender)  # a restarted node has forgotten that it may
        sent: str = self.rpc("eth_sendTransaction", call)
        return sent

    def allow(self, owner: str, token: str, spender: str) -> None:
        """Let a spender take a servant's tokens, once."""
        allowance = self.rpc.read(token, "allowance(address,address)", owner, spender)
        if allowance < _MAX // 2:
            self.act(owner, token, "approve(address,uint256)", spender, _MAX)
