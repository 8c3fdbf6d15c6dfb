"""What clients send. Amounts are decimal strings or integer units, never floats of money."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sep_ray.intent.intent import (
    MAX_NOTE,
    MAX_SLICES,
    MAX_SLIPPAGE,
    MAX_WINDOW_MS,
    MIN_SLIPPAGE,
    MIN_WINDOW_MS,
    CatchUp,
    Constraints,
    Schedule,
    Style,
)
from sep_ray.kernel.units import MAX_UINT256, PPM
from sep_ray.portfolio.ledger import TREASURY

MAX_BATCH: Final = 1_000
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$"
NAME_IN_WORDS: Final = "1..64 letters, digits and _ . : -, a letter or digit first"
MAX_CODE: Final = 200_000
_USUAL: Final = Constraints()
_SCHEDULE: Final = Schedule()


def _share(ppm: int) -> Decimal:
    return Decimal(ppm) / PPM


def _digits(value: object) -> object:
    """Let integers beyond a client's number type come as text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


Units = Annotated[
    int,
    BeforeValidator(_digits, json_schema_input_type=int | str),
    Field(ge=1, le=MAX_UINT256, description="Smallest units; large ones may come as a string"),
]
Bound = Annotated[
    int,
    BeforeValidator(_digits, json_schema_input_type=int | str),
    Field(ge=0, le=MAX_UINT256, description="Smallest units; large ones may come as a string"),
]
DecimalText = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{1,78}(\.[0-9]{1,40})?$",
        description="A decimal string in whole tokens",
        json_schema_extra={"allowed": 'a positive decimal string such as "1.5"'},
    ),
]
PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""A note is printed on operators' terminals: nothing that steers one may stand in it."""
Text = Annotated[str, Field(min_length=1, max_length=120, pattern=PRINTABLE)]
StrategyName = Annotated[
    str,
    Field(
        pattern=NAME,
        json_schema_extra={"allowed": NAME_IN_WORDS},
    ),
]


BridgeName = Literal["across", "arbitrum", "cctp", "hyperlane"]


