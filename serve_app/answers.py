"""What clients get. Every amount is a string of smallest units with its decimal form beside it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonValue

from serve_app.problems import ProblemAnswer

_ID: Final = "01990000-0000-7000-8000-000000000000"
_HASH: Final = f"0x{'ab' * 32}"
_WETH: Final = "eip155:1/erc20:0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"
_WETH_AMOUNT: Final[dict[str, JsonValue]] = {
    "asset": _WETH,
    "symbol": "WETH",
    "units": "500000000000000",
    "amount": "0.0005",
}
_USDC: Final = "eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"


class Answer(BaseModel):
    """What all answers share: fields are set, never added."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AmountAnswer(Answer):
    """An exact amount."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"asset": _USDC, "symbol": "USDC", "units": "1500000", "amount": "1.5"},
            ]
        }
    )

    asset: str = Field(description="CAIP-19")
    symbol: str | None
    units: str = Field(description="Smallest units")
    amount: str | None = Field(description="Whole tokens; null where the token is not known")


class SubmittedAnswer(Answer):
    """The intent is durable."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"verdict": "accepted", "id": _ID, "href": f"/v1/intents/{_ID}"}]
        }
    )

    verdict: Literal["accepted", "repeated"] = Field(
        description="repeated: the same idempotency key came before; nothing new was recorded"
    )
    id: str
    href: str


class VerdictAnswer(Answer):
    """What became of one intent of a batch."""

    index: int
    verdict: Literal["accepted", "repeated", "refused"]
    status: int = Field(description="What a single submission would have been answered with")
    id: str | None = None
    problem: ProblemAnswer | None = None


class BatchAnswer(Answer):
    """202 when all were accepted, 207 otherwise; each intent has its own verdict."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 1,
                    "repeated": 0,
                    "refused": 1,
                    "verdicts": [
                        {"index": 0, "verdict": "accepted", "status": 202, "id": _ID},
                        {
                            "index": 1,
                            "verdict": "refused",
                            "status": 422,
                            "problem": {
                                "type": "urn:sep:problem:unknown_asset",
                                "title": "The asset is not known",
                                "status": 422,
                                "code": "unknown_asset",
                                "detail": "intents[1].buy is not known",
                                "field": "intents[1].buy",
                                "allowed": "WETH, USDC, USDT, WBTC, DAI",
                                "instance": f"urn:uuid:{_ID}",
                            },
                        },
                    ],
                }
            ]
        }
    )

    accepted: int
    repeated: int
    refused: int
    verdicts: list[VerdictAnswer]


class TransactionAnswer(Answer):
    """One nonce's worth of trying."""

    id: str
    purpose: str
    state: str
    nonce: int
    tx_hashes: list[str] = Field(description="Every version signed, the newest last")
    block_number: int | None
    gas_used: int | None
    gas_cost_wei: str | None
    detail: str


class StepAnswer(Answer):
    """One swap, or one movement to another chain, that an intent was decomposed into."""

    id: str
    ordinal: int
    kind: str = Field(description="swap or bridge")
    chain_id: int
    after: list[str] = Field(description="The steps that fund it")
    state: str
    reason: str | None
    detail: str
    side: str
    asked: AmountAnswer
    quoted: AmountAnswer | None = Field(description="What the plan promised on the other side")
    sold: AmountAnswer
    bought: AmountAnswer
    slippage_bp: float | None = Field(description="Realised against quoted; positive is worse")
    due: int
    deadline: int
    tries: int
    transactions: list[TransactionAnswer]


class TargetAnswer(Answer):
    """A wanted share."""

    asset: str
    symbol: str | None
    weight: str
    pooled: list[str] = Field(description="The same token on other chains, counted together")


class ConstraintsAnswer(Answer):
    """The bounds as they were understood."""

    max_slippage: str
    time_window_ms: int
    limit_price: str | None = Field(description="The least tokens bought per token sold")
    max_gas: int | None
    max_fee_wei: str | None = Field(description="The most that gas may cost, wei per gas")
    venues: list[str]
    urgency: str
    style: str
    slices: int
    catch_up: str
    burst_cap: int


