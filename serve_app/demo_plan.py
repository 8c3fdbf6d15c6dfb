"""What the demonstration asks for: funds for each of its strategies, and intents on both chains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

CHAINS: Final = (1, 42161)
DESK: Final = "demo-desk"
LIQUIDATION: Final = "demo-liquidation"
REBALANCE: Final = "demo-rebalance"
MOMENTUM: Final = "demo-momentum"
MOMENTUM_CHAIN: Final = 42161
MOMENTUM_BLOCKS: Final = 120
"""Blocks the momentum strategy trades for: half a minute at four blocks a second."""

FUNDS: Final[Mapping[str, Mapping[str, str]]] = {
    DESK: {"WETH": "12", "USDC": "40000"},
    LIQUIDATION: {"WBTC": "0.25"},
    REBALANCE: {"WETH": "7", "USDC": "9000"},
    MOMENTUM: {"WETH": "5", "USDC": "15000"},
}
"""Whole tokens each strategy starts with, on each chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One intent of the demonstration: its name in the table and its request."""

    name: str
    body: Mapping[str, Any]


def wanted(chain_id: int) -> tuple[Wanted, ...]:
    """Return the intents for one chain."""
    window = {"max_slippage": 0.01, "time_window_ms": 60_000}
    twap = {**window, "style": "twap", "schedule": {"slices": 4, "catch_up": "spread"}}
    bodies: dict[str, dict[str, Any]] = {
        "acquire": {
            "type": "ACQUIRE",
            "strategy_id": DESK,
            "sell": "USDC",
            "buy": "WETH",
            "amount": "1.5",
        },
        "dispose": {
            "type": "DISPOSE",
            "strategy_id": DESK,
            "sell": "WETH",
            "buy": "USDT",
            "amount": "2",
        },
        "twap": {
            "type": "DISPOSE",
            "strategy_id": DESK,
            "sell": "WETH",
            "buy": "USDC",
            "amount": "4.000000000000000003",
            "constraints": twap,
        },
        "liquidate": {
            "type": "LIQUIDATE",
            "strategy_id": LIQUIDATION,
            "sell": "WBTC",
            "buy": "USDC",
        },
        "rebalance": {
            "type": "REBALANCE",
            "strategy_id": REBALANCE,
            "targets": [{"asset": "WETH", "weight": 0.5}, {"asset": "USDC", "weight": 0.5}],
        },
    }
    return tuple(
        Wanted(name=name, body={"chain_id": chain_id, "constraints": window, "note": name} | body)
        for name, body in bodies.items()
    )


def momentum() -> Mapping[str, Any]:
    """Return the request that starts the momentum strategy."""
    return {
        "id": MOMENTUM,
        "source": "sep_ray.strategy.momentum:MomentumStrategy",
        "params": {"chain_id": MOMENTUM_CHAIN},
    }
