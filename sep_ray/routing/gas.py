"""What gas will cost in the next block."""

from __future__ import annotations

from typing import Final

ELASTICITY: Final = 2
CHANGE_DENOMINATOR: Final = 8


def next_base_fee(parent_base_fee: int, gas_used: int, gas_limit: int) -> int:
    """Return the next block's base fee in wei, exactly (EIP-1559; all divisions round down).

    With target = gas_limit / 2 the fee moves by parent * |used - target| / target / 8, upwards by
    at least one wei.
    """
    target = gas_limit // ELASTICITY
    if target == 0 or gas_used == target:
        return parent_base_fee
    change = parent_base_fee * abs(gas_used - target) // target // CHANGE_DENOMINATOR
    return parent_base_fee + max(change, 1) if gas_used > target else parent_base_fee - change
