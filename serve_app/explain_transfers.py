"""What happened to a transfer between chains, in a sentence each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from sep_ray.kernel.units import Asset
from sep_ray.settlement import transfer as t

SHORT: Final = 10


class About(Protocol):
    """Writes amounts in whole tokens."""

    def out(self, units: int) -> str:
        """Write units of what leaves."""

    def amount(self, asset: Asset, units: int) -> str:
        """Write units of an asset."""


Say = Callable[[Any, Any], str]
"""An event and what is known About its transfer, in words."""


def _planned(event: t.TransferPlanned, _: About) -> str:
    moved = event.transfer
    others = ", ".join(
        f"{each.bridge}: {each.verdict}" for each in moved.choice.alternatives if each.verdict
    )
    words = f"{moved.bridge} is to carry it: {moved.choice.reason}"
    return f"{words} ({others})" if others else words


def _credited(event: t.ArrivalIncluded | t.OtherAssetDelivered, about: About) -> str:
    came = about.amount(event.arrived_asset, event.arrived)
    return f"{came} were credited, by {_log(event.arrival)}"


def _returned(event: t.TransferRefunded, about: About) -> str:
    words = f"{about.out(event.refunded)} came back, by {_log(event.refund)}"
    return f"{words}; {event.detail}" if event.detail else words


def _log(proof: t.Proof) -> str:
    return f"log {proof.log_index} of {proof.tx_hash[:SHORT]} in block {proof.block_number}"


def _detail(words: str) -> Say:
    return lambda event, _: f"{words}: {event.detail}" if event.detail else words


SENTENCES: Final[Mapping[type, Say]] = {
    t.TransferPlanned: _planned,
    t.TransferReserved: lambda e, about: f"{about.out(e.units)} are set aside for it",
    t.DepartureSigned: lambda _e, _: "The departure is signed and in the journal",
    t.DepartureIncluded: lambda e, about: (
        f"{about.out(e.departed)} left the account, by {_log(e.departure)}"
    ),
    t.DepartureWithdrawn: lambda e, _: (
        f"Block {e.block_hash[:SHORT]} left the chain, and the departure with it; it is sent again"
    ),
    t.DepartureFinalized: lambda e, _: f"Block {e.block_number} makes the departure final",
    t.DepartureVoid: _detail("The departure took no effect; nothing has left"),
    t.TransferUnderWay: lambda e, _: (
        f"The bridge has it as {e.reference}; waiting: {e.waiting.value}"
    ),
    t.TransferUnread: _detail("It has left, and the bridge shows no trace of it"),
    t.TransferDelayed: _detail("It takes longer than it should"),
    t.TransferClaimable: _detail("A transaction of ours brings it in now"),
    t.AttestationExpired: _detail("The attestation is too old and has to be signed again"),
    t.SlowFillRequested: _detail("Nobody filled it; the bridge itself was asked to pay"),
    t.RedeemNeeded: _detail("It came over and was not run; we run it ourselves"),
    t.ArrivalSent: lambda _e, _: "The claim is signed and in the journal",
    t.ArrivalVoid: _detail("The claim brought nothing in"),
    t.ArrivalIncluded: _credited,
    t.OtherAssetDelivered: lambda e, about: f"Not what was asked for, but {_credited(e, about)}",
    t.ArrivalWithdrawn: lambda e, _: (
        f"Block {e.block_hash[:SHORT]} left the chain, and the arrival with it"
    ),
    t.ArrivalFinalized: lambda e, _: f"Block {e.block_number} makes the arrival final",
    t.TransferExpired: _detail("It cannot arrive any more; the bridge owes it back"),
    t.TransferRefunded: _returned,
    t.OperatorNeeded: _detail("A person has to look"),
    t.OperatorReleased: lambda e, _: f"{e.principal} lets it go on: {e.detail}",
}
