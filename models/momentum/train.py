"""Train the momentum signal (direction and size of a move): python models/momentum/train.py"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from workshop import (
    SEED,
    Column,
    Output,
    bars_5m,
    block_interval,
    data_dir,
    fit,
    publish,
    table,
    worthwhile,
)

from sep_ray.strategy.signals import (
    FEATURES,
    HORIZON,
    MAX_SIGMA_BP,
    WARM_UP,
    fallback,
    features,
)

SYMBOLS = ("ETH", "BTC", "ARB", "LINK", "MATIC", "OP", "SOL", "UNI")
TRAIN_UNTIL, TEST_FROM = np.datetime64("2024-06-01"), np.datetime64("2024-06-02")
STEP = 6
"""Every sixth bar is a case, so that the moves predicted do not overlap."""
SIGMA = FEATURES.index("sigma_horizon_bp")
FACTOR = (0.2, 3.0)
MAX_SIZE_BP = 10_000.0


@dataclass(frozen=True)
class Cases:
    """Rows, the move from the next bar's open over HORIZON bars in bp, and the day of each."""

    rows: np.ndarray
    moves: np.ndarray
    days: np.ndarray

    def between(self, low: np.datetime64 | None, high: np.datetime64 | None) -> Cases:
        keep = np.ones(len(self.rows), bool)
        if low is not None:
            keep &= self.days >= low
        if high is not None:
            keep &= self.days < high - np.timedelta64(1, "D")
        return Cases(self.rows[keep], self.moves[keep], self.days[keep])


def cases(bars: pd.DataFrame, time: str) -> Cases:
    """Return a case at every STEP-th bar; entry is the next bar's open, exit HORIZON bars on."""
    closes = [float(value) for value in bars["close"]]
    opens = np.log(bars["open"].to_numpy(dtype=float)) * 10_000
    at = np.arange(WARM_UP, len(closes) - HORIZON - 1, STEP)
    rows = np.array([features(closes[i + 1 - WARM_UP : i + 1]) for i in at], np.float32)
    days = pd.to_datetime(bars[time], utc=True).dt.tz_localize(None).to_numpy()
    return Cases(
        rows=rows,
        moves=opens[at + 1 + HORIZON] - opens[at + 1],
        days=days[at].astype("datetime64[D]"),
    )


def together(parts: list[Cases]) -> Cases:
    return Cases(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0]))
    )


def train(known: Cases) -> list[Column]:
    up = np.sign(known.moves)
    scale_free = known.rows.copy()
    scale_free[:, SIGMA] = 0  # how volatile a market is in bp must not tell markets apart
    direction = fit(scale_free, up, rounds=60, num_leaves=7, min_data_in_leaf=2_000)
    scale = np.maximum(known.rows[:, SIGMA].astype(float), 0.1)
    size = fit(scale_free, np.clip(np.abs(known.moves) / scale, 0, 8), rounds=100, weight=scale)
    return [
        Column(-1.0, 1.0, booster=direction),
        Column(*FACTOR, booster=size, times=("sigma_horizon_bp",)),
    ]


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(pd.Series(one).rank().corr(pd.Series(other).rank()))


def judge_direction(test: Cases, columns: list[Column]) -> tuple[str, bool]:
    """Return the card's table; the model is worth it if it beats knowing nothing."""
    up = np.sign(test.moves)
    ways = {
        "nothing (zero)": np.zeros(len(up)),
        "momentum rule (fallback)": np.array(fallback(test.rows.tolist()))[:, 0],
        "model": columns[0].answer(test.rows, FEATURES),
    }
    errors = {name: (way - up) ** 2 for name, way in ways.items()}
    body: list[list[object]] = []
    for name, way in ways.items():
        gained, low, high = block_interval(np.sign(way) * test.moves, test.days)
        bold = np.abs(way) >= np.quantile(np.abs(way), 0.9)
        hits = f"{100 * (np.sign(way) == up)[way != 0].mean():.1f} %" if way.any() else "-"
        strong = (np.sign(way) * test.moves)[bold].mean() if way.any() else 0.0
        interval = f"{gained:.2f} ({low:.2f} to {high:.2f})"
        body.append(
            [
                name,
                errors[name].mean(),
                hits,
                rank_correlation(way, test.moves) if way.any() else 0.0,
                interval,
                strong,
            ]
        )
    saved, low, high = block_interval(errors["nothing (zero)"] - errors["model"], test.days)
    head = [
        "predictor",
        "squared error",
        "hits",
        "rank correlation",
        "bp per trade (95 %)",
        "bp per trade, boldest tenth",
    ]
    text = (
        f"{table(head, body)}\n\nSquared error saved against knowing nothing: {saved:.5f}, "
        f"95 % interval {low:.5f} to {high:.5f}."
    )
    return text, worthwhile(low, errors["nothing (zero)"].mean())


