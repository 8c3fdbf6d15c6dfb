"""A request's body turned into a checked intent; nothing else builds intents from the outside."""

from __future__ import annotations

from math import gcd
from typing import Final
from uuid import UUID

from sep_ray.intent.intent import (
    BridgeBy,
    Constraints,
    Intent,
    IntentType,
    InvalidIntent,
    Limit,
    Schedule,
    Side,
    Style,
    Target,
    checked,
)
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import MAX_UINT256, ChainId, Ppm, Token
from serve_app.assets import AssetBook, ppm, units_of
from serve_app.problems import Problem
from serve_app.schemas import CATCH_UPS, STYLES, ConstraintsBody, IntentBody, TargetBody

_NATURAL_SIDE: Final = {IntentType.ACQUIRE: Side.BUY}
"""What an amount means where `side` is not given; otherwise what is sold."""
_OF_TRADES: Final = ("sell", "buy", "amount", "units", "side")


def to_intent(body: IntentBody, book: AssetBook, intent_id: UUID, at: Millis) -> Intent:
    """Return the intent a body describes, or raise a 422 Problem naming the field."""
    if body.chain_id is not None:
        book.require_chain(body.chain_id)
    try:
        if body.type == IntentType.REBALANCE.value:
            return checked(_rebalance(body, book, intent_id, at))
        return checked(_trade(body, book, intent_id, at))
    except InvalidIntent as error:
        facts = error.facts
        raise Problem.of_field(facts["field"], error.message, facts["allowed"]) from None


def _trade(body: IntentBody, book: AssetBook, intent_id: UUID, at: Millis) -> Intent:
    kind = IntentType(body.type)
    if body.targets:
        raise Problem.of_field("targets", "belongs to REBALANCE", "none")
    sell = _required(body.sell, body.chain_id, "sell", book)
    buy = _bought(body, sell, book)
    side = Side(body.side) if body.side else _NATURAL_SIDE.get(kind, Side.SELL)
    amount: int | None = None
    if kind is not IntentType.LIQUIDATE:
        amount = units_of(sell if side is Side.SELL else buy, body)
    elif body.amount is not None or body.units is not None or body.side is not None:
        raise Problem.of_field("amount", "must be absent", "none: all is sold")
    return Intent(
        id=intent_id,
        strategy_id=body.strategy_id,
        type=kind,
        chain_id=ChainId(body.chain_id or sell.asset.chain_id),
        sell=sell.asset,
        buy=buy.asset,
        amount=amount,
        side=side,
        constraints=_constraints(body.constraints, sell, buy),
        note=body.note,
        created_at=at,
    )


def _rebalance(body: IntentBody, book: AssetBook, intent_id: UUID, at: Millis) -> Intent:
    for name in _OF_TRADES:
        if getattr(body, name) is not None:
            raise Problem.of_field(name, "does not belong to REBALANCE", "none: see targets")
    if len(body.targets) < 2:
        raise Problem.of_field("targets", "needs different assets", "2..20 assets")
    tokens = [_tokens(body, place, target, book) for place, target in enumerate(body.targets)]
    return Intent(
        id=intent_id,
        strategy_id=body.strategy_id,
        type=IntentType.REBALANCE,
        chain_id=ChainId(body.chain_id or tokens[0][0].asset.chain_id),
        targets=tuple(
            Target(
                asset=first.asset,
                weight=Ppm(ppm(target.weight)),
                pooled=tuple(token.asset for token in others),
            )
            for (first, *others), target in zip(tokens, body.targets, strict=True)
        ),
        tolerance=Ppm(ppm(body.tolerance)),
        constraints=_constraints(body.constraints, None, None),
        note=body.note,
        created_at=at,
    )


def _bought(body: IntentBody, sell: Token, book: AssetBook) -> Token:
    """Return what is bought; what a bridge delivers is the same symbol where nothing is said."""
    if body.type != IntentType.BRIDGE.value:
        if body.to_chain_id is not None:
            raise Problem.of_field("to_chain_id", "belongs to BRIDGE", "none")
        return _required(body.buy, body.chain_id, "buy", book)
    if body.to_chain_id is not None:
        book.require_chain(body.to_chain_id)
    elif body.buy is None or ":" not in body.buy:
        raise Problem.of_field("to_chain_id", "is required", "a chain", "missing_field")
    return book.find(body.buy or sell.symbol, body.to_chain_id, "buy")


def _tokens(body: IntentBody, place: int, target: TargetBody, book: AssetBook) -> list[Token]:
    """Return a target's token on each chain it names: its own first."""
    where = f"targets[{place}]"
    if target.chains and target.chain_id is not None:
        raise Problem.of_field(f"{where}.chain_id", "is said twice", "chain_id or chains, not both")
    chains: list[int | None] = [*target.chains] or [target.chain_id or body.chain_id]
    for chain_id in chains:
        if chain_id is not None:
            book.require_chain(chain_id)
    return [book.find(target.asset, chain_id, f"{where}.asset") for chain_id in chains]


def _required(text: str | None, chain_id: int | None, field: str, book: AssetBook) -> Token:
    if text is None:
        raise Problem.of_field(field, "is required", "an asset", "missing_field")
    return book.find(text, chain_id, field)


def _constraints(body: ConstraintsBody, sell: Token | None, buy: Token | None) -> Constraints:
    return Constraints(
        max_slippage=Ppm(ppm(body.max_slippage)),
        time_window_ms=body.time_window_ms,
        limit=_limit(body.limit_price, sell, buy),
        max_gas=body.max_gas,
        max_fee_wei=body.max_fee_wei,
        venues=frozenset(body.venues),
        bridges=frozenset(body.bridges),
        bridge_by=BridgeBy(body.bridge_by),
        bridge_ms=body.bridge_ms,
        urgency=Ppm(ppm(body.urgency)),
        style=STYLES[body.style],
        schedule=_schedule(body),
    )


def _schedule(body: ConstraintsBody) -> Schedule:
    given = body.schedule
    if (given is not None) != (body.style == Style.TWAP.value):
        field, missing = "constraints.schedule", given is None
        raise Problem.of_field(
            field,
            "is required with style twap" if missing else "belongs to style twap",
            "slices, catch_up, burst_cap" if missing else "none",
            "missing_field" if missing else "invalid_field",
        )
    if given is None:
        return Schedule()
    return Schedule(
        slices=given.slices, catch_up=CATCH_UPS[given.catch_up], burst_cap=given.burst_cap
    )


def _limit(price: str | None, sell: Token | None, buy: Token | None) -> Limit | None:
    """Turn p whole tokens bought per whole token sold into smallest units, exactly.

    bought / 10^b >= p * sold / 10^s with p = n / 10^k is bought * 10^(s+k) >= sold * n * 10^b.
    """
    if price is None:
        return None
    if sell is None or buy is None:
        raise Problem.of_field("constraints.limit_price", "has no meaning for REBALANCE", "none")
    whole, _, part = price.partition(".")
    numerator = int(whole + part) * 10**buy.decimals
    denominator = 10 ** (sell.decimals + len(part))
    common = gcd(numerator, denominator)
    if not 0 < numerator // common <= MAX_UINT256:
        raise Problem.of_field("constraints.limit_price", "is out of range", "above 0, below 2^256")
    return Limit(numerator=numerator // common, denominator=denominator // common)
