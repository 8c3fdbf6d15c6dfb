"""Moves a local market: prices follow a path, an arbitrageur enforces it, noise traders trade.

Everything happens through real swaps of accounts that the node acts for. The same seed, path and
number of steps from the same state give the same orders.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from eth_utils.crypto import keccak

from sep_ray.devnet.funding import fund
from sep_ray.devnet.paths import Prices
from sep_ray.devnet.trading import (
    DrivenChain,
    approvals,
    correction,
    fair_price,
    read_pools,
    swap,
)

ARBITRAGEUR: Final = "0x" + keccak(text="sep-ray devnet arbitrageur")[-20:].hex()
NOISE: Final = "0x" + keccak(text="sep-ray devnet noise trader")[-20:].hex()

_STOCK_DOLLARS: Final = 20_000_000_000
_COIN: Final = 10**24
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOptions:
    """How the market behaves.

    noise_per_step is the mean number of noise trades on each chain, their sizes spread evenly in
    the logarithm between the two dollar amounts. band "fee" lets a pool stray as far as its fee,
    as real arbitrage does; "none" pulls every pool onto the path.
    """

    seed: int = 1
    noise_per_step: float = 1.5
    noise_dollars: tuple[int, int] = (200, 20_000)
    band: Literal["fee", "none"] = "fee"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did: its number from 1, its prices, and the swaps sent."""

    number: int
    prices: Prices
    arbitrages: int
    noise: int


class MarketDriver:
    """Drives one or more chains along one path, so that their prices stay together."""

    def __init__(
        self, chains: Sequence[DrivenChain], path: Iterator[Prices], options: DriverOptions
    ) -> None:
        self._chains = chains
        self._path = path
        self._options = options
        self._chance = random.Random(f"{options.seed}/noise")
        self._done = 0

    async def run(
        self, *, steps: int | None = None, stop: asyncio.Event | None = None, mine: bool = False
    ) -> int:
        """Step once per new block of the first chain; return how many steps were taken.

        Ends after `steps`, when the path ends, or when `stop` is set. mine=True mines every chain
        after each step instead of waiting, for chains that do not mine by themselves.
        """
        taken, seen = 0, -1
        while (steps is None or taken < steps) and not (stop and stop.is_set()):
            if not mine:
                seen = await self._next_block(seen, stop)
            if await asyncio.to_thread(self.step) is None:
                break
            if mine:
                await asyncio.to_thread(self._mine)
            taken += 1
        return taken

    def step(self) -> Step | None:
        """Send one step's swaps, without waiting for them; None when the path has ended."""
        prices = next(self._path, None)
        if prices is None:
            return None
        if self._done == 0:
            self._prepare(prices)
        self._done += 1
        arbitrages = sum(self._arbitrage(chain, prices) for chain in self._chains)
        noise = sum(self._noise(chain, prices) for chain in self._chains)
        return Step(number=self._done, prices=prices, arbitrages=arbitrages, noise=noise)

    async def _next_block(self, seen: int, stop: asyncio.Event | None) -> int:
        while True:
            head = int(await asyncio.to_thread(self._chains[0].rpc, "eth_blockNumber"), 16)
            if head != seen or (stop and stop.is_set()):
                return head
            await asyncio.sleep(_POLL_S)

    def _mine(self) -> None:
        for chain in self._chains:
            chain.rpc("evm_mine")

    def _prepare(self, prices: Prices) -> None:
        """Give both traders stock and allowances."""
        for chain in self._chains:
            stock = {symbol: _units(chain, symbol, _STOCK_DOLLARS, prices) for symbol in prices}
            for trader in (ARBITRAGEUR, NOISE):
                fund(chain.rpc, chain.book, trader, {"ETH": _COIN, **stock})
                chain.rpc("anvil_impersonateAccount", trader)
                chain.rpc.transact(approvals(chain, trader, list(prices)))

    def _arbitrage(self, chain: DrivenChain, prices: Prices) -> int:
        sent = 0
        for state in read_pools(chain):
            fair = fair_price(chain, state.pool, prices)
            band = state.pool.fee if self._options.band == "fee" else 0
            transaction = correction(chain, state, fair, band, ARBITRAGEUR)
            if transaction is not None:
                chain.rpc("eth_sendTransaction", transaction)
                sent += 1
        return sent

    def _noise(self, chain: DrivenChain, prices: Prices) -> int:
        mean = self._options.noise_per_step
        count = int(mean) + (self._chance.random() < mean - int(mean))
        for _ in range(count):
            pool = self._chance.choice(chain.pools)
            token_in = self._chance.choice((pool.token0, pool.token1))
            small, large = self._options.noise_dollars
            dollars = round(small * (large / small) ** self._chance.random())
            amount = _units(chain, chain.token(token_in).symbol, dollars, prices)
            chain.rpc("eth_sendTransaction", swap(chain, pool, NOISE, token_in, amount))
        return count


def _units(chain: DrivenChain, symbol: str, dollars: int, prices: Prices) -> int:
    """Smallest units of a token worth so many dollars, rounded down."""
    units: int = dollars * 1_000_000 * 10 ** chain.book.token(symbol).decimals // prices[symbol]
    return units
