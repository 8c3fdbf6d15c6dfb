"""Postings of money between chains (P8).

What leaves an account stays ours: it goes from the reserve to IN_FLIGHT, in the asset that left,
and is REFUND_DUE from when the bridge owes it back. It leaves the books when its arrival or its
refund enters them, with the amount that log says; the difference between the two sides is the
bridge's fee.
"""

from __future__ import annotations

from sep_ray.kernel.units import Asset
from sep_ray.portfolio.ledger import TREASURY, Bucket, Posting, allocate, gas, pair, release
from sep_ray.settlement.transfer import Proof, Transfer


def departed(transfer: Transfer, reserved: int, units: int, proof: Proof) -> tuple[Posting, ...]:
    """Book that `units` left the account to the bridge; what else was reserved is given back."""
    owner, asset = transfer.strategy_id, transfer.source
    rest = release(owner, asset, reserved - units) if reserved > units else ()
    out = pair(owner, asset, units, Bucket.RESERVED, Bucket.IN_FLIGHT, proof.text, transfer.sender)
    return (*out, *rest)


def fee(transfer: Transfer, proof: Proof) -> tuple[Posting, ...]:
    """Book the coin that went along as the bridge's fee, as gas is booked."""
    chain_id = transfer.source.chain_id
    if transfer.fee_wei == 0:
        return ()
    return gas(
        transfer.strategy_id, chain_id, transfer.fee_wei, proof.text, account=transfer.sender
    )


def arrived(
    transfer: Transfer, asset: Asset, units: int, proof: Proof, *, observed: bool
) -> tuple[Posting, ...]:
    """Book an arrival: what was with the bridge is delivered, what the log says is available.

    What an audit has `observed` and given to the treasury is given to the strategy from there.
    """
    owner = transfer.strategy_id
    out = pair(owner, transfer.source, transfer.departed, _where(transfer), Bucket.SPENT)
    if observed:
        return (*out, *allocate(asset, units, TREASURY, owner))
    came = pair(
        owner, asset, units, Bucket.RECEIVED, Bucket.AVAILABLE, proof.text, transfer.recipient
    )
    return (*out, *came)


def due_back(transfer: Transfer) -> tuple[Posting, ...]:
    """Book that the bridge owes it back; nothing when it is booked so already."""
    if transfer.refund_due:
        return ()
    return pair(
        transfer.strategy_id,
        transfer.source,
        transfer.departed,
        Bucket.IN_FLIGHT,
        Bucket.REFUND_DUE,
    )


def refunded(transfer: Transfer, units: int, proof: Proof) -> tuple[Posting, ...]:
    """Book a refund: what the log says is available again, the bridge keeps or adds the rest."""
    owner, asset, source = transfer.strategy_id, transfer.source, _where(transfer)
    back = min(units, transfer.departed)
    lines = pair(owner, asset, back, source, Bucket.AVAILABLE, proof.text, transfer.sender)
    if units < transfer.departed:
        kept = transfer.departed - units
        return (*lines, *pair(owner, asset, kept, source, Bucket.SPENT))
    if units > transfer.departed:
        more = units - transfer.departed
        added = pair(
            owner, asset, more, Bucket.RECEIVED, Bucket.AVAILABLE, proof.text, transfer.sender
        )
        return (*lines, *added)
    return lines


def _where(transfer: Transfer) -> Bucket:
    return Bucket.REFUND_DUE if transfer.refund_due else Bucket.IN_FLIGHT
