"""What a strategy asks for, turned into a checked intent.

Amounts: an int is smallest units, text is a decimal number of tokens ("0.25"). Fractions (slippage,
weights, tolerance, urgency): an int is parts per million, text is a decimal fraction ("0.005").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, TypedDict
from uuid import UUID

from sep_ray.intent.intent import (
    CatchUp,
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
from sep_ray.kernel.units import PPM, Asset, Ppm
from sep_ray.strategy.tokens import Tokens

Quantity = int | str | Decimal
Fraction = int | str | Decimal
DEFAULT: Final = Constraints()


class Bounds(TypedDict, total=False):
    """How a request may be carried out; what is left out has the platform's default.

    `slices` above 1 spreads the amount over the window (TWAP). `limit_price` is the worst
    acceptable price of the asset named first, in whole tokens of the other one. `note` says why
    and is kept with the intent.
    """

    max_slippage: Fraction
    window_ms: int
    limit_price: str | Decimal
    max_gas: int
    venues: Collection[str]
    urgency: Fraction
    slices: int
    catch_up: CatchUp
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Whose request it is, which id it has, and when it was made."""

    id: UUID
    strategy_id: str
    at: Millis


def acquire(
    stamp: Stamp,
    tokens: Tokens,
    asset: Asset,
    using: Asset,
    amount: Quantity | None,
    spend: Quantity | None,
    bounds: Bounds,
) -> Intent:
    """Buy exactly `amount` of the asset, or as much as `spend` of the other one buys."""
    fixed, side = _one_of("amount", amount, "spend", spend, Side.BUY, Side.SELL)
    units = tokens.units(asset if side is Side.BUY else using, fixed)
    limit = _limit(bounds, tokens, asset, using, buying=True)
    return _trade(stamp, IntentType.ACQUIRE, using, asset, units, side, bounds, limit)


def dispose(
    stamp: Stamp,
    tokens: Tokens,
    asset: Asset,
    into: Asset,
    amount: Quantity | None,
    receive: Quantity | None,
    bounds: Bounds,
) -> Intent:
    """Sell exactly `amount` of the asset, or as much as brings `receive` of the other one."""
    fixed, side = _one_of("amount", amount, "receive", receive, Side.SELL, Side.BUY)
    units = tokens.units(asset if side is Side.SELL else into, fixed)
    limit = _limit(bounds, tokens, asset, into, buying=False)
    return _trade(stamp, IntentType.DISPOSE, asset, into, units, side, bounds, limit)


def liquidate(stamp: Stamp, tokens: Tokens, asset: Asset, into: Asset, bounds: Bounds) -> Intent:
    """Sell all that is available of the asset."""
    limit = _limit(bounds, tokens, asset, into, buying=False)
    return _trade(stamp, IntentType.LIQUIDATE, asset, into, None, Side.SELL, bounds, limit)


def rebalance(
    stamp: Stamp, weights: Mapping[Asset, Fraction], tolerance: Fraction, bounds: Bounds
) -> Intent:
    """Bring the holdings of these assets, all on one chain, to these shares of their value."""
    if "limit_price" in bounds:
        raise InvalidIntent("a rebalance has no price", field="limit_price", allowed="none")
    if not weights:
        raise InvalidIntent("needs different assets", field="targets", allowed="2 or more assets")
    targets = tuple(
        Target(asset=asset, weight=ppm(f"weights[{asset}]", weight))
        for asset, weight in sorted(weights.items())
    )
    return checked(
        Intent(
            id=stamp.id,
            strategy_id=stamp.strategy_id,
            type=IntentType.REBALANCE,
            chain_id=targets[0].asset.chain_id,
            targets=targets,
            tolerance=ppm("tolerance", tolerance),
            constraints=_constraints(bounds, None),
            note=bounds.get("note", ""),
            created_at=stamp.at,
        )
    )


def ppm(name: str, value: Fraction) -> Ppm:
    """Read a fraction; text with more than six decimals is an error, not a rounding."""
    if isinstance(value, int):
        return Ppm(value)
    try:
        scaled = Decimal(value) * PPM
    except InvalidOperation:
        raise InvalidIntent("is not a decimal fraction", field=name, allowed="0..1") from None
    if not scaled.is_finite() or scaled != int(scaled):
        raise InvalidIntent("is not a fraction of six decimals", field=name, allowed="0..1")
    return Ppm(int(scaled))


def _trade(
    stamp: Stamp,
    kind: IntentType,
    sell: Asset,
    buy: Asset,
    amount: int | None,
    side: Side,
    bounds: Bounds,
    limit: Limit | None,
) -> Intent:
    return checked(
        Intent(
            id=stamp.id,
            strategy_id=stamp.strategy_id,
            type=kind,
            chain_id=sell.chain_id,
            sell=sell,
            buy=buy,
            amount=amount,
            side=side,
            constraints=_constraints(bounds, limit),
            note=bounds.get("note", ""),
            created_at=stamp.at,
        )
    )


def _constraints(bounds: Bounds, limit: Limit | None) -> Constraints:
    unknown = set(bounds) - set(Bounds.__annotations__)
    if unknown:
        raise InvalidIntent(
            "is unknown", field=min(unknown), allowed=", ".join(Bounds.__annotations__)
        )
    slices = bounds.get("slices", 1)
    return Constraints(
        max_slippage=ppm("max_slippage", bounds.get("max_slippage", DEFAULT.max_slippage)),
        time_window_ms=bounds.get("window_ms", DEFAULT.time_window_ms),
        limit=limit,
        max_gas=bounds.get("max_gas"),
        venues=frozenset(bounds.get("venues", ())),
        urgency=ppm("urgency", bounds.get("urgency", DEFAULT.urgency)),
        style=Style.TWAP if slices > 1 else Style.IMMEDIATE,
        schedule=Schedule(slices=slices, catch_up=bounds.get("catch_up", CatchUp.SPREAD)),
    )


def _limit(
    bounds: Bounds, tokens: Tokens, asset: Asset, other: Asset, *, buying: bool
) -> Limit | None:
    """Price p is `other` per `asset` in whole tokens.

    Buying asks for sold/bought <= p * 10^other / 10^asset, selling for bought/sold >= the same.
    """
    if "limit_price" not in bounds:
        return None
    try:
        over, under = Decimal(bounds["limit_price"]).as_integer_ratio()
    except (InvalidOperation, ValueError, OverflowError):
        raise InvalidIntent("is not a number", field="limit_price", allowed="above 0") from None
    over *= 10 ** tokens[other].decimals
    under *= 10 ** tokens[asset].decimals
    return (
        Limit(numerator=under, denominator=over)
        if buying
        else Limit(numerator=over, denominator=under)
    )


def _one_of(
    name: str,
    value: Quantity | None,
    other_name: str,
    other: Quantity | None,
    side: Side,
    other_side: Side,
) -> tuple[Quantity, Side]:
    if value is not None and other is None:
        return value, side
    if other is not None and value is None:
        return other, other_side
    raise InvalidIntent("needs one of two", field=name, allowed=f"either {name} or {other_name}")