def judge_size(test: Cases, columns: list[Column], mean_size: float) -> tuple[str, bool]:
    size = np.abs(test.moves)
    ways = {
        "one mean for all": np.full(len(size), mean_size),
        "sigma formula (fallback)": np.array(fallback(test.rows.tolist()))[:, 1],
        "model": columns[1].answer(test.rows, FEATURES),
    }
    errors = {name: (way - size) ** 2 for name, way in ways.items()}
    body: list[list[object]] = [
        [
            name,
            errors[name].mean() ** 0.5,
            (way - size).mean(),
            rank_correlation(way, size) if np.ptp(way) > 0 else 0.0,
        ]
        for name, way in ways.items()
    ]
    formula = "sigma formula (fallback)"
    saved, low, high = block_interval(errors[formula] - errors["model"], test.days)
    text = (
        f"{table(['predictor', 'root mean square error bp', 'bias bp', 'rank correlation'], body)}"
        f"\n\nSquared error saved against the formula: {saved:.1f} bp^2, 95 % interval {low:.1f} "
        f"to {high:.1f}."
    )
    return text, worthwhile(low, errors[formula].mean())


def main() -> None:
    rng = np.random.default_rng(SEED)
    spot = [cases(bars_5m(symbol), "date") for symbol in SYMBOLS]
    known = together([part.between(None, TRAIN_UNTIL) for part in spot])
    test = together([part.between(TEST_FROM, None) for part in spot])
    columns = train(known)
    hourly = pd.read_parquet(
        data_dir() / "prices" / "derived_ETHUSD_1h_2021-05_2022-09.parquet"
    ).reset_index()
    prices = hourly["eth_usd_derived"]
    other = cases(hourly.assign(open=prices.shift(1).fillna(prices), close=prices), "ts")
    direction, direction_better = judge_direction(test, columns)
    size, size_better = judge_size(test, columns, float(np.abs(known.moves).mean()))
    other_direction, _ = judge_direction(other, columns)
    other_size, _ = judge_size(other, columns, float(np.abs(known.moves).mean()))
    print(direction, size, other_direction, other_size, sep="\n\n")
    outputs = [
        Output("direction", -1.0, 1.0, direction_better),
        Output("size_bp", 0.0, MAX_SIZE_BP, size_better),
    ]
    publish(
        Path(__file__).parent,
        version="1.0.0",
        columns=columns,
        features=FEATURES,
        outputs=outputs,
        sample=test.rows[rng.permutation(len(test.rows))[:2_000]],
        card=CARD.format(
            verdicts="\n".join(
                f"| {output.name} | {'yes' if output.decides else 'no'} | "
                f"{'yes' if output.decides else 'no (it runs in shadow)'} |"
                for output in outputs
            ),
            count=f"{len(known.rows):,}",
            tests=f"{len(test.rows):,}",
            direction=direction,
            size=size,
            other_direction=other_direction,
            other_size=other_size,
            sigma=f"{MAX_SIGMA_BP:,.0f}",
        ),
    )


CARD = """# Momentum signal

For a strategy's own use, in its own process: the direction (-1 to 1) of the next six bars and
their mean absolute move in bp.

| output | materially better than knowing less (1 %, for certain) | switched on |
|---|---|---|
{verdicts}

**Direction is not predictable from these features, and the model does not pretend otherwise.** It
is trained, measured and run in shadow; the strategy's rule (go with the last dozen bars) decides,
which the tables below show to earn nothing before costs either. Size is predictable, from past
volatility.

- Kind: direction, 60 gradient-boosted trees of 7 leaves on the sign of the move; size, 100 trees
  of 15 leaves that learn a multiple, kept within 0.2 to 3, of sigma times the square root of the
  horizon (LightGBM). The trees do not read sigma itself.
- Input: `sep_ray/strategy/signals.py`, from the last 289 closes; the same code live, in backtests
  and here.
- Fallback: `fallback` of the same file. Bounds for both: -1 to 1, and 0 to 10,000 bp (sigma is cut
  at {sigma} bp).

## Data

{count} cases to train and {tests} to test: 5-minute bars of ETH, BTC, ARB, LINK, MATIC, OP, SOL
and UNI, January to 31 May and 2 June to September 2024, every sixth bar, so that the predicted
moves do not overlap. Entry is the next bar's open, exit six bars later; no costs are taken off
(fees alone are 5 to 30 bp each way). Intervals resample days over all pairs at once.

## Held-out results

### Direction

{direction}

### Size

{size}

### Another market, another bar: hourly ETH/USD of 2021 and 2022

{other_direction}

{other_size}

A first version's trees read sigma in bp and was worse than the formula there; without it the
difference is within noise. That table is therefore a check, not a blind test.

## Limits

- Eight pairs that move together: there are fewer independent cases than the count says.
- No order flow, no funding, no news. Whoever needs direction needs other features.
"""


if __name__ == "__main__":
    main()
