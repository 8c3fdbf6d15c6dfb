"""What routing is asked and what it answers. Amounts are smallest units, everywhere integers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sep_ray.intent.intent import Limit, Side
from sep_ray.kernel.units import Asset, Ppm
from sep_ray.routing.pools.pool import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """Sell exactly `amount` of `sell` (SELL), or buy exactly `amount` of `buy` (BUY).

    `deadline_s` is Unix seconds. Empty `venues` allows every venue; `hubs` None allows every
    token as the one in the middle. `max_gas` is gas units. `mix_venues` lets a path pass through
    pools of both families, where the chain has a router for that; a BUY never does, as no router
    call fixes an output across two.
    """

    sell: Asset
    buy: Asset
    amount: int
    side: Side
    max_slippage_ppm: Ppm
    deadline_s: int
    gas_price_wei: int
    limit_price: Limit | None = None
    venues: frozenset[str] = frozenset()
    max_gas: int | None = None
    hubs: frozenset[str] | None = None
    mix_venues: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One pool of a path, with the amounts quoted for it."""

    pool: str
    venue: Venue
    fee_ppm: int
    token_in: str
    token_out: str
    amount_in: int
    amount_out: int
    ticks_crossed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Pools passed one after the other; each hop takes what the one before it gives."""

    hops: tuple[Hop, ...]

    @property
    def amount_in(self) -> int:
        return self.hops[0].amount_in

    @property
    def amount_out(self) -> int:
        return self.hops[-1].amount_out

    @property
    def pools(self) -> tuple[str, ...]:
        """The addresses of the pools, in order."""
        return tuple(hop.pool for hop in self.hops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A path and its share of the whole in ppm; shares of a route add up to 1,000,000."""

    path: Path
    share_ppm: Ppm


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Legs that run side by side in one transaction. The first version has exactly one."""

    legs: tuple[Leg, ...]


class Lost(StrEnum):
    """Why a candidate was not taken."""

    LESS_NET = "less_net"
    """It leaves less, net of gas and drift."""
    TIE_BROKEN = "tie_broken"
    """Within the tie width of the best, and predicted to cost more than the one taken."""
    BELOW_LIMIT = "below_limit"
    GAS_ABOVE_MAXIMUM = "gas_above_maximum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A candidate that was considered and lost. `net` is by formula, as for the plan."""

    pools: tuple[str, ...]
    amount_in: int
    amount_out: int
    net: int
    lost: Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A route at one block with its limit, its predicted cost and why it was chosen.

    * `amount_in`, `amount_out`: quoted at `block_hash`, exact to the unit
    * `limit`: the least output (SELL) or the most input (BUY) the chain may accept
    * `gas_estimate` in gas; `gas_cost` in the counted token, None when the snapshot holds no
      price for gas; `slippage_ppm` the predicted adverse drift; `inclusion_blocks` until landed
    * `net`: output less gas and drift (SELL), or input plus gas and drift (BUY): the counted
      token is `buy` for SELL and `sell` for BUY. By formula; `net_predicted` by the estimates
      that were given (the same where none were)
    * `mid`: units of `buy` per unit of `sell` before fees and impact, numerator and denominator
    * `gap_ppm`: distance to a proven upper bound; None: not computed
    * `considered`: how many paths were quoted; `alternatives` the best of those that lost
    """

    sell: Asset
    buy: Asset
    side: Side
    amount_in: int
    amount_out: int
    limit: int
    deadline_s: int
    block_number: int
    block_hash: str
    route: Route
    gas_estimate: int
    gas_price_wei: int
    gas_cost: int | None
    slippage_ppm: int
    inclusion_blocks: int
    net: int
    net_predicted: int
    estimated_by: str
    mid: tuple[int, int]
    impact_ppm: int
    fee_ppm: int
    considered: int
    alternatives: tuple[Alternative, ...] = ()
    gap_ppm: int | None = None
