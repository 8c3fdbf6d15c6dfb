"""Our integers against the real contracts: `python -m bench.oracle [--swaps N] [--plans N]`.

Random swaps in every V2, V3 and V4 pool of a local chain, both directions, exact input and exact
output, from one unit to beyond what the pool holds: the official quoters run the pools' own code,
and every amount (and V3's price afterwards) must be ours to the unit. Between rounds positions are
added at random and the market moves. Then random plans of one leg and several are executed, and
must move exactly what they said. The same seed does the same again; one difference is failure.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.oracle_market import Mover, files_of_pools
from bench.oracle_plans import execute_plans
from sep_ray.adapters.evm.abi import address_word, addresses, selector, word, words
from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM, ChainBook
from sep_ray.adapters.evm.discovery import find_pools
from sep_ray.adapters.evm.heads import newest_head
from sep_ray.adapters.evm.multicall import Read, aggregate, results
from sep_ray.adapters.evm.rpc import EvmRpc
from sep_ray.adapters.evm.snapshots import SnapshotReader
from sep_ray.adapters.evm.v4 import TICK_SPACINGS, key_words
from sep_ray.adapters.evm.world import lenses_of
from sep_ray.devnet.build import build_states
from sep_ray.devnet.chains import Chains
from sep_ray.devnet.importer import read_snapshots
from sep_ray.devnet.node import NodeOptions
from sep_ray.devnet.packages import install
from sep_ray.intent.intent import Side
from sep_ray.logs import configure
from sep_ray.routing.pools.pool import Pool, Quote, Venue
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot

ROUND: Final = 10_000
"""Swaps between two moves of the market."""
QUOTES: Final = 25
"""Quotes in one eth_call: one that crosses a hundred ticks takes millions of gas."""
CALLS: Final = 20
"""eth_calls in one request."""
REACH_TICKS: Final = 60_000
CALL_GAS: Final = hex(2_000_000_000)
MOST_SECONDS: Final = 900.0
EXACT_IN: Final = "quoteExactInputSingle((address,address,uint256,uint24,uint160))"
EXACT_OUT: Final = "quoteExactOutputSingle((address,address,uint256,uint24,uint160))"
V4_IN, V4_OUT = (
    f"quoteExact{which}Single(((address,address,uint24,int24,address),bool,uint128,bytes))"
    for which in ("Input", "Output")
)
UNBOUNDED: Final = (4295128740, 1461446703485210103287273052203988822378723970341)
"""Prices at which a V3 pool has nothing more to give: the contract's own bounds."""

Swap = tuple[Pool, str, int, Side]


def chain_read(book: ChainBook, swap: Swap) -> Read:
    """Return the question to the official contract: what would this swap do?"""
    pool, token_in, amount, side = swap
    token_out = pool.token1 if token_in == pool.token0 else pool.token0
    selling = side is Side.SELL
    if pool.venue is Venue.UNISWAP_V2:
        name = "getAmountsOut" if selling else "getAmountsIn"
        path = addresses([token_in, token_out])
        data = selector(f"{name}(uint256,address[])") + word(amount) + word(64) + path
        return book.v2_router, data
    if pool.venue is Venue.UNISWAP_V4:
        key = key_words(pool.token0, pool.token1, pool.fee_ppm, TICK_SPACINGS[pool.fee_ppm])
        order = key + word(token_in == pool.token0) + word(amount) + word(256) + word(0)
        return book.v4_quoter, selector(V4_IN if selling else V4_OUT) + word(32) + order
    tokens = address_word(token_in) + address_word(token_out)
    data = tokens + word(amount) + word(pool.fee_ppm) + word(0)
    return book.v3_quoter, selector(EXACT_IN if selling else EXACT_OUT) + data


def quote_of(swap: Swap) -> Quote | NoRoute:
    """Return what we say."""
    pool, token_in, amount, side = swap
    return (pool.exact_in if side is Side.SELL else pool.exact_out)(token_in, amount)


