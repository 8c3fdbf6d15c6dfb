"""An executor and its lanes as operators see them."""

from __future__ import annotations

from dataclasses import dataclass

from sep_ray.engine.lane import LaneState
from sep_ray.execution.ports import EndpointStatus
from sep_ray.kernel.clock import Millis
from sep_ray.routing.stops import StoppedPool


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """A lane as operators see it; `epoch` None while another process holds the lease."""

    account: str
    state: LaneState
    in_flight: int
    next_nonce: int
    epoch: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorStatus:
    """An executor as operators see it; `head` None before the first one.

    `stopped` are pools that are not routed on, each with its cause.
    """

    chain_id: int
    head: int | None
    head_at: Millis | None
    snapshot_block: int | None
    stopped: tuple[StoppedPool, ...]
    lanes: tuple[LaneStatus, ...]
    endpoints: tuple[EndpointStatus, ...] = ()
