"""An intent: what a strategy wants, in exact units and with explicit bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import MAX_UINT256, PPM, Asset, ChainId, Ppm

MIN_SLIPPAGE: Final = Ppm(1_000)
MAX_SLIPPAGE: Final = Ppm(100_000)
MIN_WINDOW_MS: Final = 60_000
MAX_WINDOW_MS: Final = 3_600_000
MAX_FEE_WEI: Final = 10**15
MAX_SLICES: Final = 100
MAX_NOTE: Final = 500


class InvalidIntent(Rejected):
    """A field is out of bounds; facts carry `field` (a path) and `allowed` (the range)."""


class IntentType(StrEnum):
    """The five things a strategy can ask for."""

    ACQUIRE = "ACQUIRE"
    DISPOSE = "DISPOSE"
    REBALANCE = "REBALANCE"
    LIQUIDATE = "LIQUIDATE"
    BRIDGE = "BRIDGE"


class Side(StrEnum):
    """Which end of a trade `amount` fixes: what is sold (exact in) or bought (exact out)."""

    SELL = "sell"
    BUY = "buy"


class Style(StrEnum):
    """How the amount is spread over the window."""

    IMMEDIATE = "immediate"
    TWAP = "twap"
    ADAPTIVE = "adaptive"


class CatchUp(StrEnum):
    """What happens to slices that fell due while nobody was there to run them."""

    SKIP = "skip"  # all but the newest missed slice are dropped; the end is partial
    SPREAD = "spread"  # missed and future slices are spread evenly over what is left
    BURST = "burst"  # missed slices run at once, at most `burst_cap` of them; others follow


class BridgeBy(StrEnum):
    """By what a bridge is chosen among those that can do it."""

    BEST = "best"  # least of fee, gas, waiting and risk together
    CHEAPEST = "cheapest"  # most arrives
    FASTEST = "fastest"  # the least 95th percentile
    SAFEST = "safest"  # the strongest trust class, then the best record


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`slices` equal parts over the window; the last part carries the division's dust."""

    slices: int = 1
    catch_up: CatchUp = CatchUp.SPREAD
    burst_cap: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Worst acceptable price: `bought * denominator >= sold * numerator`, in smallest units."""

    numerator: int
    denominator: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Bounds that hold for every transaction the intent leads to."""

    max_slippage: Ppm = Ppm(5_000)
    time_window_ms: int = 600_000
    limit: Limit | None = None
    max_gas: int | None = None
    max_fee_wei: int | None = None
    """The most that gas may cost, wei per gas; only giving a nonce up may cost more."""
    venues: frozenset[str] = frozenset()
    """Allowed venues; empty means every venue the platform knows."""
    bridges: frozenset[str] = frozenset()
    """Allowed bridges; empty means every bridge the platform knows."""
    bridge_by: BridgeBy = BridgeBy.BEST
    bridge_ms: int = 8 * 24 * 3_600_000
    """How long a bridge may take at its 95th percentile."""
    urgency: Ppm = Ppm(500_000)
    style: Style = Style.IMMEDIATE
    schedule: Schedule = field(default_factory=Schedule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A wanted share of one asset, in parts per million of the value rebalanced.

    `pooled` names the same token on other chains: they count together, wherever they are.
    """

    asset: Asset
    weight: Ppm
    pooled: tuple[Asset, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A checked request. Build it with `checked`, which names the field that is wrong.

    ACQUIRE and DISPOSE trade `sell` for `buy`; `amount` (smallest units) fixes the side named
    by `side`. LIQUIDATE sells all that is available of `sell` for `buy`. REBALANCE brings the
    holdings of the targets' assets, on however many chains, to their weights, ignoring
    differences below `tolerance`. BRIDGE moves `amount` of `sell` to `buy`, which is the same
    money on another chain.
    """

    id: UUID
    strategy_id: str
    type: IntentType
    chain_id: ChainId
    sell: Asset | None = None
    buy: Asset | None = None
    amount: int | None = None
    side: Side = Side.SELL
    targets: tuple[Target, ...] = ()
    tolerance: Ppm = Ppm(5_000)
    constraints: Constraints = field(default_factory=Constraints)
    parent_id: UUID | None = None
    note: str = ""
    """Why it is asked for, in the asker's words: a signal and its source, a name (P14)."""
    created_at: Millis

    @property
    def chains(self) -> tuple[ChainId, ...]:
        """Every chain it may touch, its own first."""
        named = [asset for t in self.targets for asset in (t.asset, *t.pooled)]
        named += [asset for asset in (self.sell, self.buy) if asset is not None]
        others = sorted({asset.chain_id for asset in named} - {self.chain_id})
        return self.chain_id, *others

    @property
    def deadline(self) -> Millis:
        """The instant after which nothing more is begun."""
        return Millis(self.created_at + self.constraints.time_window_ms)


def checked(intent: Intent) -> Intent:
    """Return the intent unchanged, or raise InvalidIntent with the field and its range."""
    _check_constraints(intent.constraints)
    _within("note", len(intent.note), 0, MAX_NOTE)
    if intent.type is IntentType.REBALANCE:
        _check_targets(intent)
    elif intent.type is IntentType.BRIDGE:
        _check_bridge(intent)
    else:
        _check_trade(intent)
    return intent


def _check_constraints(constraints: Constraints) -> None:
    _within("constraints.max_slippage", constraints.max_slippage, MIN_SLIPPAGE, MAX_SLIPPAGE)
    _within("constraints.time_window_ms", constraints.time_window_ms, MIN_WINDOW_MS, MAX_WINDOW_MS)
    _within("constraints.urgency", constraints.urgency, 0, PPM)
    _within("constraints.schedule.slices", constraints.schedule.slices, 1, MAX_SLICES)
    _within("constraints.schedule.burst_cap", constraints.schedule.burst_cap, 1, MAX_SLICES)
    if constraints.max_gas is not None:
        _within("constraints.max_gas", constraints.max_gas, 21_000, 30_000_000)
    if constraints.max_fee_wei is not None:
        _within("constraints.max_fee_wei", constraints.max_fee_wei, 1, MAX_FEE_WEI)
    if constraints.limit is not None:
        _within("constraints.limit_price", constraints.limit.numerator, 1, MAX_UINT256)
        _within("constraints.limit_price", constraints.limit.denominator, 1, MAX_UINT256)


def _check_trade(intent: Intent) -> None:
    for name, asset in (("sell", intent.sell), ("buy", intent.buy)):
        if asset is None:
            raise InvalidIntent("is required", field=name, allowed="an asset")
        _on_chain(name, asset, intent.chain_id)
    if intent.sell == intent.buy:
        raise InvalidIntent("is the asset sold", field="buy", allowed="another asset than sell")
    if intent.type is IntentType.LIQUIDATE:
        if intent.amount is not None:
            raise InvalidIntent("must be absent", field="amount", allowed="none: all is sold")
    elif intent.amount is None:
        raise InvalidIntent("is required", field="amount", allowed="1..2^256-1 smallest units")
    else:
        _within("amount", intent.amount, intent.constraints.schedule.slices, MAX_UINT256)


def _check_bridge(intent: Intent) -> None:
    if intent.sell is None:
        raise InvalidIntent("is required", field="sell", allowed="an asset")
    _on_chain("sell", intent.sell, intent.chain_id)
    if intent.buy is None or intent.buy.chain_id == intent.chain_id:
        raise InvalidIntent("must be elsewhere", field="buy", allowed="an asset of another chain")
    if intent.amount is None:
        raise InvalidIntent("is required", field="amount", allowed="1..2^256-1 smallest units")
    _within("amount", intent.amount, 1, MAX_UINT256)
    if intent.side is not Side.SELL:
        raise InvalidIntent("fixes what is sent", field="side", allowed="sell")
    if intent.constraints.style is not Style.IMMEDIATE:
        raise InvalidIntent("cannot be sliced", field="constraints.style", allowed="immediate")


def _check_targets(intent: Intent) -> None:
    assets = [asset for target in intent.targets for asset in (target.asset, *target.pooled)]
    if len(assets) < 2 or len(set(assets)) != len(assets):
        raise InvalidIntent("needs different assets", field="targets", allowed="2 or more assets")
    for place, target in enumerate(intent.targets):
        chains = {asset.chain_id for asset in (target.asset, *target.pooled)}
        if len(chains) != len(target.pooled) + 1:
            raise InvalidIntent(
                "names a chain twice", field=f"targets[{place}].pooled", allowed="one asset a chain"
            )
        _within(f"targets[{place}].weight", target.weight, 0, PPM)
    if sum(target.weight for target in intent.targets) != PPM:
        raise InvalidIntent("weights do not add up", field="targets", allowed="a sum of 1")
    if intent.chain_id not in {asset.chain_id for asset in assets}:
        raise InvalidIntent(
            "names none of the chain", field="targets", allowed=f"an asset of {intent.chain_id}"
        )
    if len(intent.chains) > 1 and intent.constraints.style is not Style.IMMEDIATE:
        raise InvalidIntent(
            "cannot be sliced over chains", field="constraints.style", allowed="immediate"
        )
    _within("tolerance", intent.tolerance, 0, 500_000)


def _on_chain(name: str, asset: Asset, chain_id: ChainId) -> None:
    if asset.chain_id != chain_id:
        raise InvalidIntent("is on another chain", field=name, allowed=f"an asset of {chain_id}")


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidIntent("is out of range", field=name, allowed=f"{low}..{high}")