def agree(swap: Swap, quote: Quote | NoRoute, said: Sequence[int]) -> bool:
    """Whether the chain's answer is ours; a refusal of ours must be the chain's too."""
    pool, _, _, side = swap
    venue = pool.venue
    if isinstance(quote, NoRoute):
        if quote.reason is Reason.AMOUNT_TOO_SMALL:
            return said[3 if venue is Venue.UNISWAP_V2 else 0] == 0
        if quote.reason is Reason.INSUFFICIENT_LIQUIDITY:
            return not said or (venue is Venue.UNISWAP_V3 and said[1] in UNBOUNDED)
        return quote.reason is Reason.OUTSIDE_KNOWN_TICKS
    if venue is Venue.UNISWAP_V2:
        return list(said[2:]) == [quote.amount_in, quote.amount_out]
    expected = quote.amount_out if side is Side.SELL else quote.amount_in
    if venue is Venue.UNISWAP_V4:  # its quoter tells the amount and the gas, not the price
        return said[:1] == [expected]
    return said[:2] == [expected, getattr(pool.moved(quote), "sqrt_price", 0)]


def random_swaps(snapshot: Snapshot, chance: random.Random, count: int) -> Iterator[Swap]:
    """Yield swaps in turn over the pools: from one unit to three times the depth."""
    for number in range(count):
        pool = snapshot.pools[number % len(snapshot.pools)]
        token_in, token_out = chance.sample([pool.token0, pool.token1], 2)
        side = chance.choice([Side.SELL, Side.BUY])
        depth = pool.depth(token_in if side is Side.SELL else token_out)
        digits = chance.uniform(0, len(str(depth * 3)) - 1)
        if number % 3:  # most swaps are of sizes that move the price
            digits = chance.uniform(digits, len(str(depth * 3)) - 1)
        yield pool, token_in, max(int(10**digits), 1), side


async def ask(rpc: EvmRpc, snapshot: Snapshot, reads: Sequence[Read]) -> list[list[int]]:
    """Ask each at the snapshot's block; no words where the contract reverts."""
    at = {"blockHash": snapshot.block_hash}
    chunks = [reads[n : n + QUOTES] for n in range(0, len(reads), QUOTES)]
    found: list[list[int]] = []
    for start in range(0, len(chunks), CALLS):
        some = chunks[start : start + CALLS]
        calls = [("eth_call", [aggregate(each) | {"gas": CALL_GAS}, at]) for each in some]
        for chunk, answer in zip(some, await rpc.batch(calls), strict=True):
            found += [words(part) if part else [] for part in results(answer, len(chunk))]
    return found


class Tally:
    """What was compared, by kind, and what differed."""

    def __init__(self) -> None:
        self.compared: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[str] = Counter()
        self.crossings = 0
        self.differing: list[tuple[Swap, Quote | NoRoute, Sequence[int]]] = []

    def note(self, swap: Swap, quote: Quote | NoRoute, said: Sequence[int]) -> None:
        """Count a swap."""
        if isinstance(quote, NoRoute):
            self.refused[quote.reason.value] += 1
        else:
            self.compared[swap[0].venue.value, swap[3].value] += 1
            self.crossings += quote.ticks_crossed > 0
        if not agree(swap, quote, said):
            self.differing.append((swap, quote, said))

    @property
    def total(self) -> int:
        """Swaps that both sides quoted."""
        return self.compared.total()

    def show(self, console: Console) -> None:
        """Print the outcome."""
        for (venue, side), count in sorted(self.compared.items()):
            console.print(f"  {venue:12} {side:5} {count:>8,} equal to the unit")
        refused = ", ".join(f"{n:,} {why}" for why, n in sorted(self.refused.items()))
        console.print(f"  refused by both: {refused or 'none'}")
        console.print(f"  {self.crossings:,} crossed initialised ticks")
        for swap, quote, said in self.differing[:10]:
            pool, token_in, amount, side = swap
            console.print(f"  DIFFERS {pool.venue} {pool.address} {token_in} {amount} {side}")
            console.print(f"    ours {quote}, theirs {list(said[:4])}")


