"""Real pools replayed: what a quote was worth some blocks later."""

from __future__ import annotations

import sys
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workshop import data_dir

from sep_ray.kernel.units import PPM
from sep_ray.priority.volatility import HOUR, volatilities
from sep_ray.routing.cost import CostRow, default_volatility_ppm, ratio_ppm
from sep_ray.routing.pools.pool import Quote
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.pools.v3_math import sqrt_ratio_at_tick
from sep_ray.routing.reasons import NoRoute

TOKENS = ("0x" + "0" * 39 + "1", "0x" + "0" * 39 + "2")
MAX_DELAY = 100
GRID_BLOCKS = 25
"""The pool's volatility is measured on a grid of five minutes."""


@dataclass(frozen=True)
class Case:
    """A quote wanted at `block` on one side, executed `delay` blocks later."""

    block: int
    delay: int
    downwards: bool
    exact_out: bool
    share: float
    """Size over the virtual reserve of the token sold."""


class Replay:
    """WBTC/WETH 0.3 % from its birth to the merge: the pool at any block, by its last swap."""

    def __init__(self) -> None:
        folder = data_dir() / "onchain"
        prefix = "univ3_eth_wbtc_weth_3000"
        swaps = pd.read_parquet(folder / f"{prefix}_trade_history_premerge.parquet")
        swaps = swaps.groupby("block_number", sort=True)["tick"].last()
        changes = pd.read_parquet(folder / f"{prefix}_net_liquidity_premerge.parquet")
        self.blocks = swaps.index.to_numpy()
        self.ticks = swaps.to_numpy()
        self.changes = changes.sort_values("block_number", kind="stable")
        grid = np.arange(self.blocks[0], self.blocks[-1], GRID_BLOCKS)
        on_grid = self.ticks[np.searchsorted(self.blocks, grid, side="right") - 1]
        closes = [float(price) for price in 1.0001 ** (on_grid - on_grid[0])]
        self.grid = grid
        self.sigma_bp = [one.sigma_bp for one in volatilities(closes, GRID_BLOCKS * 12.0)]

    def volatility_ppm(self, block: int) -> int:
        """Return the forecast per block from closes up to `block`."""
        known = self.sigma_bp[bisect_right(self.grid, block) - 1]
        return round(known * 100 * (12.0 / HOUR) ** 0.5)

    def pools(self, wanted: list[int]) -> dict[int, V3Pool | None]:
        """Return the pool at each of the wanted blocks; None where the data do not fit."""
        nets: dict[int, int] = {}
        found: dict[int, V3Pool | None] = {}
        columns = ("block_number", "tick_lower", "tick_upper", "liquidity")
        changes = list(zip(*(self.changes[name].tolist() for name in columns), strict=True))
        at, tick_map = 0, TickMap(60)
        for block in sorted(set(wanted)):
            begin = at
            while at < len(changes) and changes[at][0] <= block:
                _, lower, upper, liquidity = changes[at]
                nets[lower] = nets.get(lower, 0) + int(liquidity)
                nets[upper] = nets.get(upper, 0) - int(liquidity)
                at += 1
            if at > begin:
                tick_map = TickMap(60, tuple(sorted((k, v) for k, v in nets.items() if v)))
            tick = int(self.ticks[bisect_right(self.blocks, block) - 1])
            found[block] = _pool(tick, tick_map)
        return found


def _pool(tick: int, tick_map: TickMap) -> V3Pool | None:
    liquidity = sum(net for where, net in tick_map.ticks if where <= tick)
    if liquidity <= 0:
        return None
    return V3Pool(
        address="0x" + "0" * 40,
        token0=TOKENS[0],
        token1=TOKENS[1],
        fee_ppm=3_000,
        sqrt_price=(sqrt_ratio_at_tick(tick) + sqrt_ratio_at_tick(tick + 1)) // 2,
        tick=tick,
        liquidity=liquidity,
        tick_map=tick_map,
    )


def draw_cases(rng: np.random.Generator, blocks: np.ndarray, count: int) -> list[Case]:
    """Return cases quoted in blocks that hold a swap: the moments when prices move."""
    shares = np.exp(rng.uniform(np.log(1e-7), np.log(3e-2), count))
    return [
        Case(
            block=int(block),
            delay=int(np.exp(rng.uniform(0, np.log(MAX_DELAY + 1)))),
            downwards=bool(rng.integers(2)),
            exact_out=bool(rng.random() < 0.3),
            share=float(share),
        )
        for block, share in zip(rng.choice(blocks, count), shares, strict=True)
    ]


