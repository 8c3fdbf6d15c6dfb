"""The recorded mainnet pools of the data folder as a market; None where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bench.markets import CHAIN
from sep_ray.kernel.units import Asset, Token
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v2 import V2Pool
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.pools.v3_math import tick_at_sqrt_ratio
from sep_ray.routing.snapshot import Snapshot

FILE: Final = (
    Path(__file__).resolve().parents[2]
    / "shared/data/onchain/mainnet_pools_19_serialized_state.json"
)
FEES: Final = {"Lowest": 100, "Low": 500, "Medium": 3_000, "High": 10_000}
FIRST: Final = ("WETH", "USDC", "USDT", "WBTC", "LINK", "cbBTC")
"""Tokens that are traded with one another, and so come first."""


def real_market(file: Path = FILE) -> Snapshot | None:
    """Return the recorded pools of both kinds as one market."""
    if not file.is_file():
        return None
    entries: list[dict[str, Any]] = json.loads(file.read_text())
    tokens: dict[str, Token] = {}
    for entry in entries:
        for token in entry["tokens"]:
            asset = Asset(CHAIN, token["address"].lower())
            tokens[asset.address] = Token(asset, token["symbol"], token["decimals"])
    order = sorted(
        tokens.values(),
        key=lambda token: FIRST.index(token.symbol) if token.symbol in FIRST else len(FIRST),
    )
    return Snapshot(
        chain_id=CHAIN,
        block_number=1,
        block_hash="",
        block_time_s=1,
        base_fee_wei=10**9,
        pools=tuple(_pool(entry, place) for place, entry in enumerate(entries)),
        tokens=tuple(order),
    )


def _pool(entry: dict[str, Any], place: int) -> Pool:
    token0, token1 = sorted(token["address"].lower() for token in entry["tokens"])
    state, address = entry["state"]["state"], f"0x{place + 1:040x}"
    if entry["state"]["protocol"] == "UniswapV2State":
        return V2Pool(
            address=address,
            token0=token0,
            token1=token1,
            reserve0=int(state["reserve0"], 16),
            reserve1=int(state["reserve1"], 16),
        )
    price = int(state["sqrt_price"], 16)
    ticks = tuple((each["index"], each["net_liquidity"]) for each in state["ticks"]["ticks"])
    return V3Pool(
        address=address,
        token0=token0,
        token1=token1,
        fee_ppm=FEES[state["fee"]],
        sqrt_price=price,
        tick=tick_at_sqrt_ratio(price),
        liquidity=state["liquidity"],
        tick_map=TickMap(state["ticks"]["tick_spacing"], ticks),
    )
