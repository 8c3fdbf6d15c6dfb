"""How one chain is worked on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sep_ray.engine.finality import FinalityRule, Tag
from sep_ray.execution.fees import FeePolicy
from sep_ray.kernel.units import Asset, ChainId

MAX_TRIES: Final = 3
"""How often a step is begun before it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRules:
    """Settings of a chain's executor.

    * `coin`: the chain's own coin; `tokens`: what its accounts may hold besides
    * `confirmations`, `value_step`, `most_confirmations`, `reorg_depth`, `tag`: see FinalityRule
    * `numeraire`: the unit of account in which values are told; None: nobody can tell them
    * `resend_blocks`: blocks without inclusion after which the same bytes are sent again
    * `stall_blocks`: blocks without inclusion after which a transaction is sent for more
    * `patience_blocks`: heads a disagreement between ledger and chain may last before it counts
    * `price_tolerance_ppm`: how far a plan may be off an independent price; None: not checked
    * `netting`: strategies whose opposite sales are crossed at the mid before they are routed
    * `refuel_below_wei`: an account with less coin is sent some by another that has plenty, up to
      `refuel_to_wei`, which that one keeps; 0: none is
    * `lifetime_ms`: how long a signed swap may wait to be mined
    * `lease_margin_ms`: how long before the lease's end nothing is sent any more
    * `zero_first`: tokens (addresses) whose allowance can only be changed from or to zero
    * `plain_routes`: plan single paths without their certificate, where only landing matters
    """

    chain_id: ChainId
    coin: Asset
    tokens: tuple[Asset, ...]
    block_time_ms: int = 12_000
    confirmations: int = 2
    value_step: int | None = None
    most_confirmations: int = 64
    reorg_depth: int = 12
    tag: Tag = Tag.NONE
    numeraire: Asset | None = None
    resend_blocks: int = 2
    stall_blocks: int = 4
    patience_blocks: int = 4
    max_tries: int = MAX_TRIES
    round_size: int = 32
    max_in_flight: int = 200
    lifetime_ms: int = 120_000
    price_tolerance_ppm: int | None = None
    netting: frozenset[str] = frozenset()
    lease_ttl_ms: int = 3_000
    lease_margin_ms: int = 500
    fees: FeePolicy = field(default_factory=FeePolicy)
    refuel_below_wei: int = 0
    refuel_to_wei: int = 0
    zero_first: frozenset[str] = frozenset()
    plain_routes: bool = False

    @property
    def finality(self) -> FinalityRule:
        """When a fact of this chain is final."""
        return FinalityRule(
            confirmations=self.confirmations,
            value_step=self.value_step,
            most=self.most_confirmations,
            reorg_depth=self.reorg_depth,
            tag=self.tag,
        )

    @property
    def assets(self) -> tuple[Asset, ...]:
        """All that is compared with the ledger."""
        return (self.coin, *self.tokens)


class Meter(Protocol):
    """Where figures go. Names and labels come from a fixed, small set."""

    def count(self, name: str, labels: Mapping[str, str], by: int = 1) -> None:
        """Add to a counter."""

    def observe(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Record one value of a distribution (seconds, units of gas, ppm)."""


class NoMeter:
    """Keeps nothing."""

    def count(self, name: str, labels: Mapping[str, str], by: int = 1) -> None:
        """Do nothing."""

    def observe(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Do nothing."""