class Body(BaseModel):
    """Strict: no field that is not known, no type that has to be guessed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ScheduleBody(Body):
    """Equal parts over the window, and what becomes of those missed while nobody was there."""

    slices: Annotated[int, Field(ge=2, le=MAX_SLICES)]
    catch_up: Literal["skip", "spread", "burst"] = _SCHEDULE.catch_up.value
    burst_cap: Annotated[int, Field(ge=1, le=MAX_SLICES)] = _SCHEDULE.burst_cap


class ConstraintsBody(Body):
    """Bounds that hold for every transaction the intent leads to."""

    max_slippage: Annotated[
        Decimal,
        Field(
            ge=_share(MIN_SLIPPAGE),
            le=_share(MAX_SLIPPAGE),
            decimal_places=6,
            description="A fraction: 0.005 is half a per cent",
        ),
    ] = _share(_USUAL.max_slippage)
    time_window_ms: Annotated[int, Field(ge=MIN_WINDOW_MS, le=MAX_WINDOW_MS)] = (
        _USUAL.time_window_ms
    )
    limit_price: DecimalText | None = Field(
        None, description="The least tokens bought per token sold, both whole"
    )
    max_gas: Annotated[int, Field(ge=21_000, le=30_000_000)] | None = None
    max_fee_wei: Annotated[int, Field(ge=1, le=10**15)] | None = Field(
        None, description="The most that gas may cost, wei per gas"
    )
    bridges: list[BridgeName] = Field(
        default_factory=list, max_length=20, description="Allowed bridges; none named means all"
    )
    bridge_by: Literal["best", "cheapest", "fastest", "safest"] = _USUAL.bridge_by.value
    bridge_ms: Annotated[int, Field(ge=1_000, le=31 * 24 * 3_600_000)] = Field(
        _USUAL.bridge_ms, description="How long a bridge may take, at its 95th percentile"
    )
    venues: list[Literal["uniswap-v2", "uniswap-v3"]] = Field(
        default_factory=list, max_length=20, description="Allowed venues; none named means all"
    )
    urgency: Annotated[Decimal, Field(ge=0, le=1, decimal_places=6)] = _share(_USUAL.urgency)
    style: Literal["immediate", "twap", "adaptive"] = _USUAL.style.value
    schedule: ScheduleBody | None = Field(None, description="With style twap only")


_UNSAID: Final = ConstraintsBody()
"""Shared by all bodies that say nothing: making one anew costs more than reading a body."""


class TargetBody(Body):
    """A wanted share of the value that is rebalanced; all shares add up to 1.

    `chain_id` says where, if not where the intent says. With `chains` the share is that of the
    token on all those chains together.
    """

    asset: Text
    chain_id: Annotated[int, Field(ge=1)] | None = None
    chains: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list, max_length=20)
    weight: Annotated[Decimal, Field(ge=0, le=1, decimal_places=6)]


class IntentBody(Body):
    """What is wanted.

    ACQUIRE and DISPOSE trade `sell` for `buy`; the amount is of the asset that `side` names: by
    default what is acquired, or what is disposed of. LIQUIDATE sells all of `sell`. REBALANCE
    brings the strategy's holdings of the targets' assets, on however many chains, to their weights.
    BRIDGE moves an amount of `sell` to the same token (or to `buy`) on `to_chain_id`. Assets are
    CAIP-19 texts, or symbols together with `chain_id`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "ACQUIRE",
                    "chain_id": 1,
                    "sell": "USDC",
                    "buy": "WETH",
                    "amount": "1.5",
                    "constraints": {"max_slippage": "0.005", "time_window_ms": 600_000},
                },
                {
                    "strategy_id": "treasury",
                    "type": "DISPOSE",
                    "sell": "eip155:1/erc20:0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2",
                    "buy": "eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
                    "units": "2000000000000000000",
                    "constraints": {
                        "limit_price": "2900.5",
                        "style": "twap",
                        "schedule": {"slices": 4, "catch_up": "spread"},
                    },
                },
                {"type": "LIQUIDATE", "chain_id": 42161, "sell": "WBTC", "buy": "USDC"},
                {
                    "type": "REBALANCE",
                    "chain_id": 1,
                    "targets": [
                        {"asset": "WETH", "weight": "0.5"},
                        {"asset": "USDC", "weight": "0.5"},
                    ],
                    "tolerance": "0.01",
                },
                {
                    "type": "REBALANCE",
                    "chain_id": 1,
                    "targets": [
                        {"asset": "WETH", "weight": "0.5", "chains": [1, 42161]},
                        {"asset": "USDC", "weight": "0.25"},
                        {"asset": "USDC", "weight": "0.25", "chain_id": 42161},
                    ],
                },
                {
                    "type": "BRIDGE",
                    "chain_id": 1,
                    "to_chain_id": 42161,
                    "sell": "USDC",
                    "amount": "1000",
                    "constraints": {"bridge_by": "fastest"},
                },
            ]
        }
    )

    strategy_id: StrategyName = TREASURY
    type: Literal["ACQUIRE", "DISPOSE", "REBALANCE", "LIQUIDATE", "BRIDGE"]
    chain_id: Annotated[int, Field(ge=1)] | None = None
    to_chain_id: Annotated[int, Field(ge=1)] | None = None
    sell: Text | None = None
    buy: Text | None = None
    amount: DecimalText | None = None
    units: Units | None = None
    side: Literal["sell", "buy"] | None = None
    targets: list[TargetBody] = Field(default_factory=list, max_length=20)
    tolerance: Annotated[Decimal, Field(ge=0, le=Decimal("0.5"), decimal_places=6)] = Decimal(
        "0.005"
    )
    constraints: ConstraintsBody = Field(default_factory=lambda: _UNSAID)
    note: Annotated[str, Field(max_length=MAX_NOTE, pattern=PRINTABLE)] = Field(
        "", description="Why, in your own words; kept with the intent"
    )


class BatchBody(Body):
    """Up to 1,000 intents; each gets its own verdict."""

    intents: Annotated[list[IntentBody], Field(min_length=1, max_length=MAX_BATCH)]


class AllocationBody(Body):
    """Move available units from one strategy to another."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "chain_id": 1,
                    "asset": "USDC",
                    "amount": "10000",
                    "source": "treasury",
                    "target": "momentum-1",
                }
            ]
        }
    )

    chain_id: Annotated[int, Field(ge=1)] | None = None
    asset: Text
    amount: DecimalText | None = None
    units: Units | None = None
    source: StrategyName = TREASURY
    target: StrategyName


class ReleaseBody(Body):
    """Why a person lets something go on; kept in the journal with their name."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"why": "the target is not paused any more"}]}
    )

    why: Annotated[str, Field(min_length=1, max_length=MAX_NOTE, pattern=PRINTABLE)]


class StrategyBody(Body):
    """Start a strategy: one the platform brings ("momentum", "package.module:Class"), or a file
    whose text is sent along ("file.py:Class" with `code`). Its code runs on the platform."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "momentum-1", "source": "momentum", "params": {}}],
        }
    )

    id: StrategyName
    source: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_./-]{1,200}(:[A-Za-z_][A-Za-z0-9_]{0,100})?$",
            json_schema_extra={
                "allowed": 'a built-in name, "package.module:Class" or "file.py:Class"'
            },
        ),
    ]
    code: Annotated[str, Field(max_length=MAX_CODE)] = ""
    params: dict[str, Any] = Field(default_factory=dict)


STYLES: Final = {style.value: style for style in Style}
CATCH_UPS: Final = {rule.value: rule for rule in CatchUp}
