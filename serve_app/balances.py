"""The books against the chains, read afresh and not asked of those who keep the books (P8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from sep_ray.execution.ports import AccountState, Head
from sep_ray.journal.ports import Ledger
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import Asset, ChainId

TRIES: Final = 40
PAUSE_S: Final = 0.1
"""A transaction is booked moments after its block: only what stays different is a mismatch."""

Pairs = Mapping[Asset, tuple[int, int]]


class Reader(Protocol):
    """A chain's newest block and what accounts hold after it."""

    async def head(self) -> Head:
        """Return the newest header."""

    async def state(self, account: str, assets: Sequence[Asset], at: Head) -> AccountState:
        """Read an account as it stood right after a block."""


Accounts = Callable[[ChainId], Awaitable[Sequence[str]]]


class ChainBalances:
    """Implements the API's Balances port."""

    def __init__(
        self,
        ledger: Ledger,
        readers: Mapping[ChainId, Reader],
        accounts: Accounts,
        assets: Sequence[Asset],
    ) -> None:
        self._ledger = ledger
        self._readers = readers
        self._accounts = accounts
        self._assets = assets

    async def compare(self, chain_id: ChainId) -> Pairs:
        """Return (ledger, chain) units of every known asset; waits for bookings under way."""
        reader = self._readers.get(chain_id)
        accounts = await self._accounts(chain_id)
        if reader is None or not accounts:
            raise Transient("the chain is not being read", chain_id=chain_id)
        pairs = await self._once(chain_id, reader, accounts)
        for _ in range(TRIES - 1):
            if all(booked == held for booked, held in pairs.values()):
                break
            await asyncio.sleep(PAUSE_S)
            pairs = await self._once(chain_id, reader, accounts)
        return pairs

    async def _once(self, chain_id: ChainId, reader: Reader, accounts: Sequence[str]) -> Pairs:
        before = await self._ledger.totals(chain_id)
        known = {asset for asset in self._assets if asset.chain_id == chain_id}
        assets = sorted(known | set(before))
        head = await reader.head()
        states = await asyncio.gather(*(reader.state(each, assets, head) for each in accounts))
        return {
            asset: (before.get(asset, 0), sum(state.units[asset] for state in states))
            for asset in assets
        }