def labelled(
    replay: Replay, cases: list[Case], rng: np.random.Generator
) -> tuple[list[CostRow], np.ndarray, np.ndarray]:
    """Return rows, adverse drift in ppm (negative: a gain) and blocks, for cases that quote.

    One case in five does not know the volatility and takes the platform's default.
    """
    pools = replay.pools([at for case in cases for at in (case.block, case.block + case.delay)])
    rows, drifts, blocks = [], [], []
    for case in cases:
        before, after = pools[case.block], pools[case.block + case.delay]
        if before is None or after is None:
            continue
        known = default_volatility_ppm(12_000)
        if rng.random() >= 0.2:
            known = replay.volatility_ppm(case.block)
        result = _one(case, before, after, known)
        if result is not None:
            rows.append(result[0])
            drifts.append(result[1])
            blocks.append(case.block)
    return rows, np.array(drifts), np.array(blocks)


def _one(
    case: Case, before: V3Pool, after: V3Pool, volatility_ppm: int
) -> tuple[CostRow, float] | None:
    sold, bought = TOKENS if case.downwards else TOKENS[::-1]
    size = int(before.depth(bought if case.exact_out else sold) * case.share)
    if case.exact_out:
        quote, later = before.exact_out(sold, size), after.exact_out(sold, size)
    else:
        quote, later = before.exact_in(sold, size), after.exact_in(sold, size)
    if isinstance(quote, NoRoute) or isinstance(later, NoRoute):
        return None
    if case.exact_out:
        drift = (later.amount_in - quote.amount_in) / quote.amount_in * PPM
    else:
        drift = (quote.amount_out - later.amount_out) / quote.amount_out * PPM
    return _row(case, before, sold, quote, volatility_ppm), drift


def _row(case: Case, pool: V3Pool, sold: str, quote: Quote, volatility_ppm: int) -> CostRow:
    price = pool.price() if sold == TOKENS[0] else pool.price()[::-1]
    ideal = quote.amount_in * price[0] * (PPM - pool.fee_ppm)
    behind = ideal - quote.amount_out * price[1] * PPM
    return CostRow(
        hops=1,
        v2_hops=0,
        v3_hops=1,
        ticks_crossed=quote.ticks_crossed,
        exact_out=int(case.exact_out),
        fee_ppm=pool.fee_ppm,
        impact_ppm=max(ratio_ppm(behind, ideal), 0),
        size_over_depth_ppm=ratio_ppm(quote.amount_in, pool.depth(sold)),
        gas_price_over_ewma_ppm=PPM,
        gas_price_over_base_ppm=2 * PPM,
        volatility_ppm=volatility_ppm,
        delay_blocks=case.delay,
        block_time_ms=12_000,
    )


def polygon_cases(
    rng: np.random.Generator, count: int
) -> tuple[list[CostRow], np.ndarray, np.ndarray]:
    """Return another pool's cases (USDC/WETH 0.05 %, Polygon): drift of the tick by the minute.

    Sizes are small, so that the drift of the price is the drift of the quote.
    """
    folder = data_dir() / "onchain" / "univ3_polygon_usdc_weth_500_minute"
    files = sorted(folder.glob("*.minute.csv"))
    bars = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    closes = bars["closeTick"].to_numpy()
    sigma = [one.sigma_bp for one in volatilities([1.0001 ** float(t) for t in closes], 60.0)]
    minutes = pd.to_datetime(bars["timestamp"]).to_numpy().astype("datetime64[m]").astype(int)
    rows, drifts, days = [], [], []
    for start in rng.integers(120, len(closes) - 10, count):
        steps = int(rng.choice((1, 2, 3)))
        if minutes[start + steps] - minutes[start] != steps:
            continue
        side = int(rng.choice((-1, 1)))
        drifts.append((1 - 1.0001 ** float(side * (closes[start + steps] - closes[start]))) * PPM)
        days.append(int(minutes[start]) // 1440)
        rows.append(
            CostRow(
                hops=1,
                v2_hops=0,
                v3_hops=1,
                ticks_crossed=0,
                exact_out=0,
                fee_ppm=500,
                impact_ppm=10,
                size_over_depth_ppm=10,
                gas_price_over_ewma_ppm=PPM,
                gas_price_over_base_ppm=2 * PPM,
                volatility_ppm=round(sigma[start] * 100 * (2.0 / HOUR) ** 0.5),
                delay_blocks=30 * steps,
                block_time_ms=2_000,
            )
        )
    return rows, np.array(drifts), np.array(days)
