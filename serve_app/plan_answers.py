"""What the API says of dry runs."""

from __future__ import annotations

from pydantic import Field

from serve_app.answers import AmountAnswer, Answer
from serve_app.transfer_answers import ChoiceAnswer


class PlanStep(Answer):
    """What one swap or one movement between chains would do now."""

    kind: str = Field(description="swap or bridge")
    after: list[int] = Field(description="Places of the steps whose proceeds it uses, from 0")
    sell: AmountAnswer
    buy: AmountAnswer
    limit: AmountAnswer | None = Field(description="The worst that would be accepted on chain")
    path: list[str]
    gas: int
    impact_bp: float
    upper_bound: AmountAnswer | None = Field(
        description="The most that any route over the same pools could give, before gas"
    )
    gap_bp: float | None = Field(description="How far `buy` stays behind the upper bound")
    bridge: ChoiceAnswer | None = Field(description="Why which bridge; null for a swap")
    due: int
    detail: str


class PlanAnswer(Answer):
    """What would happen now; nothing is recorded or reserved."""

    block_number: int | None
    wanted: str
    steps: list[PlanStep]
    refused: str | None = Field(description="Why it would not be done, or null")
