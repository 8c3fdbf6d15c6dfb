"""What the API says about transfers between chains."""

from __future__ import annotations

from pydantic import Field

from serve_app.answers import AmountAnswer, Answer, EventAnswer


class ProofAnswer(Answer):
    """The log that says so."""

    chain_id: int
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int


class AlternativeAnswer(Answer):
    """One way that was weighed."""

    bridge: str
    mode: str
    arrives: AmountAnswer
    p50_ms: int
    p95_ms: int
    trust: str
    cost_ppm: int | None = Field(description="All it costs, in millionths; null: no offer")
    verdict: str = Field(description="Why it was taken or not")


class ChoiceAnswer(Answer):
    """Why this bridge."""

    reason: str
    alternatives: list[AlternativeAnswer]


class TransferAnswer(Answer):
    """Money on its way from one chain to another."""

    id: str
    intent_id: str
    step_id: str
    strategy_id: str
    bridge: str
    mode: str
    state: str
    waiting: str | None = Field(
        description="What it waits for: attestation, fill, challenge, queue"
    )
    detail: str
    from_chain: int
    to_chain: int
    offered: AmountAnswer
    expected: AmountAnswer
    least: AmountAnswer
    departed: AmountAnswer
    arrived: AmountAnswer | None
    refunded: AmountAnswer | None
    refund_due: bool
    fee_wei: str
    reference: str = Field(description="Under which the bridge knows it")
    planned_at: int
    departed_at: int | None
    arrived_at: int | None
    late_after: int
    expires_at: int | None
    updated_at: int
    claims: int
    departure: ProofAnswer | None
    arrival: ProofAnswer | None
    refund: ProofAnswer | None
    choice: ChoiceAnswer
    timeline: list[EventAnswer] | None = Field(description="Every event; null in lists")


class TransfersAnswer(Answer):
    """Transfers, newest first."""

    transfers: list[TransferAnswer]
    next: str | None
