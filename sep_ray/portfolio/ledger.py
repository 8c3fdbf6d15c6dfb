"""Double-entry postings. In every group, the deltas of each asset sum to zero (P8).

Holdings (AVAILABLE, RESERVED, IN_FLIGHT, REFUND_DUE) never go below zero, and for each asset
their sum over all strategies is all there is: what the chain's accounts hold (ON_ACCOUNT) and what
bridges hold for us or owe us (portfolio/transit.py). A line that rests on a fact names the account
whose balance the fact moved, so the ledger knows what each account holds as well;
whose units those are is no matter of accounts, so moves between strategies or buckets name none.
The other buckets are the
world outside: where funds came from and what became of them; their balances run negative when
the world gave and positive when it took.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sep_ray.kernel.errors import InvariantBroken, Rejected
from sep_ray.kernel.units import NATIVE, Asset, ChainId

TREASURY: Final = "treasury"
"""The strategy that owns whatever no other strategy was given, and pays for gas."""


class InsufficientBalance(Rejected):
    """A holding would fall below zero; facts: strategy_id, asset, bucket."""


class Bucket(StrEnum):
    """An account of the ledger, per strategy and asset."""

    AVAILABLE = "available"
    RESERVED = "reserved"
    IN_FLIGHT = "in_flight"
    REFUND_DUE = "refund_due"
    FUNDING = "funding"  # outside: deposits and withdrawals
    SPENT = "spent"  # outside: sold to a market, or delivered by a bridge on another chain
    RECEIVED = "received"  # outside: bought from a market, or come from another chain
    GAS = "gas"  # outside: paid to a chain


HOLDINGS: Final = frozenset(
    {Bucket.AVAILABLE, Bucket.RESERVED, Bucket.IN_FLIGHT, Bucket.REFUND_DUE}
)
ON_ACCOUNT: Final = frozenset({Bucket.AVAILABLE, Bucket.RESERVED})
"""Holdings that stand on the chain's accounts; the others are with bridges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One line of a group: `delta` smallest units into a bucket.

    `proof` says which fact of the chain it rests on: "block_hash/log_index", or "" for moves
    between our own buckets. A posting that rests on a fact can be withdrawn until it is final.
    `account` is the chain's account that holds `delta` more (or less) by that fact, else "".
    """

    strategy_id: str
    asset: Asset
    bucket: Bucket
    delta: int
    proof: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A bucket's balance in smallest units."""

    strategy_id: str
    asset: Asset
    bucket: Bucket
    units: int


def fund(
    asset: Asset, units: int, proof: str, strategy_id: str = TREASURY, *, account: str
) -> tuple[Posting, ...]:
    """Money arrived on (or, negative, left) the account by somebody else's doing."""
    return pair(strategy_id, asset, units, Bucket.FUNDING, Bucket.AVAILABLE, proof, account)


def allocate(asset: Asset, units: int, source: str, target: str) -> tuple[Posting, ...]:
    """Give available units of one strategy to another."""
    return (
        Posting(strategy_id=source, asset=asset, bucket=Bucket.AVAILABLE, delta=-units),
        Posting(strategy_id=target, asset=asset, bucket=Bucket.AVAILABLE, delta=units),
    )


def exchange(asset: Asset, given: Mapping[str, int]) -> tuple[Posting, ...]:
    """Move available units between strategies: below zero who gives, above who gets."""
    return tuple(
        Posting(strategy_id=strategy_id, asset=asset, bucket=Bucket.AVAILABLE, delta=delta)
        for strategy_id, delta in sorted(given.items())
    )


def reserve(strategy_id: str, asset: Asset, units: int) -> tuple[Posting, ...]:
    """Set units aside for a step that is about to be sent."""
    return pair(strategy_id, asset, units, Bucket.AVAILABLE, Bucket.RESERVED)


def release(strategy_id: str, asset: Asset, units: int) -> tuple[Posting, ...]:
    """Give back what a step set aside and did not use."""
    return pair(strategy_id, asset, units, Bucket.RESERVED, Bucket.AVAILABLE)


def fill(
    strategy_id: str,
    *,
    sell: Asset,
    sold: int,
    reserved: int,
    buy: Asset,
    bought: int,
    proof: str,
    account: str,
) -> tuple[Posting, ...]:
    """Book a swap: what was sold leaves the reserve, the rest of it returns, the bought arrives."""
    rest = release(strategy_id, sell, reserved - sold) if reserved > sold else ()
    return (
        *pair(strategy_id, sell, sold, Bucket.RESERVED, Bucket.SPENT, proof, account),
        *rest,
        *pair(strategy_id, buy, bought, Bucket.RECEIVED, Bucket.AVAILABLE, proof, account),
    )


def gas(
    strategy_id: str, chain_id: ChainId, wei: int, proof: str, *, account: str
) -> tuple[Posting, ...]:
    """Book gas: the treasury's coin pays it, the strategy that caused it is named."""
    coin = Asset(chain_id, NATIVE)
    return (
        Posting(
            strategy_id=TREASURY,
            asset=coin,
            bucket=Bucket.AVAILABLE,
            delta=-wei,
            proof=proof,
            account=account,
        ),
        Posting(strategy_id=strategy_id, asset=coin, bucket=Bucket.GAS, delta=wei, proof=proof),
    )


def moved(asset: Asset, units: int, proof: str, *, source: str, target: str) -> tuple[Posting, ...]:
    """Book units that went from one account of ours to another: no strategy has more or less."""
    return tuple(
        Posting(
            strategy_id=TREASURY,
            asset=asset,
            bucket=Bucket.AVAILABLE,
            delta=delta,
            proof=proof,
            account=account,
        )
        for account, delta in ((source, -units), (target, units))
    )


def withdrawn(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    """Undo postings whose fact is no longer part of the chain."""
    return tuple(
        Posting(
            strategy_id=line.strategy_id,
            asset=line.asset,
            bucket=line.bucket,
            delta=-line.delta,
            proof=line.proof,
            account=line.account,
        )
        for line in postings
    )


def balanced(postings: Iterable[Posting]) -> None:
    """Raise InvariantBroken unless each asset's deltas sum to zero."""
    sums: dict[Asset, int] = {}
    for line in postings:
        sums[line.asset] = sums.get(line.asset, 0) + line.delta
    wrong = {str(asset): total for asset, total in sums.items() if total}
    if wrong:
        raise InvariantBroken("postings do not balance", off=wrong)


def pair(
    strategy_id: str,
    asset: Asset,
    units: int,
    source: Bucket,
    target: Bucket,
    proof: str = "",
    account: str = "",
) -> tuple[Posting, ...]:
    """Move units between buckets; the side that stands on the account names it, if one does."""
    return tuple(
        Posting(
            strategy_id=strategy_id,
            asset=asset,
            bucket=bucket,
            delta=delta,
            proof=proof,
            account=account if bucket in ON_ACCOUNT else "",
        )
        for bucket, delta in ((source, -units), (target, units))
    )
