"""Why there is no plan: a value to act on, not an exception."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Reason(StrEnum):
    """Every way a quote or a plan can fail to exist."""

    UNKNOWN_TOKEN = "unknown_token"
    """The snapshot holds no such token, or the asset is of another chain."""
    SAME_TOKEN = "same_token"
    NO_PATH = "no_path"
    """No pool of the allowed venues leads from one token to the other."""
    AMOUNT_TOO_SMALL = "amount_too_small"
    """The amount is not positive, or so small that nothing would come out."""
    AMOUNT_TOO_LARGE = "amount_too_large"
    """The amount does not fit the contract's integers."""
    INSUFFICIENT_LIQUIDITY = "insufficient_liquidity"
    """The pools end before the amount does."""
    OUTSIDE_KNOWN_TICKS = "outside_known_ticks"
    """The swap would leave the part of the pool that was read: rather none than a wrong answer."""
    PRICE_LIMIT = "price_limit"
    """The price limit of a single swap lies behind the price or out of range."""
    POOL_INCONSISTENT = "pool_inconsistent"
    """The pool's ticks contradict its liquidity: what was read is not one state of one pool."""
    BELOW_LIMIT = "below_limit"
    """The quote is worse than the request's limit price."""
    GAS_ABOVE_MAXIMUM = "gas_above_maximum"
    """Every path is predicted to need more gas than allowed."""
    DEADLINE_PASSED = "deadline_passed"
    PRICE_GUARD = "price_guard"
    """The plan's price is further from an independent one than is allowed."""
    TRANSFER_FEE = "transfer_fee"
    """A token keeps a part of what is moved: no quote for it can be exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoute:
    """No quote, price or plan, and why. `detail` is for people; act on `reason`. Always false."""

    reason: Reason
    detail: str = ""

    def __bool__(self) -> Literal[False]:
        return False