class IntentAnswer(Answer):
    """An intent and where it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "strategy_id": "treasury",
                    "type": "DISPOSE",
                    "chain_id": 1,
                    "state": "COMPLETED",
                    "final": True,
                    "reason": "filled",
                    "detail": "",
                    "wanted": "sell 1.5 USDC for WETH on chain 1",
                    "sell": _USDC,
                    "buy": _WETH,
                    "side": "sell",
                    "asked": {
                        "asset": _USDC,
                        "symbol": "USDC",
                        "units": "1500000",
                        "amount": "1.5",
                    },
                    "targets": [],
                    "tolerance": "0.005",
                    "constraints": {
                        "max_slippage": "0.005",
                        "time_window_ms": 600000,
                        "limit_price": "0.0003",
                        "max_gas": 300000,
                        "max_fee_wei": "50000000000",
                        "venues": [],
                        "urgency": "0.5",
                        "style": "immediate",
                        "slices": 1,
                        "catch_up": "spread",
                        "burst_cap": 2,
                    },
                    "note": "",
                    "principal": "alice",
                    "score": 3.2,
                    "score_source": "model",
                    "why": "loses 3.2 bp by waiting one block",
                    "sold": {
                        "asset": _USDC,
                        "symbol": "USDC",
                        "units": "1500000",
                        "amount": "1.5",
                    },
                    "bought": _WETH_AMOUNT,
                    "quoted": _WETH_AMOUNT,
                    "slippage_bp": 0.0,
                    "gas_used": 131204,
                    "tx_hashes": [_HASH],
                    "created_at": 1790000000000,
                    "updated_at": 1790000001200,
                    "deadline": 1790000600000,
                    "steps": [],
                }
            ]
        }
    )

    id: str
    strategy_id: str
    type: str
    chain_id: int
    state: str
    final: bool = Field(
        description="Nothing can change the end; until then a reorganisation may reopen the intent"
    )
    reason: str | None
    detail: str
    wanted: str = Field(description="The request in words")
    sell: str | None
    buy: str | None
    side: str
    asked: AmountAnswer | None
    targets: list[TargetAnswer]
    tolerance: str
    constraints: ConstraintsAnswer
    note: str
    principal: str
    score: float | None
    score_source: str
    why: str = Field(description="Why its turn came when it came")
    sold: AmountAnswer | None = Field(description="Null for REBALANCE: see the steps")
    bought: AmountAnswer | None
    quoted: AmountAnswer | None
    slippage_bp: float | None
    gas_used: int
    tx_hashes: list[str]
    created_at: int = Field(description="Milliseconds since 1970, as all instants here")
    updated_at: int
    deadline: int
    steps: list[StepAnswer] | None = Field(description="Null in lists")


class PageAnswer(Answer):
    """Intents, newest first; `next` goes on where this page ends."""

    intents: list[IntentAnswer]
    next: str | None = Field(description="A cursor for the same query, or null at the end")


class OpenAnswer(Answer):
    """How many open intents of a kind there are."""

    strategy_id: str
    chain_id: int = Field(description="The first of the chains they name")
    type: str
    state: str
    count: int


class SummaryAnswer(Answer):
    """Open intents, counted."""

    as_of_seq: int = Field(description="The newest event that is counted")
    behind: int = Field(description="Events since then that are not")
    open: list[OpenAnswer]


class CancelAnswer(Answer):
    """Nothing more begins; what is in flight is being settled."""

    id: str
    state: str
    href: str


class EventAnswer(Answer):
    """An event of the journal."""

    seq: int = Field(description="Its place in the order of all events")
    stream: str
    version: int
    type: str
    at: int
    correlation_id: str
    words: str = Field(description="What it means")
    data: dict[str, Any]


class WhyAnswer(Answer):
    """Everything that one request led to, in order, from the journal alone."""

    id: str
    wanted: str
    state: str
    reason: str | None
    events: list[EventAnswer]
    halted: list[str] = Field(default=[], description="What keeps it from being sent now")


class AssetHoldings(Answer):
    """One strategy's balances of one asset, by bucket; buckets that are empty are left out."""

    asset: str
    symbol: str | None
    decimals: int | None
    buckets: dict[str, AmountAnswer]


class StrategyHoldings(Answer):
    """What one strategy owns, and what it has spent, received and paid."""

    strategy_id: str
    assets: list[AssetHoldings]


class Mismatch(Answer):
    """A balance that the books and the chain do not agree on."""

    asset: str
    symbol: str | None
    ledger_units: str
    chain_units: str


class CheckAnswer(Answer):
    """The books against the chains, asset by asset (P8)."""

    assets: int = Field(description="Balances compared")
    mismatches: list[Mismatch]
    unread: list[str] = Field(description="Chains that could not be read, and why")


class PortfolioAnswer(Answer):
    """Where every unit is."""

    strategies: list[StrategyHoldings]
    totals: list[AmountAnswer] = Field(description="What is held, over all strategies")
    check: CheckAnswer | None = Field(description="With ?check=true")


class AllocationAnswer(Answer):
    """What was moved."""

    source: str
    target: str
    moved: AmountAnswer
    seq: int


class StrategyAnswer(Answer):
    """A registered strategy."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "momentum-1",
                    "source": "sep_ray.strategy.momentum:MomentumStrategy",
                    "params": {"chain_id": 1},
                    "state": "RUNNING",
                    "detail": "",
                    "created_at": 1790000000000,
                }
            ]
        }
    )

    id: str
    source: str
    params: dict[str, Any]
    state: str
    detail: str
    created_at: int


class StrategiesAnswer(Answer):
    """All of them, by id."""

    strategies: list[StrategyAnswer]


class AssetAnswer(Answer):
    """A token that may be named."""

    asset: str
    chain_id: int
    symbol: str
    decimals: int


class AssetsAnswer(Answer):
    """Every token that may be named."""

    assets: list[AssetAnswer]


class WhoAnswer(Answer):
    """What a token allows."""

    principal: str
    role: str
    strategies: list[str] | None
    expires_at: int
    submissions_per_minute: int


class ServiceAnswer(Answer):
    """How one service is."""

    state: Literal["ok", "down", "unknown"]
    detail: str = ""


class HealthAnswer(Answer):
    """200 while intents are accepted and carried out, 503 otherwise."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "state": "degraded",
                    "services": {
                        "postgres": {"state": "ok", "detail": ""},
                        "redis": {"state": "down", "detail": "ConnectionError"},
                        "chain/1": {"state": "ok", "detail": "block 21, 0.4 s old"},
                    },
                }
            ]
        }
    )

    state: Literal["ok", "degraded", "down"]
    services: dict[str, ServiceAnswer]
