"""A transfer: one bridge movement, from its plan to the credit on the other side, as data.

Only facts read from a chain move money states: a departure, an arrival and a refund carry their
Proof, and the first two can be withdrawn with their block until it is final (P7). What a service
of a bridge says (an attestation is pending, an API is down) moves a transfer between the states
of waiting, and never ends it (P6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.machine import move
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.settlement.weighed import Choice


class TransferStatus(StrEnum):
    """Where a transfer stands."""

    PLANNED = "PLANNED"  # a bridge is chosen
    RESERVED = "RESERVED"  # its funds are set aside
    DEPARTURE_SIGNED = "DEPARTURE_SIGNED"  # journalled; perhaps sent (P4)
    DEPARTURE_INCLUDED = "DEPARTURE_INCLUDED"  # the money has left the account
    DEPARTURE_FINAL = "DEPARTURE_FINAL"  # deep enough for what it is worth
    IN_FLIGHT = "IN_FLIGHT"  # the bridge has it; `waiting` says for what
    CLAIMABLE = "CLAIMABLE"  # a transaction on the target chain brings it in
    ARRIVAL_SENT = "ARRIVAL_SENT"  # that transaction is journalled; perhaps sent
    ARRIVAL_INCLUDED = "ARRIVAL_INCLUDED"  # credited
    ARRIVED = "ARRIVED"
    DELAYED = "DELAYED"  # longer under way than twice its 95th percentile
    ATTESTATION_EXPIRED = "ATTESTATION_EXPIRED"  # must be signed again by the bridge
    SLOW_FILL = "SLOW_FILL"  # the bridge itself pays, when its bundle comes
    MANUAL_REDEEM = "MANUAL_REDEEM"  # nobody ran it over there: we have to
    DELIVERED_OTHER_ASSET = "DELIVERED_OTHER_ASSET"  # credited, but not as what was asked for
    EXPIRED_REFUND_DUE = "EXPIRED_REFUND_DUE"  # the bridge owes it back on the source chain
    REFUNDED = "REFUNDED"
    INDETERMINATE = "INDETERMINATE"  # it has left, and its trace on the bridge cannot be read
    NEEDS_OPERATOR = "NEEDS_OPERATOR"  # a person has to look; what chains say still counts
    ABANDONED = "ABANDONED"  # the departure never took effect: nothing has left


TERMINAL: Final = frozenset(
    {TransferStatus.ARRIVED, TransferStatus.REFUNDED, TransferStatus.ABANDONED}
)
CREDITED: Final = frozenset({TransferStatus.ARRIVAL_INCLUDED, TransferStatus.DELIVERED_OTHER_ASSET})
"""The money is on the account of the target chain, and its block may still go."""
WAITING: Final = frozenset(
    {
        TransferStatus.IN_FLIGHT,
        TransferStatus.DELAYED,
        TransferStatus.ATTESTATION_EXPIRED,
        TransferStatus.SLOW_FILL,
        TransferStatus.CLAIMABLE,
        TransferStatus.MANUAL_REDEEM,
        TransferStatus.ARRIVAL_SENT,
        TransferStatus.INDETERMINATE,
    }
)
"""On the other side of the departure, with the outcome open and in our own hands."""
OUTSTANDING: Final = WAITING | {TransferStatus.EXPIRED_REFUND_DUE, TransferStatus.NEEDS_OPERATOR}
"""The money is with the bridge: what it says and what chains show is looked at again and again."""
CLAIMS: Final = frozenset({TransferStatus.CLAIMABLE, TransferStatus.MANUAL_REDEEM})
"""The target chain's executor is to send a claim."""


