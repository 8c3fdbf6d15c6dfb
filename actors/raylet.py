"""The private calls of Ray that spare processes need: a node's processes, and starting one.

Ray has no public call that starts processes ahead of need. Its raylets have one (PrestartWorkers),
and it is called here and nowhere else. A Ray that lacks any of this fails at import, with
ImportError or AttributeError, and is then used without spare processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc

from actors.preload import Kind

# Generated code and Ray's own, whose types no checker sees.
_ray: Any = ray
_messages: Any = node_manager_pb2
_common: Any = common_pb2
_stub: Any = node_manager_pb2_grpc.NodeManagerServiceStub
_stats: Any = _messages.GetNodeStatsRequest
_prestart: Any = _messages.PrestartWorkersRequest
_worker: Any = _common.WorkerType.WORKER
_python: Any = _common.Language.PYTHON

Unanswered = grpc.RpcError
"""A node did not answer."""
CALL_S: Final = 5.0
KEPT_S: Final = 365 * 86_400
"""How long Ray may not end an idle one."""
NOBODY: Final = b"\xff"
"""Every byte of the id of no actor."""


class Raylet:
    """One node's. Every call raises Unanswered when none came within CALL_S."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def processes(self) -> dict[int, bool]:
        """Return the node's processes, and of each whether it waits for an actor."""
        workers = self._stub.GetNodeStats(_stats(include_memory_info=False), timeout=CALL_S)
        mine = (each for each in workers.core_workers_stats if each.worker_type == _worker)
        return {each.pid: not each.actor_id.strip(NOBODY) for each in mine}

    def prestart(self, kind: Kind) -> None:
        """Ask for a process with this one's environment, an engine's, but for its kind.

        Ray tells environments apart by their text, so nothing else in it may change.
        """
        own: str = _ray.get_runtime_context().get_runtime_env_string()
        asked = _prestart(language=_python, num_workers=1, keep_alive_duration_secs=KEPT_S)
        asked.runtime_env_info.serialized_runtime_env = own.replace(f'"{Kind.ENGINE}"', f'"{kind}"')
        self._stub.PrestartWorkers(asked, timeout=CALL_S)


@contextmanager
def at(address: str) -> Iterator[Raylet]:
    """Connect to a node's raylet for a while."""
    channel = init_grpc_channel(address)
    try:
        yield Raylet(_stub(channel))
    finally:
        channel.close()
