"""What is about to be signed, as policy sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from sep_ray.execution.attempt import Purpose
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import Asset, ChainId, Rounding, divide

Price = tuple[int, int]
"""Units of the numeraire per smallest unit of an asset: numerator and denominator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """Smallest units of an asset: the most that may leave, or what is expected to come."""

    asset: Asset
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What a call's bytes plainly say; None where they do not.

    `recipients` are all addresses that proceeds may go to, the caller's own included.
    """

    selector: str = ""
    approves: Movement | None = None
    spenders: frozenset[str] = frozenset()
    recipients: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A transaction before it is signed.

    * `strategy_id`: for whom; "" for what serves the account alone (a filled gap)
    * `own`: all accounts of ours, the sending one among them
    * `contract`, `selector`: what is called; selector "" for a plain transfer, both "" for a sale
      that is crossed with another and calls nothing
    * `sells`, `buys`: what moves value; `approves` is what a spender is allowed
    * `recipients`: as read from the bytes themselves; None when unreadable
    * `spenders`: who is allowed to take what is sold, as read, and as the encoder says
    * `gas_wei`: the most it may pay for gas; for a replacement, what it may pay on top
    * `cancels`: it is to do nothing but use its nonce up; `harmless` says that it is so
    * `again`: a replacement of one that was cleared before: it moves nothing twice
    * `prices`: mids at the newest block, of whatever has one
    """

    at: Millis
    purpose: Purpose
    strategy_id: str
    chain_id: ChainId
    contract: str
    own: frozenset[str]
    selector: str = ""
    intent_id: UUID | None = None
    sells: Movement | None = None
    buys: Movement | None = None
    approves: Movement | None = None
    spenders: frozenset[str] = frozenset()
    recipients: frozenset[str] | None = frozenset()
    gas_wei: int = 0
    cancels: bool = False
    harmless: bool = False
    again: bool = False
    numeraire: Asset | None = None
    prices: Mapping[Asset, Price] = field(default_factory=dict)

    @property
    def moved(self) -> tuple[Movement, ...]:
        """Everything it names, in the order sold, bought, approved."""
        return tuple(m for m in (self.sells, self.buys, self.approves) if m is not None)

    @property
    def reduces(self) -> bool:
        """Whether it can only reduce exposure: it cancels, or gives something for the numeraire.

        An approval counts by what it is for: one that a reducing swap needs names what is bought.
        """
        if self.cancels:
            return self.harmless
        given = self.sells or self.approves
        if self.numeraire is None or self.buys is None or given is None:
            return False
        return self.buys.asset == self.numeraire and given.asset != self.numeraire


def value_of(moved: Movement, prices: Mapping[Asset, Price], rounding: Rounding) -> int | None:
    """Return a movement's value in the numeraire's smallest units; None without a price."""
    price = prices.get(moved.asset)
    if price is None or price[1] == 0:
        return None
    return divide(moved.units * price[0], price[1], rounding)
