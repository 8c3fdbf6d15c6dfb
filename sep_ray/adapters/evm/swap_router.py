"""Calldata of SwapRouter02 and the plain V2 router: V2 and V3 pools, approvals straight to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sep_ray.adapters.evm.abi import address_word, addresses, padded, selector, word
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.routing.plan import Hop, Path, Plan
from sep_ray.routing.pools.pool import Venue

ROUTER_ITSELF: Final = "0x0000000000000000000000000000000000000002"
"""SwapRouter02 reads this recipient as its own address."""
WHAT_ROUTER_HOLDS: Final = 0
"""SwapRouter02 reads this input amount as all it holds of the token."""


def swap_router(plan: Plan, runs: Sequence[Sequence[Sequence[Hop]]], recipient: str) -> bytes:
    """Write a plan for SwapRouter02; `runs` are each leg's hops, grouped by family of pools.

    What several legs give stays in the router until all of it leaves for the recipient, so that
    the limit holds for the sum. What they may take adds up to the limit.
    """
    if plan.side is Side.BUY:
        legs = zip(plan.route.legs, plan.leg_limits, strict=True)
        return _multicall(plan.deadline_s, [_exact_out(leg.path, m, recipient) for leg, m in legs])
    several = len(runs) > 1
    calls: list[bytes] = []
    for leg in runs:
        target, least = (ROUTER_ITSELF, 0) if several else (recipient, plan.limit)
        calls += _exact_in(leg, target, least)
    if several:
        calls.append(_sweep(plan.buy.address, plan.limit, recipient))
    return _multicall(plan.deadline_s, calls)


def v2_router(plan: Plan, path: Path, recipient: str) -> bytes:
    """Write for UniswapV2Router02, which takes the deadline as an argument."""
    if plan.side is Side.SELL:
        name, amount = "swapExactTokensForTokens", path.amount_in
    else:
        name, amount = "swapTokensForExactTokens", path.amount_out
    fixed = word(amount) + word(plan.limit) + word(160) + address_word(recipient)
    signature = f"{name}(uint256,uint256,address[],address,uint256)"
    return selector(signature) + fixed + word(plan.deadline_s) + token_list(path.hops)


def v3_path(hops: Sequence[Hop], *, backwards: bool = False) -> bytes:
    """Return token, fee (3 bytes), token, ...; an exact output wants it from the end."""
    if backwards:
        start, steps = hops[-1].token_out, [(hop.fee_ppm, hop.token_in) for hop in reversed(hops)]
    else:
        start, steps = hops[0].token_in, [(hop.fee_ppm, hop.token_out) for hop in hops]
    path = bytes.fromhex(start[2:])
    for fee, token in steps:
        path += fee.to_bytes(3, "big") + bytes.fromhex(token[2:])
    return path


def tokens_of(hops: Sequence[Hop]) -> list[str]:
    """Return the tokens that a run of hops passes."""
    return [hops[0].token_in, *(hop.token_out for hop in hops)]


def token_list(hops: Sequence[Hop]) -> bytes:
    """Return the same as a dynamic array."""
    return addresses(tokens_of(hops))


def _multicall(deadline_s: int, calls: Iterable[bytes]) -> bytes:
    found = list(calls)
    heads, tails = b"", b""
    for call in found:
        heads += word(len(found) * 32 + len(tails))
        tails += padded(call)
    body = word(deadline_s) + word(64) + word(len(found)) + heads + tails
    return selector("multicall(uint256,bytes[])") + body


def _exact_in(runs: Sequence[Sequence[Hop]], recipient: str, least: int) -> list[bytes]:
    """Sell exactly, one call per run of pools of one family; what lies between stays inside."""
    calls: list[bytes] = []
    for place, run in enumerate(runs):
        last = place == len(runs) - 1
        amount = run[0].amount_in if place == 0 else WHAT_ROUTER_HOLDS
        write = _v2_exact_in if run[0].venue is Venue.UNISWAP_V2 else _v3_exact_in
        calls.append(write(run, amount, least if last else 0, recipient if last else ROUTER_ITSELF))
    return calls


def _exact_out(path: Path, most: int, recipient: str) -> bytes:
    if any(hop.venue is not Venue.UNISWAP_V3 for hop in path.hops):
        raise InvariantBroken("no call fixes an output across two families of pools")
    signature = "exactOutput((bytes,address,uint256,uint256))"
    backwards = v3_path(path.hops, backwards=True)
    return selector(signature) + _v3_body(backwards, recipient, path.amount_out, most)


def _sweep(token: str, least: int, recipient: str) -> bytes:
    data = selector("sweepToken(address,uint256,address)")
    return data + address_word(token) + word(least) + address_word(recipient)


def _v3_exact_in(hops: Sequence[Hop], amount: int, least: int, recipient: str) -> bytes:
    signature = "exactInput((bytes,address,uint256,uint256))"
    return selector(signature) + _v3_body(v3_path(hops), recipient, amount, least)


def _v2_exact_in(hops: Sequence[Hop], amount: int, least: int, recipient: str) -> bytes:
    signature = "swapExactTokensForTokens(uint256,uint256,address[],address)"
    fixed = word(amount) + word(least) + word(128) + address_word(recipient)
    return selector(signature) + fixed + token_list(hops)


def _v3_body(path: bytes, recipient: str, amount: int, bound: int) -> bytes:
    fixed = word(128) + address_word(recipient) + word(amount) + word(bound)
    return word(32) + fixed + padded(path)
