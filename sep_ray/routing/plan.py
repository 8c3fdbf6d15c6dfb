"""What routing is asked and what it answers. Amounts are smallest units, everywhere integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

from sep_ray.intent.intent import Limit, Side
from sep_ray.kernel.units import PPM, Asset, Ppm, Rounding, divide
from sep_ray.routing.pools.pool import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """Sell exactly `amount` of `sell` (SELL), or buy exactly `amount` of `buy` (BUY).

    `deadline_s` is Unix seconds. Empty `venues` allows every venue; `hubs` None allows every
    token between the two. `max_gas` is gas units. `mix_venues` lets a path pass through pools of
    several families: what the chain's routers can do is for the caller to know. At most
    `max_splits` legs side by side, each through at most `max_hops` pools (1 to 4); where there are
    several, only through `split_venues` (empty: as for one). `certify` asks
    for the upper bound as well. `data_gas` and `data_wei` are what a rollup charges for the
    transaction's bytes: inside its gas, and beside it.
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
    max_splits: int = 1
    split_venues: frozenset[str] = frozenset()
    max_hops: int = 2
    certify: bool = True
    data_gas: int = 0
    data_wei: int = 0

    @property
    def bytes_gas(self) -> int:
        """All that the bytes cost, in gas at `gas_price_wei`, rounded up."""
        if self.gas_price_wei <= 0:
            return self.data_gas
        return self.data_gas + divide(self.data_wei, self.gas_price_wei, Rounding.UP)


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
    """A path and its share of the fixed amount in ppm; a route's shares add up to 1,000,000."""

    path: Path
    share_ppm: Ppm


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One or more legs between the same two tokens, in one transaction, in this order.

    Legs may share pools: each is quoted on what the legs before it leave, so that executing them
    in order gives exactly these amounts. The last leg carries the remainder of the fixed amount.
    """

    legs: tuple[Leg, ...]

    @property
    def amount_in(self) -> int:
        return sum(leg.path.amount_in for leg in self.legs)

    @property
    def amount_out(self) -> int:
        return sum(leg.path.amount_out for leg in self.legs)

    @property
    def pools(self) -> tuple[str, ...]:
        """The addresses of the pools, leg by leg."""
        return tuple(pool for leg in self.legs for pool in leg.path.pools)

    @property
    def hops(self) -> tuple[Hop, ...]:
        """The hops, leg by leg, in the order in which they run."""
        return tuple(hop for leg in self.legs for hop in leg.path.hops)


def route_of(paths: Sequence[Path], side: Side) -> Route:
    """Return paths as the legs of a route: shares of the fixed amount, the last the remainder."""
    fixed = [path.amount_in if side is Side.SELL else path.amount_out for path in paths]
    total = sum(fixed)
    shares = [amount * PPM // total for amount in fixed[:-1]]
    shares.append(PPM - sum(shares))
    return Route(
        legs=tuple(
            Leg(path=path, share_ppm=Ppm(share)) for path, share in zip(paths, shares, strict=True)
        )
    )


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
    * `bound`: the most that any route over the same pools could give for `amount_in`, before gas;
      proven (`bound.py`). None: not asked for
    * `reference`: an independent price of `sell` in `buy`, whose word it is, and how far the plan
      is off it in ppm (`guard.py`); None: not asked for, or none to be had
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
    bound: int | None = None
    reference: tuple[str, tuple[int, int], int] | None = None

    @property
    def gap_ppm(self) -> int | None:
        """How far the output stays behind its bound, in ppm of the bound, rounded up."""
        if not self.bound:
            return None
        return divide((self.bound - self.amount_out) * PPM, self.bound, Rounding.UP)

    @property
    def leg_limits(self) -> tuple[int, ...]:
        """Each leg's part of `limit`, by its part of the open amount; they add up to it exactly.

        The least that a leg has to give (SELL), or the most that it may take (BUY).
        """
        selling = self.side is Side.SELL
        paths = [leg.path for leg in self.route.legs]
        amounts = [path.amount_out if selling else path.amount_in for path in paths]
        ends = list(accumulate(amounts, initial=0))
        marks = [self.limit * end // ends[-1] for end in ends]
        return tuple(high - low for low, high in pairwise(marks))
