"""What a swap really moved: read from the receipt's Transfer logs, never from the plan."""

from __future__ import annotations

from dataclasses import dataclass

from sep_ray.execution.ports import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Units that left and came, and the first log that says so (None: nothing moved)."""

    sold: int
    bought: int
    log_index: int | None


def read_fill(receipt: Receipt, account: str, sell: str, buy: str) -> Fill:
    """Sum an account's movements of two tokens (addresses, lower case) in one transaction.

    `sold` is what left net of what came back, `bought` what came net of what left; what else
    the transaction moved is not counted. Neither is below zero.
    """
    net = {sell: 0, buy: 0}
    logs = []
    for moved in receipt.transfers:
        if moved.token in net and account in (moved.source, moved.target):
            arrived = (moved.target == account) - (moved.source == account)
            net[moved.token] += arrived * moved.units
            logs.append(moved.log_index)
    return Fill(sold=max(-net[sell], 0), bought=max(net[buy], 0), log_index=min(logs, default=None))
