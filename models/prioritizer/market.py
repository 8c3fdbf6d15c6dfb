"""Real price and gas paths, and random waiting intents laid over them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workshop import bars_5m, data_dir

from sep_ray.kernel.clock import Millis
from sep_ray.priority.features import PriorityRow
from sep_ray.priority.volatility import HOUR, Volatility, volatilities

SYMBOLS = ("ETH", "BTC", "ARB", "LINK", "MATIC", "OP", "SOL", "UNI")
HORIZON = 24
"""A wait is followed for this many bars at most."""
WARM_UP = 300


@dataclass(frozen=True)
class Market:
    """Bars of one pair. A decision at bar t sees closes up to t and executes at open t+1."""

    name: str
    bar_s: float
    times: np.ndarray
    opens: np.ndarray
    volatility: list[Volatility]
    last: int
    """The last bar with a full horizon after it."""


@dataclass(frozen=True)
class Gas:
    """Gas price per bar and its ratio to its slow average (half-life one day)."""

    price: np.ndarray
    ratio: np.ndarray


@dataclass
class Waiting:
    """One intent in a simulated queue; `start` is the bar of the set's first decision."""

    market: Market
    gas: Gas
    start: int
    gas_start: int
    side: int
    notional: float
    window_s: float
    left_s: float
    bound_bp: float
    gas_bp: float

    def row(self, turn: int, queue: float, number: int = 0) -> PriorityRow:
        """Return what is known `turn` bars after the start with `queue` seconds to wait."""
        now = self.start + turn
        left = self.left_s - turn * self.market.bar_s
        return PriorityRow(
            id=UUID(int=number),
            type="DISPOSE",
            deadline=Millis(int(left * 1000)),
            notional=self.notional,
            portfolio=1e7,
            left_s=left,
            window_s=self.window_s,
            wait_s=queue,
            max_slippage_bp=self.bound_bp,
            volatility=self.market.volatility[now],
            gas_cost=self.gas_bp * self.notional / 10_000,
            gas_ratio=float(self.gas.ratio[self.gas_start + turn]),
        )

    def losses_bp(self, turn: int, side: int, delays: np.ndarray) -> np.ndarray:
        """Return the loss of being served `delays` bars after `turn` instead of at `turn`.

        The adverse move, at most the slippage bound, and the bound itself past the deadline;
        plus what the change of the gas price adds (or saves) when it is served.
        """
        base = self.start + turn + 1
        opens = self.market.opens
        move = side * (opens[base + delays] / opens[base] - 1) * 10_000
        gas = self.gas.price[self.gas_start + turn + delays]
        gas_change = self.gas_bp * (gas / self.gas.price[self.gas_start + turn] - 1)
        loss = np.clip(move, 0, self.bound_bp) + gas_change
        late = (turn + delays) * self.market.bar_s > self.left_s
        return np.where(late & (delays > 0), self.bound_bp, loss)


def market(name: str, bars: pd.DataFrame, bar_s: float) -> Market:
    closes = [float(value) for value in bars["close"]]
    return Market(
        name=name,
        bar_s=bar_s,
        times=pd.to_datetime(bars["time"], utc=True).dt.tz_localize(None).to_numpy(),
        opens=bars["open"].to_numpy(dtype=float),
        volatility=volatilities(closes, bar_s),
        last=len(closes) - 2 * HORIZON - 2,
    )


def spot_markets() -> list[Market]:
    """Return the eight 5-minute spot markets of 2024."""
    frames = {name: bars_5m(name).rename(columns={"date": "time"}) for name in SYMBOLS}
    return [market(name, bars, 300.0) for name, bars in frames.items()]


def perpetual_1m() -> Market:
    """Return BTC by the minute, January 2022."""
    bars = pd.read_parquet(data_dir() / "prices" / "btc_perp_1m_2021-12-31_2022-02-01.parquet")
    return market("BTC 1m", bars.rename(columns={"timestamp": "time"}), 60.0)


def pool_1m() -> Market:
    """Return USDC/WETH of a pool on Polygon by the minute (2022 and 2023), from its ticks."""
    folder = data_dir() / "onchain" / "univ3_polygon_usdc_weth_500_minute"
    files = sorted(folder.glob("*.minute.csv"))
    bars = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    prices = {"open": 1.0001 ** -bars["openTick"], "close": 1.0001 ** -bars["closeTick"]}
    return market("pool 1m", bars.assign(time=pd.to_datetime(bars["timestamp"]), **prices), 60.0)


def gas_5m() -> Gas:
    """Return Ethereum's base fee of 2021 on a grid of five minutes."""
    name = "gas_eth_basefee_every15blocks_2021-08-05_to_11-30.parquet"
    fees = pd.read_parquet(data_dir() / "onchain" / name)
    seconds = (fees["block"] - fees["block"].iloc[0]).to_numpy() * 13.3
    grid = np.arange(0, seconds[-1], 300.0)
    return _gas(np.interp(grid, seconds, fees["base_fee_gwei"].to_numpy()), 300.0)


def gas_1m() -> Gas:
    """Return Polygon's gas price by the minute."""
    fees = pd.read_csv(data_dir() / "onchain" / "gas_polygon_minute_2023-08-14_17.csv")
    return _gas(fees["gas_price"].to_numpy(dtype=float), 60.0)


def _gas(price: np.ndarray, bar_s: float) -> Gas:
    slow = pd.Series(price).ewm(halflife=86_400 / bar_s).mean().to_numpy()
    return Gas(price=price, ratio=price / slow)


def draw(rng: np.random.Generator, where: Market, gas: Gas, start: int, gas_start: int) -> Waiting:
    """Return a random intent waiting at `start`: sizes, windows and bounds log-uniform."""
    window = float(np.exp(rng.uniform(np.log(where.bar_s), np.log(HOUR))))
    return Waiting(
        market=where,
        gas=gas,
        start=start,
        gas_start=gas_start,
        side=int(rng.choice((-1, 1))),
        notional=float(np.exp(rng.uniform(np.log(1e2), np.log(1e6)))),
        window_s=window,
        left_s=window * float(rng.uniform(0.02, 1.0)),
        bound_bp=float(np.exp(rng.uniform(np.log(10), np.log(1000)))),
        gas_bp=float(np.exp(rng.uniform(np.log(0.01), np.log(100)))),
    )
