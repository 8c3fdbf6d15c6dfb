"""Calldata of the Universal Router: V2, V3 and V4 pools in one transaction, paid by Permit2.

Commands and action numbers are those of universal-router 2.0 and 2.1 (Commands.sol) and of
v4-periphery (Actions.sol). V4 pools are swapped one by one, each taking what the one before it
left open: a list of them in one action is laid out differently in 2.0 and in 2.1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from eth_abi.abi import encode

from sep_ray.adapters.evm.abi import selector
from sep_ray.adapters.evm.swap_router import ROUTER_ITSELF, tokens_of, v3_path
from sep_ray.adapters.evm.v4 import NO_HOOKS, TICK_SPACINGS, pool_id
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.routing.plan import Hop, Plan
from sep_ray.routing.pools.pool import Venue

WHAT_ROUTER_HOLDS: Final = 1 << 255
"""The router reads this amount as all it holds of the token."""
WHAT_IS_OWED: Final = 0
"""A V4 action reads this amount as the open balance between router and PoolManager."""
V3_IN, V3_OUT, SWEEP, V2_IN, V4 = 0x00, 0x01, 0x04, 0x08, 0x10
SWAP_IN, SWAP_OUT, SETTLE, TAKE = 0x06, 0x08, 0x0B, 0x0E

_SIMPLE: Final = ("address", "uint256", "uint256", "bytes", "bool")
_V2: Final = ("address", "uint256", "uint256", "address[]", "bool")
_V4_SWAP: Final = ("((address,address,uint24,int24,address),bool,uint128,uint128,bytes)",)
_WITHOUT_END: Final = (1 << 128) - 1

Command = tuple[int, bytes]


def universal_router(plan: Plan, recipient: str) -> bytes:
    """Write a plan as commands with a deadline.

    What several legs of a sale give stays in the router until it leaves for the recipient as
    one, so that the limit holds for the sum. What the legs of a purchase may take adds up to it.
    """
    legs = plan.route.legs
    commands: list[Command] = []
    if plan.side is Side.BUY:
        for leg, most in zip(legs, plan.leg_limits, strict=True):
            commands.append(_exact_out(leg.path.hops, most, recipient))
    else:
        several = len(legs) > 1
        target, least = (ROUTER_ITSELF, 0) if several else (recipient, plan.limit)
        for leg in legs:
            commands += _exact_in(leg.path.hops, target, least)
        if several:
            order = (plan.buy.address, recipient, plan.limit)
            commands.append((SWEEP, encode(("address", "address", "uint256"), order)))
    names = bytes(name for name, _ in commands)
    inputs = [data for _, data in commands]
    body = encode(("bytes", "bytes[]", "uint256"), (names, inputs, plan.deadline_s))
    return selector("execute(bytes,bytes[],uint256)") + body


def _exact_in(hops: Sequence[Hop], recipient: str, least: int) -> list[Command]:
    """Sell exactly, one command per run of pools of one family; what lies between stays inside."""
    runs = [tuple(run) for _, run in groupby(hops, key=lambda hop: hop.venue)]
    commands: list[Command] = []
    for place, run in enumerate(runs):
        first, last = place == 0, place == len(runs) - 1
        amount = run[0].amount_in if first else WHAT_ROUTER_HOLDS
        target, bound = (recipient, least) if last else (ROUTER_ITSELF, 0)
        commands.append(_run_in(run, amount, bound, target, first))
    return commands


def _run_in(
    run: Sequence[Hop], amount: int, least: int, recipient: str, from_account: bool
) -> Command:
    match run[0].venue:
        case Venue.UNISWAP_V2:
            return V2_IN, encode(_V2, (recipient, amount, least, tokens_of(run), from_account))
        case Venue.UNISWAP_V3:
            return V3_IN, encode(_SIMPLE, (recipient, amount, least, v3_path(run), from_account))
        case Venue.UNISWAP_V4:
            return V4, _v4_in(run, amount, least, recipient, from_account)


def _exact_out(hops: Sequence[Hop], most: int, recipient: str) -> Command:
    venues, amount = {hop.venue for hop in hops}, hops[-1].amount_out
    if venues == {Venue.UNISWAP_V3}:
        path = v3_path(hops, backwards=True)
        return V3_OUT, encode(_SIMPLE, (recipient, amount, most, path, True))
    if venues == {Venue.UNISWAP_V4}:
        return V4, _v4_out(hops, most, recipient)
    raise InvariantBroken("no command fixes an output through V2 or two families of pools")


def _v4_in(
    run: Sequence[Hop], amount: int, least: int, recipient: str, from_account: bool
) -> bytes:
    """Settle the input, then swap pool by pool; what lies between is owed to the router."""
    last = len(run) - 1
    swaps = [
        _v4_swap(
            hop,
            amount if place == 0 and from_account else WHAT_IS_OWED,
            least if place == last else 0,
        )
        for place, hop in enumerate(run)
    ]
    actions = bytes([SETTLE, *([SWAP_IN] * len(run)), TAKE])
    params = [_settle(run[0].token_in, amount, from_account), *swaps, _take(run, recipient)]
    return encode(("bytes", "bytes[]"), (actions, params))


def _v4_out(hops: Sequence[Hop], most: int, recipient: str) -> bytes:
    """Swap from the output backwards, each pool giving what the next one is owed; then settle."""
    swaps = [
        _v4_swap(
            hop,
            hop.amount_out if place == len(hops) - 1 else WHAT_IS_OWED,
            most if place == 0 else _WITHOUT_END,
        )
        for place, hop in enumerate(hops)
    ]
    actions = bytes([*([SWAP_OUT] * len(hops)), SETTLE, TAKE])
    params = [*reversed(swaps), _settle(hops[0].token_in, WHAT_IS_OWED, True)]
    return encode(("bytes", "bytes[]"), (actions, [*params, _take(hops, recipient)]))


def _settle(token: str, amount: int, by_account: bool) -> bytes:
    return encode(("address", "uint256", "bool"), (token, amount, by_account))


def _take(run: Sequence[Hop], recipient: str) -> bytes:
    order = (run[-1].token_out, recipient, WHAT_IS_OWED)
    return encode(("address", "address", "uint256"), order)


def _v4_swap(hop: Hop, amount: int, bound: int) -> bytes:
    token0, token1 = sorted((hop.token_in, hop.token_out))
    key = (token0, token1, hop.fee_ppm, spacing_of(hop), NO_HOOKS)
    return encode(_V4_SWAP, ((key, hop.token_in == token0, amount, bound, b""),))


def spacing_of(hop: Hop) -> int:
    """Return a V4 pool's tick spacing, which its fee tells; its name proves it."""
    token0, token1 = sorted((hop.token_in, hop.token_out))
    spacing = TICK_SPACINGS.get(hop.fee_ppm, 0)
    if pool_id(token0, token1, hop.fee_ppm, spacing) != hop.pool:
        raise InvariantBroken("not a pool without hooks of a usual spacing", pool=hop.pool)
    return spacing
