"""Signed bytes to several endpoints at once, and what their replies mean together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from eth_utils.crypto import keccak

from sep_ray.adapters.evm.rpc import Call, EvmRpc
from sep_ray.adapters.evm.transactions import parse, sender
from sep_ray.execution.verdict import Accepted, Lost, Reply, Verdict, combined, judge
from sep_ray.kernel.errors import Rejected

REMEMBERED: Final = 10_000
"""Slots whose first private handing over is remembered."""

PATIENCE_S: Final = 1.0
"""How long the others are waited for after a refusal; who has not answered then may hold it."""

Slot = tuple[str, int]


class Broadcast:
    """Hands the same bytes to all endpoints; the best verdict speaks for all (`combined`).

    With a `private` endpoint, a transaction that may revert goes there alone until the chain has
    grown by `private_blocks` since its sender's nonce was first handed over; sent again after
    that, it goes to all. When that was, the sender knows from its journal; here is remembered only
    what was refused, so that no private endpoint keeps anything for ever. Transactions without
    calldata cannot revert and go to all at once.
    """

    def __init__(
        self, endpoints: Sequence[EvmRpc], private: EvmRpc | None, private_blocks: int
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._private = private
        self._private_blocks = private_blocks
        self._since: dict[Slot, int] = {}
        self._late: set[asyncio.Task[list[Reply]]] = set()

    async def close(self) -> None:
        """Give up what is still on its way."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def hand_over(
        self, raws: Sequence[str], since: Sequence[int | None], head: int
    ) -> list[Reply]:
        """Return one reply for each as soon as somebody accepted all, or all have answered, or
        PATIENCE_S after the last that did. `since` are the heads at which their nonces were first
        handed over, None for those that never were.

        Slower endpoints go on being told meanwhile.
        """
        calls: list[Call] = [("eth_sendRawTransaction", [raw]) for raw in raws]
        pairs = zip(raws, since, strict=True)
        hidden = [self._hidden(raw, first, head) for raw, first in pairs]
        tally = _Tally(raws)
        tasks: dict[asyncio.Task[list[Reply]], list[int]] = {}
        for endpoint in self._endpoints:
            self._tell(endpoint, calls, [n for n, h in enumerate(hidden) if not h], tasks)
        if self._private is not None:
            self._tell(self._private, calls, list(range(len(calls))), tasks)
        patience = None
        while tasks and not tally.all_accepted:
            done, _ = await asyncio.wait(
                tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                tally.take(tasks.pop(task), task.result())
            if not done:
                break
            patience = PATIENCE_S
        for places in tasks.values():
            tally.take(places, [Lost("no reply yet")] * len(places))
        return tally.replies()

    def _tell(
        self,
        endpoint: EvmRpc,
        calls: Sequence[Call],
        places: list[int],
        tasks: dict[asyncio.Task[list[Reply]], list[int]],
    ) -> None:
        if places:
            task = asyncio.create_task(endpoint.replies([calls[n] for n in places]))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            tasks[task] = places

    def _hidden(self, raw: str, first: int | None, head: int) -> bool:
        """Whether the bytes go to the private endpoint alone."""
        slot = _may_revert(raw) if self._private is not None else None
        if slot is None:
            return False
        since = self._since.setdefault(slot, head)
        while len(self._since) > REMEMBERED:
            self._since.pop(next(iter(self._since)))
        began = since if first is None else min(since, first)
        return head - began < self._private_blocks


def _may_revert(raw: str) -> Slot | None:
    """Return sender and nonce of a transaction with calldata; None for any other."""
    data = bytes.fromhex(raw[2:])
    try:
        fields = parse(data)
        if not fields[7]:
            return None
        return sender(data), int.from_bytes(bytes(fields[1]), "big")
    except Rejected:
        return None


class _Tally:
    """Replies to each of several raw transactions, and the verdicts they mean."""

    def __init__(self, raws: Sequence[str]) -> None:
        self._hashes = ["0x" + keccak(bytes.fromhex(raw[2:])).hex() for raw in raws]
        self._heard: list[list[tuple[Verdict, Reply]]] = [[] for _ in raws]
        self._unreached: list[Reply | None] = [None] * len(raws)

    def take(self, places: Sequence[int], replies: Sequence[Reply]) -> None:
        """Note an endpoint's replies; one that nothing can have reached has no say."""
        for place, reply in zip(places, replies, strict=True):
            if isinstance(reply, Lost) and not reply.reached:
                self._unreached[place] = reply
            else:
                self._heard[place].append((judge(reply, self._hashes[place]), reply))

    @property
    def all_accepted(self) -> bool:
        """Whether somebody holds each of them."""
        return all(any(isinstance(found, Accepted) for found, _ in heard) for heard in self._heard)

    def replies(self) -> list[Reply]:
        """Return for each the reply whose verdict speaks for all."""
        return [self._best(place) for place in range(len(self._heard))]

    def _best(self, place: int) -> Reply:
        heard: list[tuple[Verdict, Reply]] = self._heard[place]
        if not heard:
            return self._unreached[place] or Lost("no endpoint was told")
        best = combined([found for found, _ in heard])
        reply: Any = next(reply for found, reply in heard if found == best)
        return Lost(reply.text) if isinstance(reply, Lost) else reply
