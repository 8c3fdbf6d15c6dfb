"""A chain in memory that really keeps nonces, a pool, blocks, receipts and reorganisations.

It mines when told. It is strict where real nodes are: replacements must offer ten per cent more
on both fields, nonces run in order, fees below the base fee do not land, a block that is gone
cannot be read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sep_ray.adapters.memory.bridge_contract import Reverted, run_bridge
from sep_ray.adapters.memory.contracts import FAILED_GAS, Contracts, Transaction, from_hex
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import (
    AccountState,
    Call,
    DataCost,
    Head,
    Outgoing,
    Receipt,
    Settled,
    Transfer,
)
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
    transfers: tuple[Transfer, ...]
    after: Contracts


class MemoryChain:
    """Answers execution's ports Chain, Finality, Accounts, DataFees; reads its own pairs."""

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
        self.stuck: set[str] = set()
        """Accounts whose transactions are not mined for now."""
        self.blind = False
        """Whether reading the market fails."""
        self.data_fee_wei = 0
        """What each transaction pays for its bytes beside its gas, as on the OP stack."""
        self.final_depth: int | None = None
        """How far below the head is final; half of that is safe. None: the chain has no word."""
        self._tokens = tuple(tokens)
        self._wrapped_native = wrapped_native
        self._block_s = block_s
        self._mined = 0
        self._grown = asyncio.Event()
        self._gifts: list[tuple[str, str, int]] = []
        self._acts: list[tuple[str, Call]] = []
        state = Contracts(pools={pool.address: pool for pool in pools})
        head = Head(
            number=0,
            hash=_hash(chain_id, 0),
            parent_hash=_hash("nothing"),
            timestamp=timestamp,
            base_fee_wei=base_fee_wei,
            gas_used=GAS_LIMIT // 2,
            gas_limit=GAS_LIMIT,
        )
        self.blocks = [Block(head, (), (), {}, (), state)]

    # What simulations do to it

    @property
    def newest(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def fund(self, account: str, token: str, units: int) -> None:
        """Give units of a token (or NATIVE) to an account in the next block."""
        self._gifts.append((token, account, units))

    def act(self, sender: str, call: Call) -> None:
        """Let somebody else call a bridge in the next block, at no cost; what fails leaves no
        trace."""
        self._acts.append((sender, call))

    def mine(self, *, base_fee_wei: int | None = None) -> Head:
        """Mine a block of what the pool holds, in order of nonces; return its header."""
        parent = self.newest.head
        self._mined += 1
        page = _Page(
            number=parent.number + 1,
            hash=_hash(self.chain_id, parent.hash, self._mined),
            timestamp=parent.timestamp + self._block_s,
            fee=next_base_fee(parent.base_fee_wei, parent.gas_used, parent.gas_limit)
            if base_fee_wei is None
            else base_fee_wei,
            state=self.newest.after.copy(),
            data_fee_wei=self.data_fee_wei,
        )
        for token, account, units in self._gifts:
            page.give(token, account, units)
        self._gifts.clear()
        for place, (sender, call) in enumerate(self._acts):
            page.enact(f"act/{page.hash}/{place}", sender, call)
        self._acts.clear()
        while len(page.included) < self.room and (tx := self._next(page)) is not None:
            del self.pool[tx.sender, tx.nonce]
            page.execute(tx)
        self.blocks.append(page.block(parent))
        self._grown.set()
        self._grown = asyncio.Event()
        return self.newest.head

    def reorganise(self, depth: int, *, keep: bool = False) -> Head:
        """Replace the last `depth` blocks by empty ones of the same number.

        Their transactions are back in the pool with `keep`, and gone without. Gifts stay gone.
        """
        gone = self.blocks[-depth:]
        del self.blocks[-depth:]
        if keep:
            for block in gone:
                self.pool |= {(tx.sender, tx.nonce): tx for tx in block.included}
        held, self.pool = self.pool, {}
        for _ in range(depth):
            self.mine()
        self.pool = held
        return self.newest.head

    def go_back(self, blocks: int) -> Head:
        """Lose the newest blocks and the pool, as a node restored from an older state."""
        del self.blocks[-blocks:]
        self.pool.clear()
        return self.newest.head

    def forget(self, tx_hash: str) -> None:
        """Drop a transaction from the pool, as a node that restarts does."""
        self.pool = {key: tx for key, tx in self.pool.items() if tx.tx_hash != tx_hash}

    def _next(self, page: _Page) -> Transaction | None:
        """Return a pooled transaction that can run now; the best paying sender first."""
        ready = [
            tx
            for (sender, nonce), tx in self.pool.items()
            if nonce == page.state.nonces.get(sender, 0)
            and tx.max_fee_wei >= page.fee
            and sender not in self.stuck
        ]
        return max(ready, key=lambda tx: (tx.max_fee_wei, tx.tx_hash), default=None)

    # Chain

    async def head(self) -> Head:
        """Return the newest header."""
        return self.newest.head

    async def headers(self, numbers: Sequence[int]) -> tuple[Head | None, ...]:
        """Return canonical headers, None above the head."""
        return tuple(
            self.blocks[number].head if number < len(self.blocks) else None for number in numbers
        )

    async def settled(self) -> Settled:
        """Return the headers at `final_depth` and half of it, as far as there are any."""
        depth, top = self.final_depth, len(self.blocks) - 1
        if depth is None:
            return Settled(safe=None, final=None)
        safe, final = (self.blocks[max(top - each, 0)].head for each in (depth // 2, depth))
        return Settled(safe=safe, final=final)

    async def receipts(self, tx_hashes: Sequence[str]) -> tuple[Receipt | None, ...]:
        """Return receipts, None where there is none."""
        found = {r.tx_hash: r for block in self.blocks for r in block.receipts}
        return tuple(found.get(tx_hash) for tx_hash in tx_hashes)

    async def send(
        self, signed: Sequence[Signed], since: Sequence[int | None] = ()
    ) -> tuple[Verdict, ...]:
        """Take signed bytes into the pool, or say why not."""
        return tuple(self.deliver(each) for each in signed)

    def deliver(self, signed: Signed) -> Verdict:
        """Take one transaction, as `send` does."""
        return self._admit(Transaction.read(signed.raw))

    async def heads(self) -> AsyncIterator[Head]:
        """Yield the newest header whenever there is a new one."""
        last = ""
        while True:
            if self.newest.head.hash != last:
                last = self.newest.head.hash
                yield self.newest.head
            else:
                await self._grown.wait()

    def _admit(self, tx: Transaction) -> Verdict:
        state = self.newest.after
        held = self.pool.get((tx.sender, tx.nonce))
        if held is not None and held.tx_hash == tx.tx_hash:
            return Accepted(known=True)
        if tx.nonce < state.nonces.get(tx.sender, 0):
            return Rejected(Refusal.NONCE_TOO_LOW, "nonce too low")
        cost = tx.gas_limit * tx.max_fee_wei + tx.call.value_wei
        if cost > state.coins.get(tx.sender, 0):
            return Rejected(Refusal.INSUFFICIENT_FUNDS, "insufficient funds")
        if held is not None and not _outbids(tx, held):
            return Rejected(Refusal.REPLACEMENT_UNDERPRICED, "replacement underpriced")
        self.pool[tx.sender, tx.nonce] = tx
        return Accepted()

    # Accounts

    async def state(self, account: str, assets: Sequence[Asset], at: Head) -> AccountState:
        """Read an account right after a canonical block."""
        after = self._at(at).after
        units = {
            asset: after.coins.get(account, 0)
            if asset.address == NATIVE
            else after.owned.get((asset.address, account), 0)
            for asset in assets
        }
        return AccountState(nonce=after.nonces.get(account, 0), units=units)

    async def allowances(
        self, account: str, spender: str, tokens: Sequence[str], at: Head
    ) -> tuple[int, ...]:
        """Return what the spender may take of each token."""
        allowed = self._at(at).after.allowed
        return tuple(allowed.get((token, account, spender), 0) for token in tokens)

    async def arrivals(self, account: str, first: int, last: int) -> tuple[Transfer, ...]:
        """Return transfers to and from the account in these blocks."""
        return tuple(
            moved
            for block in self.blocks[first : last + 1]
            for moved in block.transfers
            if account in (moved.source, moved.target)
        )

    async def usual_tip(self) -> int:
        """Return zero: nobody tips here."""
        return 0

    async def revert_reason(self, tx_hash: str) -> str:
        """Return what the contract said."""
        return next((b.reasons[tx_hash] for b in self.blocks if tx_hash in b.reasons), "")

    # Evidence

    async def failure(self, account: str, call: Call, at: Head) -> str | None:
        """Run a call right after a canonical block."""
        trial = Transaction(
            tx_hash="0x",
            raw="0x",
            sender=account,
            nonce=0,
            call=call,
            gas_limit=GAS_LIMIT,
            max_fee_wei=0,
            tip_wei=0,
            chain_id=self.chain_id,
        )
        try:
            self._at(at).after.copy().run(trial, at.timestamp)
        except Reverted as reverted:
            return str(reverted)
        return None

    async def sent_by(self, account: str, first: int, last: int) -> tuple[Outgoing, ...]:
        """Return what the account sent in these blocks, by nonce."""
        return tuple(
            Outgoing(
                receipt=receipt,
                nonce=tx.nonce,
                cost_wei=receipt.gas_used * receipt.gas_price_wei
                + receipt.data_fee_wei
                + (tx.call.value_wei if receipt.succeeded else 0),
            )
            for block in self.blocks[first : last + 1]
            for tx, receipt in zip(block.included, block.receipts, strict=True)
            if tx.sender == account
        )

    # DataFees

    async def costs(self, calls: Sequence[Call], at: Head) -> tuple[DataCost, ...]:
        """Return what the bytes of each call cost here, whatever they are."""
        return tuple(DataCost(wei=self.data_fee_wei) for _ in calls)

    # Snapshots

    async def read(self, head: Head) -> Snapshot:
        """Return the pairs right after a canonical block."""
        block = self._at(head)
        if self.blind:
            raise Transient("the market cannot be read")
        return Snapshot(
            chain_id=self.chain_id,
            block_number=head.number,
            block_hash=head.hash,
            block_time_s=head.timestamp,
            base_fee_wei=head.base_fee_wei,
            pools=tuple(block.after.pools.values()),
            tokens=self._tokens,
            wrapped_native=self._wrapped_native,
        )

    async def confirm(self, head: Head, pools: Iterable[str]) -> frozenset[str]:
        """Nothing differs: what is read here is what is."""
        self._at(head)
        return frozenset()

    def _at(self, head: Head) -> Block:
        if head.number < len(self.blocks) and self.blocks[head.number].head.hash == head.hash:
            return self.blocks[head.number]
        raise Transient("no such block", number=head.number)


class _Page:
    """A block while it is being written."""

    def __init__(
        self,
        *,
        number: int,
        hash: str,
        timestamp: int,
        fee: int,
        state: Contracts,
        data_fee_wei: int,
    ) -> None:
        self.number, self.hash, self.timestamp, self.fee = number, hash, timestamp, fee
        self.state, self.data_fee_wei = state, data_fee_wei
        self.included: list[Transaction] = []
        self.receipts: list[Receipt] = []
        self.reasons: dict[str, str] = {}
        self.transfers: list[Transfer] = []

    def give(self, token: str, account: str, units: int) -> None:
        """Mint units to an account; the coin comes without a log."""
        if token == NATIVE:
            self.state.coins[account] = self.state.coins.get(account, 0) + units
        else:
            self.state.give(token, account, units)
            self._log(f"gift/{self.hash}", [(token, MINT, account, units)])

    def enact(self, name: str, sender: str, call: Call) -> None:
        """Run somebody else's call to a bridge."""
        trial = self.state.copy()
        try:
            moved = run_bridge(trial, sender, _hash(name), from_hex(call.data), self.timestamp)
        except Reverted:
            return
        self.state = trial
        self._log(_hash(name), moved)

    def execute(self, tx: Transaction) -> None:
        """Run a transaction: its nonce and gas are spent whatever comes of it."""
        price = min(tx.max_fee_wei, self.fee + tx.tip_wei)
        self.state.nonces[tx.sender] = tx.nonce + 1
        try:
            gas, moved = self.state.run(tx, self.timestamp)
            succeeded = True
        except Reverted as reverted:
            gas, moved, succeeded = FAILED_GAS, [], False
            self.reasons[tx.tx_hash] = str(reverted)
        paid = gas * price + self.data_fee_wei
        self.state.coins[tx.sender] = self.state.coins.get(tx.sender, 0) - paid
        receipt = Receipt(
            tx_hash=tx.tx_hash,
            block_number=self.number,
            block_hash=self.hash,
            index=len(self.included),
            succeeded=succeeded,
            gas_used=gas,
            gas_price_wei=price,
            transfers=self._log(tx.tx_hash, moved),
            data_fee_wei=self.data_fee_wei,
        )
        self.included.append(tx)
        self.receipts.append(receipt)

    def block(self, parent: Head) -> Block:
        """Close it."""
        head = Head(
            number=self.number,
            hash=self.hash,
            parent_hash=parent.hash,
            timestamp=self.timestamp,
            base_fee_wei=self.fee,
            gas_used=sum(receipt.gas_used for receipt in self.receipts) or GAS_LIMIT // 2,
            gas_limit=GAS_LIMIT,
        )
        return Block(
            head,
            tuple(self.included),
            tuple(self.receipts),
            self.reasons,
            tuple(self.transfers),
            self.state,
        )

    def _log(
        self, tx_hash: str, moved: Sequence[tuple[str, str, str, int]]
    ) -> tuple[Transfer, ...]:
        found = tuple(
            Transfer(
                token=token,
                source=source,
                target=target,
                units=units,
                block_hash=self.hash,
                tx_hash=tx_hash,
                log_index=len(self.transfers) + place,
            )
            for place, (token, source, target, units) in enumerate(moved)
        )
        self.transfers.extend(found)
        return found


def _outbids(tx: Transaction, held: Transaction) -> bool:
    """Whether a replacement offers ten per cent more on both fields, as go-ethereum asks."""
    fee = tx.max_fee_wei * 10 >= held.max_fee_wei * 11 and tx.max_fee_wei > held.max_fee_wei
    return fee and tx.tip_wei * 10 >= held.tip_wei * 11 and tx.tip_wei > held.tip_wei


def _hash(*parts: object) -> str:
    return "0x" + hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()