class Waiting(StrEnum):
    """What a transfer in flight waits for."""

    ATTESTATION = "attestation"  # signatures of the bridge's own witnesses
    FILL = "fill"  # somebody who pays over there
    CHALLENGE = "challenge"  # the end of a period in which it may be disputed
    QUEUE = "queue"  # its turn in a sequencer, a bus, a bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The log that says so: where it stands, to the index. Hashes are lower-case 0x-hex."""

    chain_id: ChainId
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int

    @property
    def text(self) -> str:
        """As postings name it: "block_hash/log_index"."""
        return f"{self.block_hash}/{self.log_index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One bridge movement and where it stands: the fold of its stream.

    * `units`; `quoted_out`, `least_out`: offered, in `source`; expected and least, in `target`
    * `fee_wei`: the source chain's coin that goes along with the departure as the bridge's fee
    * `memo`, `reference`: the adapter's own words, opaque to all others: what `depart` wrote down,
      and under which name (deposit id, message id, ticket) the bridge knows the movement
    * `claim_gas`: gas units a claim of ours takes on the target chain, 0 if somebody else claims
    * `expires_at`: after which the bridge owes a refund, by the target chain's clock; None: never
    * `watch_from`: the target chain's block from which an arrival is looked for
    * `departed`, `arrived`, `refunded`: units that chains say have moved; 0 until they do
    * `refund_due`: the bridge was found to owe it back; the ledger holds it as such from then on
    * `claims`: transactions of ours on the target chain that were to bring it in
    """

    id: UUID
    intent_id: UUID
    step_id: UUID
    strategy_id: str
    bridge: str
    mode: str
    source: Asset
    target: Asset
    sender: str
    recipient: str
    units: int
    quoted_out: int
    least_out: int
    fee_wei: int
    p50_ms: int
    p95_ms: int
    planned_at: Millis
    claim_gas: int = 0
    expires_at: Millis | None = None
    watch_from: int = 0
    memo: str = ""
    choice: Choice = field(default_factory=Choice)
    status: TransferStatus = TransferStatus.PLANNED
    version: int = 0
    updated_at: Millis = Millis(0)
    departure_id: UUID | None = None
    departed_at: Millis | None = None
    departed: int = 0
    departure: Proof | None = None
    waiting: Waiting | None = None
    reference: str = ""
    claims: int = 0
    claim_id: UUID | None = None
    arrived: int = 0
    arrived_at: Millis | None = None
    arrived_asset: Asset | None = None
    arrival: Proof | None = None
    observed: bool = False
    refund_due: bool = False
    refunded: int = 0
    refund: Proof | None = None
    released_at: Millis | None = None
    detail: str = ""

    @property
    def stream_id(self) -> str:
        """The stream that holds this transfer's events."""
        return f"transfer/{self.id}"

    @property
    def exposed(self) -> int:
        """Units of the source asset that the bridge has, or is to have: from the plan until they
        are credited, on either side."""
        return 0 if self.arrived or self.status in TERMINAL else self.units

    @property
    def late_after(self) -> Millis:
        """The instant after which it counts as delayed: twice its p95 after it left."""
        return Millis((self.departed_at or self.planned_at) + 2 * self.p95_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPlanned:
    """A bridge was chosen for a step; the choice is explained in it."""

    transfer: Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReserved:
    """So many units of the source asset are set aside."""

    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartureSigned:
    """The attempt that carries it is in the journal, in this very commit (P4)."""

    departure_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartureIncluded:
    """The money left the account: units read from the transaction's own logs."""

    departed: int
    departure: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartureWithdrawn:
    """The block of the departure is no longer part of the chain; it is sent again."""

    block_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartureFinalized:
    """The departure is as deep as its worth asks. A deeper reorganisation withdraws it still."""

    block_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartureVoid:
    """The attempt ended without effect; the reserve is given back."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferUnderWay:
    """The bridge knows it under `reference`, and it waits for `waiting`."""

    waiting: Waiting
    reference: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferUnread:
    """The departure stands, and no trace of it is found on the bridge."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferDelayed:
    """It takes much longer than it should; nothing is lost by waiting on."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferClaimable:
    """A transaction of ours on the target chain brings it in."""

    reference: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationExpired:
    """What the witnesses signed is too old; they have to sign again."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowFillRequested:
    """Nobody filled it: the bridge itself was asked to pay."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeemNeeded:
    """It came over and was not run: we have to run it ourselves."""

    reference: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalSent:
    """The attempt that claims it is in the journal, in this very commit (P4)."""

    claim_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalVoid:
    """The claim ended and brought nothing in; why is looked at anew."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalIncluded:
    """Credited, whoever brought it in: units and asset read from the arrival's own log.

    `observed`: an audit had booked it to the treasury as money of unknown origin, which gives it
    to the strategy now.
    """

    arrived: int
    arrived_asset: Asset
    arrival: Proof
    observed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAssetDelivered:
    """Credited as what it came as, which is not what was asked for."""

    arrived: int
    arrived_asset: Asset
    arrival: Proof
    observed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalWithdrawn:
    """The block of the arrival is no longer part of the chain: the credit is taken back."""

    block_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalFinalized:
    """Nothing can take the arrival back."""

    block_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferExpired:
    """It can no longer arrive: the bridge owes it back."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRefunded:
    """Credited back on the source chain, by a log that is final; `detail` is by what it was found
    to be this transfer's."""

    refunded: int
    refund: Proof
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorNeeded:
    """The platform has done what it can; `detail` is the evidence."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorReleased:
    """A named person has looked and lets the platform go on."""

    principal: str
    detail: str


TransferEvent = (
    TransferPlanned
    | TransferReserved
    | DepartureSigned
    | DepartureIncluded
    | DepartureWithdrawn
    | DepartureFinalized
    | DepartureVoid
    | TransferUnderWay
    | TransferUnread
    | TransferDelayed
    | TransferClaimable
    | AttestationExpired
    | SlowFillRequested
    | RedeemNeeded
    | ArrivalSent
    | ArrivalVoid
    | ArrivalIncluded
    | OtherAssetDelivered
    | ArrivalWithdrawn
    | ArrivalFinalized
    | TransferExpired
    | TransferRefunded
    | OperatorNeeded
    | OperatorReleased
)

_T = TransferStatus
_SENDING: Final[Mapping[tuple[TransferStatus, type], TransferStatus]] = {
    (_T.PLANNED, TransferReserved): _T.RESERVED,
    (_T.RESERVED, DepartureSigned): _T.DEPARTURE_SIGNED,
    (_T.DEPARTURE_SIGNED, DepartureIncluded): _T.DEPARTURE_INCLUDED,
    (_T.DEPARTURE_SIGNED, DepartureVoid): _T.ABANDONED,
    (_T.DEPARTURE_INCLUDED, DepartureWithdrawn): _T.DEPARTURE_SIGNED,
    (_T.DEPARTURE_INCLUDED, DepartureFinalized): _T.DEPARTURE_FINAL,
    (_T.DEPARTURE_FINAL, TransferUnderWay): _T.IN_FLIGHT,
    (_T.DEPARTURE_FINAL, TransferUnread): _T.INDETERMINATE,
}
_LEADS: Final[Mapping[type, TransferStatus]] = {
    TransferUnderWay: _T.IN_FLIGHT,
    TransferUnread: _T.INDETERMINATE,
    TransferDelayed: _T.DELAYED,
    TransferClaimable: _T.CLAIMABLE,
    AttestationExpired: _T.ATTESTATION_EXPIRED,
    SlowFillRequested: _T.SLOW_FILL,
    RedeemNeeded: _T.MANUAL_REDEEM,
    TransferExpired: _T.EXPIRED_REFUND_DUE,
    OperatorNeeded: _T.NEEDS_OPERATOR,
}
"""From any state of waiting to any other: in which order a bridge passes them is its affair."""
_MONEY: Final[Mapping[type, TransferStatus]] = {
    ArrivalIncluded: _T.ARRIVAL_INCLUDED,
    OtherAssetDelivered: _T.DELIVERED_OTHER_ASSET,
    TransferRefunded: _T.REFUNDED,
}
"""What chains show counts wherever the transfer stands."""
TRANSITIONS: Final[Mapping[tuple[TransferStatus, type], TransferStatus]] = {
    **_SENDING,
    **{(s, e): to for s in _T if s in WAITING for e, to in _LEADS.items() if to is not s},
    (_T.IN_FLIGHT, TransferUnderWay): _T.IN_FLIGHT,
    **{(s, e): to for s in _T if s in OUTSTANDING for e, to in _MONEY.items()},
    **{(s, DepartureWithdrawn): _T.DEPARTURE_SIGNED for s in _T if s in WAITING},
    (_T.DEPARTURE_FINAL, DepartureWithdrawn): _T.DEPARTURE_SIGNED,
    (_T.CLAIMABLE, ArrivalSent): _T.ARRIVAL_SENT,
    (_T.MANUAL_REDEEM, ArrivalSent): _T.ARRIVAL_SENT,
    (_T.ARRIVAL_SENT, ArrivalVoid): _T.IN_FLIGHT,
    (_T.ARRIVAL_INCLUDED, ArrivalWithdrawn): _T.IN_FLIGHT,
    (_T.ARRIVAL_INCLUDED, ArrivalFinalized): _T.ARRIVED,
    (_T.DELIVERED_OTHER_ASSET, ArrivalWithdrawn): _T.IN_FLIGHT,
    (_T.DELIVERED_OTHER_ASSET, ArrivalFinalized): _T.ARRIVED,
    (_T.EXPIRED_REFUND_DUE, OperatorNeeded): _T.NEEDS_OPERATOR,
    (_T.NEEDS_OPERATOR, TransferExpired): _T.EXPIRED_REFUND_DUE,
    (_T.NEEDS_OPERATOR, OperatorReleased): _T.IN_FLIGHT,
}

_SETS: Final[Mapping[type, tuple[str, ...]]] = {
    DepartureSigned: ("departure_id",),
    DepartureIncluded: ("departed", "departure"),
    TransferUnderWay: ("waiting", "reference"),
    TransferClaimable: ("reference",),
    RedeemNeeded: ("reference",),
    ArrivalSent: ("claim_id",),
    ArrivalIncluded: ("arrived", "arrived_asset", "arrival", "observed"),
    OtherAssetDelivered: ("arrived", "arrived_asset", "arrival", "observed"),
    TransferRefunded: ("refunded", "refund"),
}
"""The fields of a transfer that an event's fields of the same name replace."""


def evolve(transfer: Transfer | None, event: TransferEvent, at: Millis) -> Transfer:
    """Return the transfer after `event`; only TransferPlanned may begin a stream."""
    if transfer is None:
        if not isinstance(event, TransferPlanned):
            raise InvariantBroken("a transfer begins planned", event=type(event).__name__)
        return replace(event.transfer, version=1, updated_at=at)
    changes = {name: getattr(event, name) for name in _SETS.get(type(event), ())}
    return replace(
        transfer,
        status=move(TRANSITIONS, transfer.status, event),
        version=transfer.version + 1,
        updated_at=at,
        detail=getattr(event, "detail", ""),
        **(changes | _derived(transfer, event, at)),
    )


def _derived(transfer: Transfer, event: TransferEvent, at: Millis) -> dict[str, Any]:
    """Return the fields that follow from an event without being named in it."""
    found: dict[str, Any] = {}
    match event:
        case DepartureIncluded():
            found = {"departed_at": at}
        case DepartureWithdrawn():
            found = {"departed": 0, "departure": None, "departed_at": None}
            found |= {"waiting": None, "reference": "", "claims": 0}
        case ArrivalSent():
            found = {"claims": transfer.claims + 1}
        case ArrivalIncluded() | OtherAssetDelivered():
            found = {"arrived_at": at}
        case ArrivalWithdrawn():
            found = {"arrived": 0, "arrived_at": None, "arrived_asset": None, "arrival": None}
        case TransferExpired():
            found = {"refund_due": True}
        case OperatorReleased():
            found = {"claims": 0, "released_at": at}
        case _:
            pass
    return found
