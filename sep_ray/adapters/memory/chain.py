"""A chain in memory that really keeps nonces, a pool, blocks, receipts and reorganisations.

It mines when told. It is strict where real nodes are: replacements must offer ten per cent more
on both fields, nonces run in order, fees below the base fee do not land, a block that is gone
cannot be read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sep_ray.adapters.memory.contracts import FAILED_GAS, Contracts, Reverted, Transaction
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import AccountState, Head, Receipt, Transfer
from sep_ray.execution.verdict import Accepted, Refusal, Rejected, Verdict
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import NATIVE, Asset, ChainId, Token
from sep_ray.routing.gas import next_base_fee
from sep_ray.routing.pools.v2 import V2Pool
from sep_ray.routing.snapshot import Snapshot

GAS_LIMIT: Final = 30_000_000
MINT: Final = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Block:
    """A block, what it holds and the state after it."""

    head: Head
    included: tuple[Transaction, ...]
    receipts: tuple[Receipt, ...]
    reasons: dict[str, str]
    after: Contracts


class MemoryChain:
    """Answers execution's ports Chain and Accounts, and reads snapshots of its own pairs."""

    def __init__(
        self,
        chain_id: ChainId,
        pools: Sequence[V2Pool],
        tokens: Sequence[Token],
        *,
        base_fee_wei: int = 1_000_000_000,
        timestamp: int = 1_700_000_000,
        block_s: int = 1,
        wrapped_native: str | None = None,
    ) -> None:
        self.chain_id = chain_id
        self.pool: dict[tuple[str, int], Transaction] = {}
        self.room = 1_000
        """Transactions a block can hold."""
        self._tokens = tuple(tokens)
        self._wrapped_native = wrapped_native
        self._block_s = block_s
        self._salt = 0
        self._grown = asyncio.Event()
        state = Contracts(pools={pool.address: pool for pool in pools})
        head = Head(
            number=0,
            hash=_hash("genesis", str(chain_id)),
            parent_hash=_hash("nothing"),
            timestamp=timestamp,
            base_fee_wei=base_fee_wei,
            gas_used=GAS_LIMIT // 2,
            gas_limit=GAS_LIMIT,
        )
        self.blocks = [Block(head, (), (), {}, state)]
        self._gifts: list[tuple[str, str, int]] = []

    # What simulations do to it

    @property
    def tip(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def fund(self, account: str, token: str, units: int) -> None:
        """Give units of a token (or NATIVE) to an account in the next block."""
        self._gifts.append((token, account, units))

    def mine(self, *, base_fee_wei: int | None = None) -> Head:
        """Mine a block of what the pool holds, in order of nonces; return its header."""
        parent = self.tip.head
        fee = next_base_fee(parent.base_fee_wei, parent.gas_used, parent.gas_limit)
        fee = base_fee_wei if base_fee_wei is not None else fee
        state, timestamp = self.tip.after.copy(), parent.timestamp + self._block_s
        logs = self._give(state)
        included, receipts, reasons, used = [], [], {}, 0
        while len(included) < self.room and (tx := self._next(state, fee)) is not None:
            del self.pool[tx.sender, tx.nonce]
            receipt, reason = _execute(state, tx, len(included), fee, timestamp, logs)
            included.append(tx)
            receipts.append(receipt)
            reasons[tx.tx_hash] = reason
            used += receipt.gas_used
        head = self._header(parent, timestamp, fee, used, [tx.tx_hash for tx in included])
        placed = tuple(_placed(each, head) for each in receipts)
        gifts = tuple(replace(each, block_hash=head.hash) for each in logs[: len(logs)])
        self.blocks.append(Block(head, tuple(included), placed, reasons, state))
        self._logs[head.hash] = gifts
        self._grown.set()
        self._grown = asyncio.Event()
        return head