async def compare_swaps(
    rpc: EvmRpc, reader: SnapshotReader, mover: Mover, count: int, seed: int, bar: Any
) -> Tally:
    """Compare rounds of random swaps until `count` were quoted by both sides."""
    tally, number = Tally(), 0
    deadline = time.monotonic() + MOST_SECONDS
    while tally.total < count and time.monotonic() < deadline and not tally.differing:
        chance = random.Random(f"{seed}/{number}")
        snapshot = await reader.read(await newest_head(rpc))
        swaps = list(random_swaps(snapshot, chance, min(ROUND, count - tally.total + 200)))
        answers = await ask(rpc, snapshot, [chain_read(mover.book, swap) for swap in swaps])
        for swap, said in zip(swaps, answers, strict=True):
            tally.note(swap, quote_of(swap), said)
        bar(tally.total)
        await asyncio.to_thread(mover.move, snapshot, chance)
        number += 1
    return tally


async def run(arguments: argparse.Namespace, console: Console) -> bool:
    """Run both parts on a chain of their own; whether nothing differed."""
    cache = arguments.cache.resolve()
    bundle = install(cache)
    found = files_of_pools(arguments.data)
    imported = read_snapshots(found) if found else ()
    states = build_states(bundle, cache, imported=imported)
    what = f"{len(imported)} mainnet pools among them" if imported else "seeded pools only"
    console.print(f"oracle: seed {arguments.seed}, {what}")
    options = {chain_id: NodeOptions(mining="auto") for chain_id in BOOKS}
    with (
        tempfile.TemporaryDirectory() as home,
        Chains(bundle, states, folder=Path(home) / "chains", options=options) as chains,
        closing(Mover(chains, ETHEREUM)) as mover,
    ):
        rpc = EvmRpc(chains.endpoints[ETHEREUM].http)
        try:
            return await _both_parts(rpc, mover, arguments, console)
        finally:
            await rpc.close()


async def _both_parts(
    rpc: EvmRpc, mover: Mover, arguments: argparse.Namespace, console: Console
) -> bool:
    book = mover.book
    keys = await find_pools(
        rpc,
        tokens=book.tokens(),
        v2_factory=book.v2_factory,
        v3_factory=book.v3_factory,
        v4_state=book.v4_state,
    )
    reader = SnapshotReader(
        rpc,
        chain_id=book.chain_id,
        pools=keys,
        tokens=book.tokens(),
        wrapped_native=book.weth,
        lenses=lenses_of(book),
        reach_ticks=REACH_TICKS,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    begun = time.monotonic()
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        swaps = progress.add_task("swaps", total=arguments.swaps)
        plans = progress.add_task("plans", total=arguments.plans)
        tally = await compare_swaps(
            *(rpc, reader, mover, arguments.swaps, arguments.seed),
            lambda done: progress.update(swaps, completed=min(done, arguments.swaps)),
        )
        executed = await execute_plans(
            *(rpc, reader, mover, arguments.plans, arguments.seed),
            lambda done: progress.update(plans, completed=done),
        )
    console.print(f"{tally.total:,} swaps in {len(keys)} pools, {time.monotonic() - begun:.0f} s")
    tally.show(console)
    console.print(f"{executed.done:,} plans executed: {executed.shapes()}")
    for line in executed.differing[:10]:
        console.print(f"  DIFFERS {line}")
    enough = tally.total >= arguments.swaps and executed.done >= arguments.plans
    return enough and not tally.differing and not executed.differing


def main() -> int:
    """Run from the command line; 0 when all were equal."""
    parser = argparse.ArgumentParser(prog="python -m bench.oracle", description=__doc__)
    parser.add_argument("--swaps", type=int, default=100_000)
    parser.add_argument("--plans", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(".sep/cache"))
    parser.add_argument("--data", type=Path, help="folder with recorded mainnet pools")
    arguments, console = parser.parse_args(), Console()
    configure("console", "warning")
    same = asyncio.run(run(arguments, console))
    console.print("all equal" if same else "NOT EQUAL, or not done in time")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
