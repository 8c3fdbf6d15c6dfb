"""Whether a token keeps a part of what is moved: tried on the newest state, and nothing is moved.

A call is simulated with other code at two addresses (the state overrides that nodes take with
eth_call): the token's largest holder among the pools, and somebody who never held it. Both get
Multicall3's code, so that they pay one another and ask the token what arrived. Whatever does not
arrive in full is a toll, and amounts through the token cannot be exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from sep_ray.adapters.evm.abi import address_word, selector, word
from sep_ray.adapters.evm.multicall import MULTICALL3, Read, aggregate, results
from sep_ray.adapters.evm.pool_reads import PoolKey
from sep_ray.adapters.evm.rpc import RpcRefused
from sep_ray.adapters.evm.stop_diagnosis import Call, Rpc
from sep_ray.execution.ports import Head
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import NATIVE
from sep_ray.routing.pools.pool import Venue

log = structlog.get_logger()

STRANGER: Final = "0x7011000000000000000000000000000000007011"
"""Pays back what the holder paid it; nobody's address."""
SHARE: Final = 1_000
"""The holder pays one part in so many of what it holds, and gets half of that back."""
EVERY: Final = 64
"""Blocks after which tokens are tried again: a toll may be switched on."""
_BALANCE: Final = selector("balanceOf(address)")
_TRANSFER: Final = selector("transfer(address,uint256)")


class Tolls:
    """Tries a chain's tokens every EVERY blocks."""

    def __init__(
        self,
        rpc: Rpc,
        tokens: Sequence[str],
        pools: Sequence[PoolKey],
        v4_pools: str,
        multicall: str = MULTICALL3,
    ) -> None:
        """`tokens` are addresses; `pools` hold them, V4's through their manager `v4_pools`."""
        self._rpc = rpc
        self._multicall = multicall
        self._holders = {
            token: sorted(_holders(token, pools, v4_pools)) for token in tokens if token != NATIVE
        }
        self._code = ""
        self._tried = -EVERY
        self._taxed: tuple[str, ...] = ()

    async def taxed(self, head: Head) -> tuple[str, ...]:
        """Return the tokens that keep a part, as of the last try; raises Transient.

        A node that takes no state overrides cannot say: that is logged, and the word before
        stands. The limit of every swap still holds on the chain.
        """
        if abs(head.number - self._tried) < EVERY:
            return self._taxed
        try:
            found = await self._try(head)
        except RpcRefused as refused:
            log.warning("tolls_unknown", block=head.number, why=str(refused))
            found = dict.fromkeys(self._taxed, "")
        for token, why in found.items():
            if token not in self._taxed:
                log.error("token_takes_a_toll", token=token, block=head.number, why=why)
        self._tried, self._taxed = head.number, tuple(sorted(found))
        return self._taxed

    async def _try(self, head: Head) -> dict[str, str]:
        if not self._code:
            (self._code,) = await self._rpc.batch([("eth_getCode", [self._multicall, "latest"])])
        purses = await self._richest(head)
        answers = await self._rpc.batch(
            [self._call(token, holder, held, head) for token, (holder, held) in purses.items()]
        )
        said = (
            (token, _missing(held // SHARE, answer))
            for (token, (_, held)), answer in zip(purses.items(), answers, strict=True)
        )
        return {token: why for token, why in said if why}

    async def _richest(self, head: Head) -> Mapping[str, tuple[str, int]]:
        """Return who of the pools holds most of each token, and how much; those with too little to
        try it are left out, as nothing can be swapped there either."""
        asked = [(token, each) for token, its in self._holders.items() for each in its]
        if not asked:
            return {}
        reads: list[Read] = [(token, _BALANCE + address_word(each)) for token, each in asked]
        call: Call = ("eth_call", [aggregate(reads, self._multicall), {"blockHash": head.hash}])
        (answer,) = await self._rpc.batch([call])
        found: dict[str, tuple[str, int]] = {}
        for (token, holder), data in zip(asked, results(answer, len(asked)), strict=True):
            units = int.from_bytes(data, "big") if data is not None and len(data) == 32 else 0
            if units >= SHARE**2 and units > found.get(token, ("", 0))[1]:
                found[token] = holder, units
        return found

    def _call(self, token: str, holder: str, held: int, head: Head) -> Call:
        units = held // SHARE
        back = aggregate([(token, _TRANSFER + address_word(holder) + word(units // 2))], STRANGER)
        steps: list[Read] = [
            (token, _TRANSFER + address_word(STRANGER) + word(units)),
            (token, _BALANCE + address_word(STRANGER)),
            (token, _BALANCE + address_word(holder)),
            (STRANGER, bytes.fromhex(back["data"][2:])),
            (token, _BALANCE + address_word(holder)),
        ]
        there: dict[str, Any] = {each: {"code": self._code} for each in (holder, STRANGER)}
        return "eth_call", [aggregate(steps, holder), {"blockHash": head.hash}, there]


def _holders(token: str, pools: Iterable[PoolKey], v4_pools: str) -> set[str]:
    return {
        v4_pools if key.venue is Venue.UNISWAP_V4 else key.address
        for key in pools
        if token in (key.token0, key.token1)
    }


def _missing(units: int, answer: str) -> str:
    """Say what of the payments there and back did not arrive; "" where all did."""
    _, arrived, before, _, after = results(answer, 5)
    if arrived is None or before is None or after is None:
        raise Transient("a token does not say what it holds")
    there = int.from_bytes(arrived, "big")
    back = int.from_bytes(after, "big") - int.from_bytes(before, "big")
    if there != units:
        return f"of {units} units {there} arrived"
    return "" if back == units // 2 else f"of {units // 2} units {back} came back"
