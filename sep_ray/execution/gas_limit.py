"""How much gas a transaction may use. What is not used is not paid, so limits are generous:
a price that moved crosses more ticks, and an oracle slot may be written for the first time."""

from __future__ import annotations

from typing import Final

from sep_ray.routing.plan import Plan
from sep_ray.routing.pools.pool import Venue

PLAIN_GAS: Final = 21_000
"""A transfer of coin to an account without code."""
APPROVAL_GAS: Final = 120_000
TRANSFER_GAS: Final = 150_000
"""A token's transfer, also behind a proxy."""
BASE_GAS: Final = 120_000
"""Calldata, the router and two tokens behind proxies."""
V2_HOP_GAS: Final = 120_000
V3_HOP_GAS: Final = 150_000
TICK_GAS: Final = 40_000
SPARE_TICKS: Final = 2
"""Ticks a hop may cross beyond those it was quoted with."""


def swap_gas_limit(plan: Plan, max_gas: int | None, data_gas: int = 0) -> int:
    """Return a swap's gas limit: by hops and ticks, twice the prediction at least, never above
    `max_gas` together with the `data_gas` that a rollup adds for its bytes."""
    gas = BASE_GAS
    for leg in plan.route.legs:
        for hop in leg.path.hops:
            if hop.venue is Venue.UNISWAP_V2:
                gas += V2_HOP_GAS
            else:
                gas += V3_HOP_GAS + TICK_GAS * (hop.ticks_crossed + SPARE_TICKS)
    gas = max(gas, 2 * plan.gas_estimate)
    return gas if max_gas is None else min(gas, max(max_gas - data_gas, 0))
