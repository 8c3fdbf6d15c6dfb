"""Loads the recorded state of real mainnet V3 pools into a local chain.

The pool is created by the real factory, so it lands on its real address; its price, liquidity,
ticks and bitmap are then written into its storage, and the tokens it must hold are minted to it.
Storage layout: UniswapV3Pool of v3-core 1.0.1 (slot0 in slot 0, liquidity 4, ticks 5, bitmap 6).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM, ChainBook
from sep_ray.devnet.funding import act_as_bank, mint_to, wrap_to
from sep_ray.devnet.market import PRICES, TICK_SPACING, Pool, create_v3_pool
from sep_ray.devnet.rpc import Rpc
from sep_ray.kernel.errors import Rejected
from sep_ray.routing.pools.v3_math import amount0_up, amount1_up, sqrt_ratio_at_tick

_LIQUIDITY, _TICKS, _BITMAP = 4, 5, 6
_TICK_BITS: Final = ((1 << 24) - 1) << 160
_INITIALIZED: Final = 1 << 248
_BATCH: Final = 500
_FEES: Final = {"Lowest": 100, "Low": 500, "Medium": 3_000, "High": 10_000}
_DOLLARS: Final = ("USDC", "USDT", "DAI")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """A V3 pool of Ethereum at one block.

    symbols are in address order; ticks hold (tick, gross, net) in rising order; balances are what
    the pool held of each token, None where that was not recorded.
    """

    symbols: tuple[str, str]
    fee: int
    sqrt_price: int
    tick: int
    liquidity: int
    ticks: tuple[tuple[int, int, int], ...]
    balances: tuple[int, int] | None = None


def read_snapshots(path: Path) -> tuple[PoolSnapshot, ...]:
    """Read a data file: one pool with its balances, or a list of pools with net liquidity only.

    Pools of tokens that the address book lacks are left out. Raises Rejected for another shape or
    for ticks that do not add up to the liquidity in range.
    """
    found = json.loads(path.read_text())
    try:
        read = [_one(found)] if isinstance(found, dict) else [_listed(each) for each in found]
    except (KeyError, TypeError, ValueError) as error:
        raise Rejected("not a pool file we know", path=path.name, why=repr(error)) from None
    snapshots = tuple(each for each in read if each is not None)
    for snapshot in snapshots:
        _check(snapshot)
    return snapshots


def _symbols(addresses: Iterable[str]) -> tuple[str, str] | None:
    known = {token.asset.address: token.symbol for token in BOOKS[ETHEREUM].tokens()}
    first, second = (known.get(address.lower()) for address in addresses)
    return None if first is None or second is None else (first, second)


def _one(found: Mapping[str, Any]) -> PoolSnapshot | None:
    symbols = _symbols([found["token0"]["address"], found["token1"]["address"]])
    if symbols is None:
        return None
    scalars, ticks = found["scalars"], found["tick_data"].items()
    return PoolSnapshot(
        symbols=symbols,
        fee=scalars["fee"],
        sqrt_price=scalars["sqrt_price_x96"],
        tick=scalars["tick"],
        liquidity=scalars["liquidity"],
        ticks=tuple(sorted((int(tick), gross, net) for tick, (gross, net, *_) in ticks)),
        balances=(found["balance_token0"], found["balance_token1"]),
    )


def _listed(found: Mapping[str, Any]) -> PoolSnapshot | None:
    symbols = _symbols(token["address"] for token in found["tokens"])
    if symbols is None or found["state"]["protocol"] != "UniswapV3State":
        return None
    state = found["state"]["state"]
    ticks = ((each["index"], each["net_liquidity"]) for each in state["ticks"]["ticks"])
    return PoolSnapshot(
        symbols=symbols,
        fee=_FEES[state["fee"]],
        sqrt_price=int(state["sqrt_price"], 16),
        tick=state["tick"],
        liquidity=state["liquidity"],
        # gross was not recorded; a swap reads only whether it is zero
        ticks=tuple(sorted((tick, max(abs(net), 1), net) for tick, net in ticks)),
    )


def _check(snapshot: PoolSnapshot) -> None:
    below = sum(net for tick, _, net in snapshot.ticks if tick <= snapshot.tick)
    if below != snapshot.liquidity or sum(net for *_, net in snapshot.ticks) != 0:
        raise Rejected("ticks do not add up", pool="/".join(snapshot.symbols), fee=snapshot.fee)


def import_pools(rpc: Rpc, book: ChainBook, snapshots: Iterable[PoolSnapshot]) -> tuple[Pool, ...]:
    """Create each pool on a chain that holds the core contracts, with its recorded state."""
    act_as_bank(rpc)
    return tuple(_import_pool(rpc, book, snapshot) for snapshot in snapshots)


def _import_pool(rpc: Rpc, book: ChainBook, snapshot: PoolSnapshot) -> Pool:
    pool = create_v3_pool(rpc, book, snapshot.symbols, snapshot.fee, snapshot.sqrt_price)
    slot0 = int(rpc("eth_getStorageAt", pool.address, "0x0", "latest"), 16)
    # at an exact boundary the tick may be one below what the price alone says
    words = {0: slot0 & ~_TICK_BITS | (snapshot.tick % 2**24) << 160}
    words[_LIQUIDITY] = snapshot.liquidity
    words |= tick_words(snapshot.ticks, TICK_SPACING[snapshot.fee])
    writes = [
        ("anvil_setStorageAt", [pool.address, f"0x{slot:064x}", f"0x{word:064x}"])
        for slot, word in words.items()
    ]
    for start in range(0, len(writes), _BATCH):
        rpc.batch(writes[start : start + _BATCH])
    rpc.transact(
        [
            transaction
            for symbol, units in zip(snapshot.symbols, _balances(snapshot), strict=True)
            for transaction in _give(book, symbol, pool.address, units)
        ]
    )
    return pool


def _give(book: ChainBook, symbol: str, account: str, units: int) -> list[dict[str, Any]]:
    if symbol == "WETH":
        return wrap_to(book, account, units)
    return [mint_to(book.token(symbol).asset.address, account, units)]


def tick_words(ticks: Sequence[tuple[int, int, int]], spacing: int) -> dict[int, int]:
    """The storage of a pool's ticks and tick bitmap: slot -> word."""
    words: dict[int, int] = {}
    bitmap: dict[int, int] = defaultdict(int)
    for tick, gross, net in ticks:
        slot = _entry(tick, _TICKS)
        words[slot] = gross | (net % 2**128) << 128
        words[slot + 3] = _INITIALIZED
        place = tick // spacing
        bitmap[place >> 8] |= 1 << (place & 0xFF)
    return words | {_entry(place, _BITMAP): word for place, word in bitmap.items()}


