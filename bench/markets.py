"""Seeded markets to route on: tokens around a few hubs, pools of three kinds, prices that agree
up to what fees allow. The same seed gives the same market, to the unit."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final

from sep_ray.kernel.units import Asset, ChainId, Token
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v2 import V2Pool
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.pools.v3_math import Q96, tick_at_sqrt_ratio
from sep_ray.routing.pools.v4 import V4Pool
from sep_ray.routing.snapshot import Snapshot

CHAIN: Final = ChainId(1)
HUBS: Final = (("WETH", 18, 3_000.0), ("USDC", 6, 1.0), ("USDT", 6, 1.0), ("WBTC", 8, 60_000.0))
TIERS: Final = ((100, 1), (500, 10), (3_000, 60), (10_000, 200))
TICKS: Final = 24
"""Positions of a concentrated pool."""
NOISE: Final = 0.2
"""Standard deviation of a pool's price around the fair one, in parts of its fee."""


def market(pools: int, seed: int = 0) -> Snapshot:
    """Return a market of so many pools; half of them join two hubs, the others reach outwards."""
    chance = random.Random(f"{pools}/{seed}")
    tokens, prices = _tokens(chance, max(8, pools // 8))
    found = tuple(_pools(chance, tokens, prices, pools))
    return Snapshot(
        chain_id=CHAIN,
        block_number=1,
        block_hash="0x" + "00" * 32,
        block_time_s=1,
        base_fee_wei=10**10,
        pools=found,
        tokens=tokens,
        wrapped_native=tokens[0].asset.address,
    )


def _tokens(chance: random.Random, count: int) -> tuple[tuple[Token, ...], dict[str, float]]:
    """Return tokens and what one of their smallest units is worth in dollars."""
    tokens, prices = [], {}
    for number in range(count):
        symbol, decimals, price = f"T{number}", 18, math.exp(chance.uniform(-5, 5))
        if number < len(HUBS):
            symbol, decimals, price = HUBS[number]
        address = f"0x{chance.getrandbits(160):040x}"
        tokens.append(Token(Asset(CHAIN, address), symbol, decimals))
        prices[address] = price / 10**decimals
    return tuple(tokens), prices


def _pools(
    chance: random.Random, tokens: tuple[Token, ...], prices: dict[str, float], count: int
) -> Iterator[Pool]:
    names = [token.asset.address for token in tokens]
    hubs = names[: len(HUBS)]
    for number in range(count):
        one = hubs[number % len(hubs)]
        inside = number < 2 * len(hubs) or number % 4 == 0
        other = chance.choice([name for name in (hubs if inside else names) if name != one])
        token0, token1 = sorted((one, other))
        fee, spacing = chance.choice(TIERS)
        kind = chance.choice(("v2", "v3", "v3", "v4"))
        fee = 3_000 if kind == "v2" else fee
        fair = prices[token0] / prices[token1] * math.exp(chance.gauss(0, NOISE * fee / 1e6))
        dollars = math.exp(chance.gauss(16.0 if inside else 13.5, 1.2))
        address = f"0x{chance.getrandbits(160):040x}"
        if kind == "v2":
            yield _pair(address, token0, token1, fair, dollars / prices[token0] / 2)
        else:
            form = V4Pool if kind == "v4" else V3Pool
            depth = dollars * chance.uniform(3, 30) / prices[token0] / 2
            yield _ticked(form, chance, address, token0, token1, fair, depth, fee, spacing)


def _pair(address: str, token0: str, token1: str, fair: float, reserve: float) -> V2Pool:
    return V2Pool(
        address=address,
        token0=token0,
        token1=token1,
        reserve0=int(reserve) + 1_000,
        reserve1=int(reserve * fair) + 1_000,
    )


def _ticked(
    form: type[V3Pool],
    chance: random.Random,
    address: str,
    token0: str,
    token1: str,
    fair: float,
    reserve: float,
    fee: int,
    spacing: int,
) -> V3Pool:
    """Build a pool of TICKS nested and shifted positions with `reserve` of token0 in virtual."""
    price = int(math.sqrt(fair) * Q96)
    tick = tick_at_sqrt_ratio(price)
    total = int(reserve * math.sqrt(fair)) + 1_000
    net: dict[int, int] = {}
    active = 0
    for _ in range(TICKS):
        width = max(2, int(math.exp(chance.uniform(1, 4)) * 60 / spacing))
        centre = tick // spacing + chance.randint(-width, width)
        share = total * chance.randint(50, 200) // (100 * TICKS) + 1
        lower, upper = (centre - width) * spacing, (centre + width) * spacing
        net[lower] = net.get(lower, 0) + share
        net[upper] = net.get(upper, 0) - share
        active += share if lower <= tick < upper else 0
    return form(
        address=address,
        token0=token0,
        token1=token1,
        fee_ppm=fee,
        sqrt_price=price,
        tick=tick,
        liquidity=active,
        tick_map=TickMap(spacing, tuple(sorted(net.items()))),
    )
