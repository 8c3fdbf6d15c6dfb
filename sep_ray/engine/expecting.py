"""Which surplus of an account is the arrival or refund of a transfer that the settlement has yet
to book. The audit leaves it to the settlement: it is neither foreign money nor a breach. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sep_ray.execution.ports import Transfer as Moved
from sep_ray.kernel.units import NATIVE, Asset, ChainId
from sep_ray.settlement.transfer import Transfer

SLACK = 10
"""Arrivals up to a tenth above what was quoted are taken for the quoted ones."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Units of an asset between `least` and `most` that may come at any time."""

    asset: Asset
    least: int
    most: int


def expectations(transfers: Iterable[Transfer], chain_id: ChainId, account: str) -> list[Expected]:
    """Return what open transfers may still bring to an account of a chain."""
    found = []
    for each in transfers:
        if each.target.chain_id == chain_id and each.recipient == account and not each.arrived:
            most = max(each.quoted_out + each.quoted_out // SLACK, each.least_out)
            found.append(Expected(each.target, each.least_out, most))
        if each.source.chain_id == chain_id and each.sender == account and not each.arrived:
            found.append(Expected(each.source, 1, each.departed or each.units))
    return found


def left_to_settlement(
    off: Mapping[Asset, int],
    moved: Sequence[Moved],
    account: str,
    expected: Sequence[Expected],
) -> dict[Asset, tuple[int, tuple[str, ...]]]:
    """Return, per asset with a surplus, how much of it is expected, and by which logs.

    Logs are looked at newest first, and one that fits any expectation is left alone: money that
    others sent at the same time is found out when no transfer is open any more. The coin comes
    without a log, so its whole surplus has to fit.
    """
    found: dict[Asset, tuple[int, tuple[str, ...]]] = {}
    for asset, units in off.items():
        open_ones = [each for each in expected if each.asset == asset]
        if units <= 0 or not open_ones:
            continue
        if asset.address == NATIVE:
            fits = any(each.least <= units <= each.most for each in open_ones)
            found[asset] = (units if fits else 0, ())
            continue
        found[asset] = _by_logs(asset, units, moved, account, open_ones)
    return found


def _by_logs(
    asset: Asset,
    units: int,
    moved: Sequence[Moved],
    account: str,
    open_ones: list[Expected],
) -> tuple[int, tuple[str, ...]]:
    left, proofs = units, []
    for log in reversed(moved):
        if log.token != asset.address or log.target != account or log.units > left:
            continue
        if any(each.least <= log.units <= each.most for each in open_ones):
            left -= log.units
            proofs.append(f"{log.block_hash}/{log.log_index}")
    return units - left, tuple(proofs)
