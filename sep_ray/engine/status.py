"""An executor and its lanes as operators see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sep_ray.engine.lane import Lane, LaneState
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.ports import EndpointStatus
from sep_ray.kernel.clock import Millis
from sep_ray.routing.stops import StoppedPool


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """A lane as operators see it; `epoch` None while another process holds the lease.

    `coin_wei` is what its account holds for gas, None before that was read; `refuel_wei` what other
    accounts are sending it; `short` says that it holds less than is wanted.
    """

    account: str
    state: LaneState
    in_flight: int
    next_nonce: int
    epoch: int | None
    coin_wei: int | None = None
    refuel_wei: int = 0
    short: bool = False


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


def lane_status(lanes: Sequence[Lane], rules: ChainRules) -> tuple[LaneStatus, ...]:
    """Return how a chain's lanes stand."""
    moving = [each.moving for lane in lanes for each in lane.pending() if each.moving is not None]
    found = []
    for lane in lanes:
        coin = lane.units.get(rules.coin)
        status = LaneStatus(
            account=lane.account,
            state=lane.state,
            in_flight=len(lane.pending()),
            next_nonce=lane.next_nonce,
            epoch=lane.lease.epoch if lane.lease else None,
            coin_wei=coin,
            refuel_wei=sum(
                each.units
                for each in moving
                if (each.asset, each.target) == (rules.coin, lane.account)
            ),
            short=coin is not None and coin < rules.refuel_below_wei,
        )
        found.append(status)
    return tuple(found)
