"""Real base fees replayed: how many blocks a transaction with a given gas price waits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workshop import data_dir

from sep_ray.kernel.units import PPM
from sep_ray.routing.cost import CostRow, ratio_ppm

MAX_BLOCKS = 100
"""Waits are cut here."""
STEP = 15
"""The series has every 15th block; fees in between are interpolated."""
STEPS_AHEAD = MAX_BLOCKS // STEP + 2


def base_fees() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return blocks, base fees in gwei, and their slow average (half-life one day)."""
    name = "gas_eth_basefee_every15blocks_2021-08-05_to_11-30.parquet"
    fees = pd.read_parquet(data_dir() / "onchain" / name)
    slow = fees["base_fee_gwei"].ewm(halflife=86_400 / (STEP * 13.3)).mean()
    return fees["block"].to_numpy(), fees["base_fee_gwei"].to_numpy(), slow.to_numpy()


def inclusion_cases(
    rng: np.random.Generator, span: tuple[float, float], count: int
) -> tuple[list[CostRow], np.ndarray, np.ndarray]:
    """Return rows, blocks waited (1..100) and the block, from a part (0..1) of the series.

    The gas price is half to twice the base fee of the block it is chosen in.
    """
    blocks, fees, slow = base_fees()
    first, last = (int(len(blocks) * part) for part in span)
    starts = rng.integers(first + 500, last - STEPS_AHEAD, count)
    times = np.exp(rng.uniform(np.log(0.5), np.log(2.0), count))
    rows = [
        _row(float(times[case]), float(times[case] * fees[at] / slow[at]))
        for case, at in enumerate(starts)
    ]
    waits = np.array(
        [
            _wait(fees[at : at + STEPS_AHEAD] / fees[at], times[case])
            for case, at in enumerate(starts)
        ]
    )
    return rows, waits, blocks[starts]


def _wait(path: np.ndarray, price: float) -> int:
    """Count blocks until the interpolated base fee (in multiples of the first) meets the price."""
    ahead = np.arange(1, MAX_BLOCKS + 1)
    met = np.interp(ahead, np.arange(len(path)) * STEP, path) <= price
    return int(ahead[np.argmax(met)]) if met.any() else MAX_BLOCKS


def _row(over_base: float, over_slow: float) -> CostRow:
    return CostRow(
        hops=1,
        v2_hops=0,
        v3_hops=1,
        ticks_crossed=0,
        exact_out=0,
        fee_ppm=3_000,
        impact_ppm=0,
        size_over_depth_ppm=0,
        gas_price_over_ewma_ppm=ratio_ppm(round(over_slow * PPM), PPM),
        gas_price_over_base_ppm=ratio_ppm(round(over_base * PPM), PPM),
        volatility_ppm=400,
        delay_blocks=1,
        block_time_ms=12_000,
    )