def _entry(key: int, mapping: int) -> int:
    """The slot of a mapping's entry for a signed integer key."""
    return int.from_bytes(keccak(encode(["int256", "uint256"], [key, mapping])), "big")


def _balances(snapshot: PoolSnapshot) -> tuple[int, int]:
    return snapshot.balances or held_by_positions(snapshot)


def held_by_positions(snapshot: PoolSnapshot) -> tuple[int, int]:
    """What the positions of a pool amount to, without uncollected fees, rounded up.

    Above the price a range holds token0, below it token1 (whitepaper of V3, section 6.2).
    """
    held0 = held1 = liquidity = 0
    for (lower, _, net), (upper, _, _) in pairwise(snapshot.ticks):
        liquidity += net
        low, high = sqrt_ratio_at_tick(lower), sqrt_ratio_at_tick(upper)
        middle = min(max(snapshot.sqrt_price, low), high)
        held0 += amount0_up(middle, high, liquidity)
        held1 += amount1_up(low, middle, liquidity)
    return held0, held1


def implied_prices(snapshots: Sequence[PoolSnapshot]) -> dict[str, int]:
    """Dollar prices (millionths per whole token) that fit the pools, the usual ones elsewhere.

    The cheapest pool of a pair speaks for it; without a dollar pool WBTC follows WETH.
    """
    prices = dict(PRICES)
    for symbol, against in (("WETH", _DOLLARS), ("WBTC", (*_DOLLARS, "WETH"))):
        found = [each for each in snapshots if _pairs(each, symbol, against)]
        if found:
            dollar = [each for each in found if _pairs(each, symbol, _DOLLARS)] or found
            prices[symbol] = _price(min(dollar, key=lambda each: each.fee), symbol, prices)
    return prices


def _pairs(snapshot: PoolSnapshot, symbol: str, against: Sequence[str]) -> bool:
    return symbol in snapshot.symbols and any(each in against for each in snapshot.symbols)


def _price(snapshot: PoolSnapshot, symbol: str, prices: Mapping[str, int]) -> int:
    """Dollars per whole `symbol`, through the other token's price, rounded down."""
    book = BOOKS[ETHEREUM]
    first, second = snapshot.symbols
    squared, one = snapshot.sqrt_price**2, 1 << 192  # units of second per unit of first
    numerator, denominator = (squared, one) if symbol == first else (one, squared)
    other = second if symbol == first else first
    numerator *= prices[other] * 10 ** book.token(symbol).decimals
    return int(numerator // (denominator * 10 ** book.token(other).decimals))
