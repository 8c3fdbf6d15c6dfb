"""Spare processes: an actor that dies goes on in a process that is already there.

A new process takes seconds, for Python, for Ray and above all for what an actor imports. So on
each node a few wait with all that behind them and nothing to do. Ray gives one of them to the
next actor of its kind that it starts there, which then runs after some hundredths of a second.

Ray has no public call that starts processes ahead of need. Its raylets have one (PrestartWorkers),
and it is called here and nowhere else. Where it fails actors start as slowly as without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

import grpc
import ray
import structlog
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc

from actors.preload import Kind, preloaded
from sep_ray.kernel.clock import Clock, Millis

log = structlog.get_logger()

# Generated code and Ray's own, whose types no checker sees.
_ray: Any = ray
_messages: Any = node_manager_pb2
_services: Any = node_manager_pb2_grpc
_common: Any = common_pb2

EVERY_MS: Final = 5_000
BIRTH_MS: Final = 30_000
"""After which a process that was asked for and never came is asked for again."""
CALL_S: Final = 5.0
KEPT_S: Final = 365 * 86_400
"""How long Ray may not end an idle one."""
NOBODY: Final = b"\xff"
"""Every byte of the id of no actor."""


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
        """Nothing is looked at for `after_ms`; 0 wanted keeps none."""
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
        if any(self._wanted.values()) and (now >= self._next or (begun and (taken or self._busy))):
            self._next = Millis(now + EVERY_MS)
            self._busy = await asyncio.to_thread(self._mend, now)

    def _mend(self, now: Millis) -> bool:
        nodes = {str(n["NodeID"]): n for n in _ray.nodes() if n["Alive"]}
        self._rosters = {n: self._rosters.get(n) or Roster(self._wanted) for n in nodes}
        expecting = False
        for node_id, node in nodes.items():
            address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
            try:
                expecting |= _mend_node(self._rosters[node_id], node_id, address, now)
            except grpc.RpcError as error:
                log.warning("spare_not_started", node=node_id, error=str(error))
        return expecting


def _mend_node(roster: Roster, node_id: str, address: str, now: Millis) -> bool:
    """Ask for one if one is lacking; return whether one is on its way."""
    channel = init_grpc_channel(address)
    try:
        raylet = _services.NodeManagerServiceStub(channel)
        processes = _processes(raylet)
        idle = [pid for pid, waits in processes.items() if waits]
        kind = roster.ask(preloaded(node_id, processes), idle, now)
        if kind is not None:
            _prestart(raylet, kind)
            log.info("spare_started", node=address, kind=kind)
        return roster.expecting
    finally:
        channel.close()


def _processes(raylet: Any) -> dict[int, bool]:
    """Return a node's processes, and of each whether it waits for an actor."""
    asked = _messages.GetNodeStatsRequest(include_memory_info=False)
    workers = raylet.GetNodeStats(asked, timeout=CALL_S).core_workers_stats
    mine = (each for each in workers if each.worker_type == _common.WorkerType.WORKER)
    return {each.pid: not each.actor_id.strip(NOBODY) for each in mine}


def _prestart(raylet: Any, kind: Kind) -> None:
    """Ask for a process with this one's environment, an engine's, but for its kind.

    Ray tells environments apart by their text, so nothing else in it may change.
    """
    own: str = _ray.get_runtime_context().get_runtime_env_string()
    asked = _messages.PrestartWorkersRequest(
        language=_common.Language.PYTHON, num_workers=1, keep_alive_duration_secs=KEPT_S
    )
    asked.runtime_env_info.serialized_runtime_env = own.replace(f'"{Kind.ENGINE}"', f'"{kind}"')
    raylet.PrestartWorkers(asked, timeout=CALL_S)
