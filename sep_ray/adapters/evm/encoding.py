"""A plan as one transaction: which router runs it, and who may take the sold token for that."""

from __future__ import annotations

from itertools import groupby

from sep_ray.adapters.evm.abi import address_word, selector, word
from sep_ray.adapters.evm.addresses import ChainBook
from sep_ray.adapters.evm.swap_router import swap_router, v2_router
from sep_ray.adapters.evm.transactions import parse
from sep_ray.adapters.evm.universal_router import universal_router
from sep_ray.execution.ports import Call
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.routing.plan import Plan
from sep_ray.routing.pools.pool import Venue

ALLOWED_UNTIL: int = 2**48 - 1
"""Permit2 wants an end; what is allowed is exact and used up by the swap it was given for."""


class SwapEncoder:
    """Writes the transactions of one chain. Answers execution's port Calls."""

    def __init__(self, book: ChainBook) -> None:
        self._book = book
        self._one_router = book.swap_router02_v2_factory == book.v2_factory

    @property
    def mixes_venues(self) -> bool:
        """One transaction can pass through pools of all families: the Universal Router does."""
        return True

    def takers(self, router: str) -> tuple[str, ...]:
        """Return who must be allowed the sold token: the router itself, or Permit2 and then it."""
        if router == self._book.universal_router:
            return self._book.permit2, router
        return (router,)

    def approval(self, token: str, taker: str, units: int) -> Call:
        """Allow a taker exactly so much; the Universal Router is allowed it within Permit2."""
        if taker == self._book.universal_router:
            data = selector("approve(address,address,uint160,uint48)") + address_word(token)
            data += address_word(taker) + word(units) + word(ALLOWED_UNTIL)
            return Call(to=self._book.permit2, data="0x" + data.hex())
        data = selector("approve(address,uint256)") + address_word(taker) + word(units)
        return Call(to=token, data="0x" + data.hex())

    def transfer(self, token: str, target: str, units: int) -> Call:
        """Send exactly so much of a token to another account."""
        data = selector("transfer(address,uint256)") + address_word(target) + word(units)
        return Call(to=token, data="0x" + data.hex())

    def swap(self, plan: Plan, recipient: str) -> Call:
        """Write the swap: exact amounts, limit and deadline are the plan's; proceeds go home."""
        _check(plan)
        legs = [leg.path for leg in plan.route.legs]
        venues = {hop.venue for hop in plan.route.hops}
        if venues == {Venue.UNISWAP_V2} and len(legs) == 1 and not self._v2_through_02(plan):
            to, data = self._book.v2_router, v2_router(plan, legs[0], recipient)
        elif self._through_02(plan, venues):
            runs = [[tuple(run) for _, run in groupby(p.hops, lambda hop: hop.venue)] for p in legs]
            to, data = self._book.swap_router02, swap_router(plan, runs, recipient)
        else:
            to, data = self._book.universal_router, universal_router(plan, recipient)
        return Call(to=to, data="0x" + data.hex())

    def inside(self, raw: str) -> Call:
        """Return the call that signed bytes carry."""
        fields = parse(bytes.fromhex(raw[2:]))
        to, value, data = (bytes(fields[n]) for n in (5, 6, 7))
        return Call(
            to="0x" + to.hex(), data="0x" + data.hex(), value_wei=int.from_bytes(value, "big")
        )

    def _v2_through_02(self, plan: Plan) -> bool:
        """Through V2 pairs SwapRouter02 passes on whatever they give for the input, which can be
        more than the output asked for; the plain router gives that output to the unit."""
        return self._one_router and plan.side is Side.SELL

    def _through_02(self, plan: Plan, venues: set[Venue]) -> bool:
        """SwapRouter02 wherever it can: one approval instead of Permit2's two."""
        if Venue.UNISWAP_V4 in venues:
            return False
        return self._one_router or Venue.UNISWAP_V2 not in venues or plan.side is Side.BUY


def _check(plan: Plan) -> None:
    """What would be moved must be what was planned."""
    if (plan.route.amount_in, plan.route.amount_out) != (plan.amount_in, plan.amount_out):
        raise InvariantBroken("legs do not add up to the plan", legs=len(plan.route.legs))
