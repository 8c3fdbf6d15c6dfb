"""A bridge's contract without I/O: escrow on one side, payment once on the other, refunds.

Calls are JSON inside hex like all calls of the chain in memory. What a contract remembers are
notes under its address: `out/<id>` what left, `in/<id>` who was paid by which transaction,
`slow/<id>` that it was asked to pay itself, `back/<id>` what was refunded, `paused`. A movement's
id is the hash of the transaction it left with.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sep_ray.adapters.memory.contracts import Contracts

Moved = list[tuple[str, str, str, int]]
"""Transfers: token, source, target, units."""
MINT = "0x" + "00" * 20


class Reverted(Exception):
    """A call that failed; nothing of it remains."""


def run_bridge(
    state: Contracts, sender: str, tx_hash: str, said: dict[str, Any], timestamp: int
) -> Moved:
    """Run a call to a bridge on `state`; return what moved. Raises Reverted."""
    notes, address = state.notes, said["bridge"]
    match said["do"]:
        case "depart":
            state.take(said["token"], sender, address, said["units"])
            state.give(said["token"], address, said["units"])
            notes[f"{address}/out/{tx_hash}"] = json.dumps(said | {"at": timestamp})
            return [(said["token"], sender, address, said["units"])]
        case "pay":
            return _pay(state, tx_hash, said, timestamp)
        case "ask_slow":
            notes[f"{address}/slow/{said['id']}"] = tx_hash
            return []
        case "refund":
            _once(state, f"{address}/back/{said['id']}", tx_hash)
            return _release(state, address, said)
        case "pause":
            notes[f"{address}/paused"] = said["paused"]
            return []
        case _:
            raise Reverted("no such function")


def _pay(state: Contracts, tx_hash: str, said: dict[str, Any], timestamp: int) -> Moved:
    address = said["bridge"]
    if state.notes.get(f"{address}/paused"):
        raise Reverted("paused")
    if said.get("until") and timestamp > said["until"]:
        raise Reverted("expired")
    if said.get("signed_until") and timestamp > said["signed_until"]:
        raise Reverted("message expired and must be re-signed")
    _once(state, f"{address}/in/{said['id']}", tx_hash)
    if not said.get("mint"):
        return _release(state, address, said)
    state.give(said["token"], said["to"], said["units"])
    return [(said["token"], MINT, said["to"], said["units"])]


def _once(state: Contracts, note: str, tx_hash: str) -> None:
    if note in state.notes:
        raise Reverted("done already")
    state.notes[note] = tx_hash


def _release(state: Contracts, address: str, said: dict[str, Any]) -> Moved:
    token, units = said["token"], said["units"]
    if state.owned.get((token, address), 0) < units:
        raise Reverted("liquidity is missing")
    state.give(token, address, -units)
    state.give(token, said["to"], units)
    return [(token, address, said["to"], units)]
