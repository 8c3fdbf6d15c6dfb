"""A plan as calldata: SwapRouter02 (or the plain V2 router), with limit and deadline on chain."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from sep_ray.adapters.evm.abi import address_word, addresses, padded, selector, word
from sep_ray.adapters.evm.addresses import ChainBook
from sep_ray.adapters.evm.transactions import parse
from sep_ray.execution.ports import Call
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.routing.plan import Hop, Path, Plan
from sep_ray.routing.pools.pool import Venue

ROUTER_ITSELF: Final = "0x0000000000000000000000000000000000000002"
"""SwapRouter02 reads this recipient as its own address."""
WHAT_ROUTER_HOLDS: Final = 0
"""SwapRouter02 reads this input amount as all it holds of the token."""


class SwapEncoder:
    """Writes the transactions of one chain. Answers execution's port Calls."""

    def __init__(self, book: ChainBook) -> None:
        self._book = book
        self._one_router = book.swap_router02_v2_factory == book.v2_factory

    @property
    def mixes_venues(self) -> bool:
        """Whether one transaction can pass through V2 and V3 pools here."""
        return self._one_router

    def spender(self, plan: Plan) -> str:
        """Return the router that takes the sold token from the account."""
        return self._book.swap_router02 if self._through_02(plan) else self._book.v2_router

    def approval(self, token: str, spender: str, units: int) -> Call:
        """Allow a spender exactly so much."""
        data = selector("approve(address,uint256)") + address_word(spender) + word(units)
        return Call(to=token, data="0x" + data.hex())

    def swap(self, plan: Plan, recipient: str) -> Call:
        """Write the swap: exact amount, limit and deadline are the plan's; proceeds go home."""
        path = _only_path(plan)
        if not self._through_02(plan):
            data = _v2_router(plan, path, recipient)
            return Call(to=self._book.v2_router, data="0x" + data.hex())
        parts = [_exact_out(plan, path, recipient)] if plan.side is Side.BUY else []
        parts = parts or _exact_in(plan, path, recipient)
        data = _multicall(plan.deadline_s, parts)
        return Call(to=self._book.swap_router02, data="0x" + data.hex())

    def inside(self, raw: str) -> Call:
        """Return the call that signed bytes carry."""
        fields = parse(bytes.fromhex(raw[2:]))
        to, value, data = (bytes(fields[n]) for n in (5, 6, 7))
        return Call(
            to="0x" + to.hex(), data="0x" + data.hex(), value_wei=int.from_bytes(value, "big")
        )

    def _through_02(self, plan: Plan) -> bool:
        """SwapRouter02, unless only the plain V2 router does exactly what the plan says.

        Through V2 pairs SwapRouter02 passes on whatever they give for the input, which can be
        more than the output asked for; the plain router gives that output to the unit.
        """
        venues = {hop.venue for hop in _only_path(plan).hops}
        if venues == {Venue.UNISWAP_V2}:
            return self._one_router and plan.side is Side.SELL
        return True


def _only_path(plan: Plan) -> Path:
    if len(plan.route.legs) != 1:
        raise InvariantBroken("no encoding for a split route", legs=len(plan.route.legs))
    return plan.route.legs[0].path


def _multicall(deadline_s: int, calls: Sequence[bytes]) -> bytes:
    heads, tails = b"", b""
    for call in calls:
        heads += word(len(calls) * 32 + len(tails))
        tails += padded(call)
    body = word(deadline_s) + word(64) + word(len(calls)) + heads + tails
    return selector("multicall(uint256,bytes[])") + body


def _exact_in(plan: Plan, path: Path, recipient: str) -> list[bytes]:
    """Sell exactly, one call per run of pools of one family; what lies between stays inside."""
    runs = [tuple(run) for _, run in groupby(path.hops, key=lambda hop: hop.venue)]
    calls: list[bytes] = []
    for place, run in enumerate(runs):
        last = place == len(runs) - 1
        amount = path.amount_in if place == 0 else WHAT_ROUTER_HOLDS
        least = plan.limit if last else 0
        target = recipient if last else ROUTER_ITSELF
        write = _v2_exact_in if run[0].venue is Venue.UNISWAP_V2 else _v3_exact_in
        calls.append(write(run, amount, least, target))
    return calls


def _exact_out(plan: Plan, path: Path, recipient: str) -> bytes:
    if any(hop.venue is not Venue.UNISWAP_V3 for hop in path.hops):
        raise InvariantBroken("no call fixes an output across two families of pools")
    signature = "exactOutput((bytes,address,uint256,uint256))"
    backwards = _v3_path(path.hops, backwards=True)
    return selector(signature) + _v3_body(backwards, recipient, path.amount_out, plan.limit)


def _v3_exact_in(hops: Sequence[Hop], amount: int, least: int, recipient: str) -> bytes:
    signature = "exactInput((bytes,address,uint256,uint256))"
    return selector(signature) + _v3_body(_v3_path(hops), recipient, amount, least)


def _v2_exact_in(hops: Sequence[Hop], amount: int, least: int, recipient: str) -> bytes:
    signature = "swapExactTokensForTokens(uint256,uint256,address[],address)"
    return selector(signature) + _v2_body(hops, amount, least, recipient)


def _v3_path(hops: Sequence[Hop], *, backwards: bool = False) -> bytes:
    """Return token, fee (3 bytes), token, ...; exactOutput wants it from the end."""
    if backwards:
        start, steps = hops[-1].token_out, [(hop.fee_ppm, hop.token_in) for hop in reversed(hops)]
    else:
        start, steps = hops[0].token_in, [(hop.fee_ppm, hop.token_out) for hop in hops]
    path = bytes.fromhex(start[2:])
    for fee, token in steps:
        path += fee.to_bytes(3, "big") + bytes.fromhex(token[2:])
    return path


def _v3_body(path: bytes, recipient: str, amount: int, bound: int) -> bytes:
    fixed = word(128) + address_word(recipient) + word(amount) + word(bound)
    return word(32) + fixed + padded(path)


def _v2_body(hops: Sequence[Hop], amount: int, bound: int, recipient: str) -> bytes:
    return word(amount) + word(bound) + word(128) + address_word(recipient) + _tokens(hops)


def _tokens(hops: Sequence[Hop]) -> bytes:
    return addresses([hops[0].token_in, *(hop.token_out for hop in hops)])


def _v2_router(plan: Plan, path: Path, recipient: str) -> bytes:
    """Write for UniswapV2Router02, which takes the deadline as an argument."""
    if plan.side is Side.SELL:
        name, amount = "swapExactTokensForTokens", path.amount_in
    else:
        name, amount = "swapTokensForExactTokens", path.amount_out
    fixed = word(amount) + word(plan.limit) + word(160) + address_word(recipient)
    signature = f"{name}(uint256,uint256,address[],address,uint256)"
    return selector(signature) + fixed + word(plan.deadline_s) + _tokens(path.hops)
