"""Why a pool differs from what its logs told: the chain is asked for all of it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sep_ray.adapters.evm.followed import Followed, Lenses
from sep_ray.adapters.evm.pool_logs import MANAGER_TOPICS, POOL_TOPICS, parse_log
from sep_ray.execution.ports import Head
from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.stops import StopCause

Call = tuple[str, Sequence[Any]]


class Rpc(Protocol):
    """What the reader needs of a node."""

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of JSON-RPC calls sent in one request, in order."""


TRAIL: Final = 256
"""Blocks whose hashes are remembered."""


async def diagnose(
    rpc: Rpc, followed: Followed, lenses: Lenses, trail: Mapping[int, str], head: Head
) -> StopCause:
    """Tell what went wrong between the last block at which the contract agreed and `head`.

    `trail` are the blocks followed, by number. A block that is no longer the chain's, or a log
    taken in that the chain does not hold, is a reorganisation nobody saw; a log that the chain
    holds and that was not taken in was missed; where both agree, storage was changed without one.
    """
    first = max(followed.verified + 1, head.number - TRAIL)
    passed = [number for number in sorted(trail) if first - 1 <= number <= head.number]
    span = {"fromBlock": hex(first), "toBlock": hex(head.number)}
    calls: list[Call] = [("eth_getBlockByNumber", [hex(number), False]) for number in passed]
    calls.append(("eth_getLogs", [{**log_filter(followed, lenses), **span}]))
    *blocks, logs = await rpc.batch(calls)
    canonical = [block["hash"].lower() if block else "" for block in blocks]
    if canonical != [trail[number] for number in passed]:
        return StopCause.UNSEEN_REORG
    found = {parse_log(raw).place for raw in logs if not raw.get("removed")}
    if found - followed.applied:
        return StopCause.MISSED_LOG
    return StopCause.UNSEEN_REORG if followed.applied - found else StopCause.STORAGE_CHANGED


def log_filter(followed: Followed, lenses: Lenses) -> dict[str, Any]:
    """Return what eth_getLogs is asked for one pool's logs."""
    key = followed.key
    if key.venue is Venue.UNISWAP_V4:
        return {"address": lenses.v4_pools, "topics": [list(MANAGER_TOPICS), key.address]}
    return {"address": key.address, "topics": [list(POOL_TOPICS)]}
