"""EIP-1559 fees: what to offer, and what to offer when that was not enough. All wei per gas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sep_ray.execution.ports import DataCost
from sep_ray.kernel.units import Rounding, divide

BUMP_NUMERATOR: Final = 9
BUMP_DENOMINATOR: Final = 8
"""A replacement offers at least 12.5 % more on both fields; nodes ask for 10 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePolicy:
    """How much is offered.

    The fee cap covers `horizon_blocks` full blocks in a row after the next one (the base fee
    rises by an eighth in each). `ceiling_wei` bounds the fee cap whatever happens.
    """

    horizon_blocks: int = 6
    least_tip_wei: int = 100_000_000
    ceiling_wei: int = 2_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What a transaction offers: at most `max_fee_wei` per gas, of which `tip_wei` as tip.

    On a rollup it may use `data_gas` for its bytes on top of its own gas, and pay `data_wei`.
    """

    max_fee_wei: int
    tip_wei: int
    data_gas: int = 0
    data_wei: int = 0

    @property
    def data(self) -> DataCost:
        """What one transaction's bytes cost."""
        return DataCost(gas=self.data_gas, wei=self.data_wei)

    def most_wei(self, gas: int, transactions: int = 1) -> int:
        """Return the most that so much gas in so many transactions can cost."""
        gas += transactions * self.data_gas
        return gas * self.max_fee_wei + transactions * self.data_wei


def offer(policy: FeePolicy, next_base_fee: int, usual_tip: int) -> Fees:
    """Return the fees of a new transaction: next_base * (9/8)^horizon + tip, under the ceiling.

    `next_base_fee` is exact (EIP-1559, from the head's header); `usual_tip` is what landed
    lately. Divisions round up: the sender pays for the dust.
    """
    tip = max(usual_tip, policy.least_tip_wei)
    base = divide(
        next_base_fee * BUMP_NUMERATOR**policy.horizon_blocks,
        BUMP_DENOMINATOR**policy.horizon_blocks,
        Rounding.UP,
    )
    max_fee = min(base + tip, policy.ceiling_wei)
    return Fees(max_fee_wei=max_fee, tip_wei=min(tip, max_fee))


def within(fees: Fees, cap_wei: int | None) -> Fees:
    """Return an offer that stays under what an intent allows gas to cost, if it says so."""
    if cap_wei is None or fees.max_fee_wei <= cap_wei:
        return fees
    return replace(fees, max_fee_wei=cap_wei, tip_wei=min(fees.tip_wei, cap_wei))


def bumped(policy: FeePolicy, before: Fees, fresh: Fees) -> Fees | None:
    """Return a replacement's fees: 12.5 % above `before` on both fields, not below `fresh`.

    None when that would pass the ceiling: then the old offer stands and only time helps.
    """
    max_fee = max(_raised(before.max_fee_wei), fresh.max_fee_wei)
    tip = max(_raised(before.tip_wei), fresh.tip_wei)
    if max_fee > policy.ceiling_wei:
        return None
    return Fees(max_fee_wei=max_fee, tip_wei=min(tip, max_fee))


def _raised(wei: int) -> int:
    """Return at least 12.5 % more, and at least one wei more (geth asks for more than equal)."""
    return max(divide(wei * BUMP_NUMERATOR, BUMP_DENOMINATOR, Rounding.UP), wei + 1)
