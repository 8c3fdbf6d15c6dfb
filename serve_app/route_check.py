"""Every swap that was mined, run again by our own mathematics on the state it met: to the unit.

What was signed is read from the journal, what happened from the chain. A swap has to be looked
at while its node still holds its parent's state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sep_ray.adapters.evm.addresses import BOOKS
from sep_ray.adapters.evm.replay import Replay, replay
from sep_ray.adapters.evm.rpc import EvmRpc
from sep_ray.adapters.evm.world import lenses_of
from sep_ray.execution.plan_text import SignedSwap, signed_swap
from sep_ray.kernel.errors import SepError
from sep_ray.kernel.units import ChainId

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that is in a block, and the swap that was signed in it (None: no swap)."""

    tx_hash: str
    swap: SignedSwap | None


def mined(events: Sequence[Event]) -> list[Mined]:
    """Return what a story (/v1/why) says is in a block now and succeeded, with what was signed.

    An attempt carries its step's plan, until another one is written right after a version of it.
    """
    attempts: dict[str, str] = {}
    plans: dict[str, str] = {}
    versions: dict[str, dict[str, str]] = {}
    included: dict[str, str] = {}
    for event in events:
        kind, data, stream = event["type"], event["data"], event["stream"]
        if kind == "AttemptPrepared":
            versions[stream] = {each["tx_hash"]: "" for each in data["attempt"]["signed"]}
        elif kind == "AttemptBumped":
            versions[stream][data["signed"]["tx_hash"]] = plans.get(stream, "")
        elif kind in ("StepStarted", "StepReplanned"):
            attempt = attempts[stream] = _attempt(data) or attempts[stream]
            plans[attempt] = data["plan"]
            versions[attempt][next(reversed(versions[attempt]))] = data["plan"]
        elif kind == "AttemptIncluded":
            included[stream] = data["inclusion"]["tx_hash"]
        elif kind == "AttemptUnincluded":
            included.pop(stream, None)
    return [
        Mined(tx_hash, signed_swap(versions[stream][tx_hash]))
        for stream, tx_hash in included.items()
    ]


def _attempt(data: Mapping[str, Any]) -> str:
    return f"attempt/{data['attempt_id']}" if "attempt_id" in data else ""


class RouteCheck:
    """Looks at intents again and again, and at each of their swaps once."""

    def __init__(
        self, story: Callable[[str], Mapping[str, Any]], chains: Mapping[str, str]
    ) -> None:
        """`story` gives what /v1/why says of an intent, `chains` each chain's endpoint by id."""
        self._story = story
        self._chains = chains
        self._seen: set[str] = set()
        self._replays: list[Replay] = []
        self._unread: list[str] = []
        self._legs = 0

    def look(self, intent: Mapping[str, Any]) -> None:
        """Run again what is new of an intent."""
        if self._seen.issuperset(intent["tx_hashes"]):
            return
        for each in mined(self._story(intent["id"])["events"]):
            if each.tx_hash in self._seen:
                continue
            self._seen.add(each.tx_hash)
            if each.swap is not None:
                self._run(each.tx_hash, each.swap)
        self._seen.update(intent["tx_hashes"])

    def result(self) -> dict[str, Any]:
        """Return how many swaps were run again, and which of them differ or could not be."""
        wrong = [asdict(each) for each in self._replays if each.differences]
        return {
            "plans": len(self._replays),
            "legs": self._legs,
            "exact": not wrong and not self._unread,
            "differences": wrong,
            "unread": self._unread,
        }

    def _run(self, tx_hash: str, swap: SignedSwap) -> None:
        try:
            self._replays.append(asyncio.run(_replayed(self._chains, tx_hash, swap)))
            self._legs += len(swap.route.legs)
        except SepError as error:
            self._unread.append(f"{tx_hash}: {error}")


async def _replayed(chains: Mapping[str, str], tx_hash: str, swap: SignedSwap) -> Replay:
    chain_id = ChainId(swap.sell.chain_id)
    book, rpc = BOOKS[chain_id], EvmRpc(chains[str(chain_id)])
    try:
        return await replay(rpc, book, lenses_of(book), tx_hash, swap)
    finally:
        await rpc.close()


def in_words(check: Mapping[str, Any]) -> list[str]:
    """Say what a check's result is, a line for each difference."""
    same = "to the unit" if check["exact"] else "NOT AS THE CHAIN GAVE"
    lines = [
        f"{check['plans']} swaps of {check['legs']} legs run again on the state they met: {same}"
    ]
    for each in check["differences"]:
        lines.append(f"  {each['tx_hash']}: {'; '.join(each['differences'])}")
    return lines + [f"  not looked at: {each}" for each in check["unread"]]
