"""Bodies and answers about accounts that trade and transactions in flight."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from serve_app.answers import AmountAnswer, Answer, EventAnswer
from serve_app.schemas import PRINTABLE, Body, StrategyName

_ID: Final = "01990000-0000-7000-8000-000000000000"
Note = Annotated[str, Field(min_length=3, max_length=500, pattern=PRINTABLE)]


class ResumeBody(Body):
    """Why a breached account may go on, and whose the difference is."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"note": "node restored from yesterday's backup"}]}
    )

    note: Note
    strategy_id: StrategyName = "treasury"


class ResolveBody(Body):
    """What a named person knows about a transaction that the chain does not show."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"decision": "never_landed", "note": "the node was cut off all day"}]
        }
    )

    decision: Literal["never_landed", "look_again"]
    note: Note


class BreachAnswer(Answer):
    """What did not add up at a block."""

    booked: AmountAnswer
    held: AmountAnswer
    block_number: int
    block_hash: str
    detail: str


class LaneAnswer(Answer):
    """An account that trades."""

    chain_id: int
    account: str
    state: str = Field(description="standby, recovering, ready, unsettled or breached")
    in_flight: int
    next_nonce: int
    epoch: int | None = Field(description="Of the lease; null while another process holds it")
    coin: AmountAnswer | None = Field(description="What gas is paid with; null before it was read")
    refuelling: AmountAnswer | None = Field(description="Coin that our other accounts are sending")
    short: bool = Field(description="Less coin than SEP_REFUEL_BELOW_WEI")
    breaches: list[BreachAnswer]


class LanesAnswer(Answer):
    """All accounts; `unread` are chains that nobody could be asked about."""

    lanes: list[LaneAnswer]
    unread: list[str]


class ResumeAnswer(Answer):
    """The account goes on; by so much the books were corrected."""

    chain_id: int
    account: str
    corrections: list[AmountAnswer]


class AttemptAnswer(Answer):
    """One nonce's worth of trying."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "chain_id": 1,
                    "account": "0x" + "ac" * 20,
                    "nonce": 7,
                    "purpose": "swap",
                    "state": "NEEDS_OPERATOR",
                    "step_id": _ID,
                    "tx_hashes": ["0x" + "ab" * 32],
                    "deadline": 1_800_000_000_000,
                    "detail": "nonce 7 is used, and nothing shows by what",
                }
            ]
        }
    )

    id: str
    chain_id: int
    account: str
    nonce: int
    purpose: str
    state: str
    step_id: str | None
    tx_hashes: list[str] = Field(description="Every version signed, the newest last")
    block_number: int | None = None
    deadline: int
    detail: str = Field(description="The evidence, or why it reverted")


class AttemptsAnswer(Answer):
    """Transactions that are not final; `unread` are chains that nobody could be asked about."""

    attempts: list[AttemptAnswer]
    unread: list[str]


class AttemptStoryAnswer(Answer):
    """A transaction and its events, oldest first."""

    attempt: AttemptAnswer
    events: list[EventAnswer]
