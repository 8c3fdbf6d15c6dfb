"""Spare processes: an actor that dies goes on in a process that is already there.

A new process takes seconds, for Python, for Ray and above all for what an actor imports. So on
each node a few wait with all that behind them and nothing to do. Ray gives one of them to the
next actor of its kind that it starts there, which then runs after some hundredths of a second.

The calls of Ray for this are private (`raylet.py`). Where they fail, or a Ray has none, actors
start as slowly as without spare processes.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Collection, Mapping
from typing import Any, Final

import ray
import structlog

from actors.preload import Kind, announced, forget
from sep_ray.kernel.clock import Clock, Millis

log = structlog.get_logger()

_ray: Any = ray  # Ray leaves it untyped

EVERY_MS: Final = 5_000
BIRTH_MS: Final = 30_000
"""After which a process that was asked for and never came is asked for again."""


class Roster:
    """A node's spare processes. They come one at a time: a birth leaves a processor to those who
    work."""

    def __init__(self, wanted: Mapping[Kind, int]) -> None:
        """How many of each kind, in the order of their importance."""
        self._wanted = wanted
        self._known: frozenset[int] = frozenset()
        self._asked: tuple[Kind, Millis] | None = None

    @property
    def expecting(self) -> bool:
        """Whether one is on its way."""
        return self._asked is not None

    def ask(self, kinds: Mapping[int, Kind], idle: Collection[int], now: Millis) -> Kind | None:
        """Return the kind to ask for, given all processes and which of them wait; it counts as
        asked.

        A kind with none comes before a kind with some. None while one is still on its way: it may
        be given to an actor as soon as it is there.
        """
        new, self._known = kinds.keys() - self._known, frozenset(kinds)
        if self._asked is not None:
            kind, since = self._asked
            if now - since <= BIRTH_MS and kind not in {kinds[pid] for pid in new}:
                return None
        has = [kind for pid, kind in kinds.items() if pid in idle]
        short = [k for k, count in self._wanted.items() if has.count(k) < count]
        found = min(short, key=lambda kind: has.count(kind) > 0, default=None)
        self._asked = None if found is None else (found, now)
        return found


class Spares:
    """Keeps `wanted` spare processes on every node: so many for engines, one for a strategy."""

    def __init__(self, wanted: int, clock: Clock, after_ms: int) -> None:
        """Nothing is looked at for `after_ms`; 0 wanted keeps none, as does a Ray that cannot."""
        self._raylets = _private_calls() if wanted else None
        self._wanted = {Kind.ENGINE: wanted, Kind.STRATEGY: min(wanted, 1)}
        self._clock = clock
        self._next = Millis(clock.now() + after_ms)
        self._rosters: dict[str, Roster] = {}
        self._busy = False

    async def mend(self, *, taken: bool) -> None:
        """Ask for what is lacking: now and then, and when an actor may have `taken` one or one is
        on its way. Never raises for what a node answers."""
        now = self._clock.now()
        begun = bool(self._rosters)
        if self._raylets and (now >= self._next or (begun and (taken or self._busy))):
            self._next = Millis(now + EVERY_MS)
            self._busy = await asyncio.to_thread(self._mend, self._raylets, now)

    def _mend(self, raylets: Any, now: Millis) -> bool:
        nodes = {str(n["NodeID"]): n for n in _ray.nodes() if n["Alive"]}
        self._rosters = {n: self._rosters.get(n) or Roster(self._wanted) for n in nodes}
        expecting = False
        for node_id, node in nodes.items():
            address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
            try:
                with raylets.at(address) as raylet:
                    expecting |= mend_node(self._rosters[node_id], node_id, raylet, now)
            except raylets.Unanswered as error:
                log.warning("spare_not_started", node=node_id, error=str(error))
        return expecting


def mend_node(roster: Roster, node_id: str, raylet: Any, now: Millis) -> bool:
    """Ask a node's raylet for one if one is lacking; return whether one is on its way."""
    # In this order: who announces itself in between is not taken for one that has ended.
    said = announced(node_id)
    processes = raylet.processes()
    forget(node_id, said.keys() - processes.keys())
    kinds = {pid: kind for pid, kind in said.items() if pid in processes}
    kind = roster.ask(kinds, [pid for pid, waits in processes.items() if waits], now)
    if kind is not None:
        raylet.prestart(kind)
        log.info("spare_started", node=node_id, kind=kind)
    return roster.expecting


def _private_calls() -> Any:
    """Return actors.raylet, or None: a Ray without those calls is used without spares."""
    try:
        return importlib.import_module("actors.raylet")
    except (ImportError, AttributeError) as error:
        log.warning("no_spare_processes", error=str(error))
        return None
