"""Bodies and answers about limits and halts. Codes and what they mean come from the policy."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from sep_ray.policy.codes import MEANING, Denial
from sep_ray.policy.halts import Halt, Mode, Scope
from sep_ray.policy.limits import MOST_MEMBERS, Kind, Limit, Listed, Measure
from serve_app.answers import Answer
from serve_app.schemas import Body, Bound, StrategyName, Text

_ID: Final = "01990000-0000-7000-8000-000000000000"
CODES: Final = "; ".join(f"{code.value}: {MEANING[code]}" for code in Denial)
Address = Annotated[
    str,
    Field(pattern=r"^0x[0-9a-fA-F]{40}$", json_schema_extra={"allowed": "0x and 40 hex digits"}),
]
Selector = Annotated[
    str,
    Field(pattern=r"^0x[0-9a-fA-F]{8}$", json_schema_extra={"allowed": "0x and 8 hex digits"}),
]
LimitName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        json_schema_extra={"allowed": "1..64 of a-z 0-9 . _ -, a letter or digit first"},
    ),
]


class HaltBody(Body):
    """Stop something: an intent, a strategy, a chain or everything."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"scope": "chain", "target": "42161", "why": "the node lies"}]
        }
    )

    scope: Literal["intent", "strategy", "chain", "all"]
    target: Annotated[str, Field(max_length=64)] = ""
    mode: Literal["halted", "reducing"] = Mode.HALTED.value
    why: Text


class HaltAnswer(Answer):
    """One halt."""

    id: str = Field(examples=[_ID])
    scope: str
    target: str
    mode: str
    why: str
    principal: str
    at: int
    state: str
    released_by: str
    released_at: int | None
    told: dict[str, bool] | None = Field(
        None, description="Which chains' executors said at once that they know"
    )


class HaltsAnswer(Answer):
    """Halts, those that stand first."""

    halts: list[HaltAnswer]


class LimitBody(Body):
    """A rule that must hold for everything that is signed. The same `id` again replaces it.

    `amount` counts, by measure: the chain's USDC in millionths (value), smallest units of `asset`
    (units), wei (gas), transactions (count), parts per million (ppm).
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "momentum-hourly",
                    "kind": "window",
                    "measure": "value",
                    "amount": "50000000000",
                    "window_ms": 3600000,
                    "strategy_id": "momentum-1",
                }
            ]
        }
    )

    id: LimitName
    kind: Literal["transaction", "window", "total", "position", "daily_loss", "drawdown", "list"]
    measure: Literal["value", "units", "gas", "count", "ppm", "members"] = Measure.VALUE.value
    amount: Bound = 0
    window_ms: int | None = None
    strategy_id: StrategyName | None = None
    chain_id: Annotated[int, Field(ge=1)] | None = None
    asset: Text | None = None
    contract: Address | None = None
    selector: Selector | None = None
    listed: Literal["contracts", "selectors", "assets", "recipients", "spenders"] | None = None
    members: Annotated[list[Text], Field(default_factory=list, max_length=MOST_MEMBERS)]


class LimitAnswer(Answer):
    """One limit, and how much of it is in use now; None where that is not a sum."""

    id: str
    kind: str
    measure: str
    amount: str
    window_ms: int | None
    strategy_id: str | None
    chain_id: int | None
    asset: str | None
    contract: str | None
    selector: str | None
    listed: str | None
    members: list[str]
    used: str | None = None


class LimitsAnswer(Answer):
    """All limits. Clearances given under another version do not count."""

    version: int
    limits: list[LimitAnswer]
    codes: dict[str, str] = Field(description=f"Why something may be denied. {CODES}")


def halt_answer(halt: Halt, told: dict[str, bool] | None = None) -> HaltAnswer:
    """Return a halt as clients read it."""
    return HaltAnswer(
        id=str(halt.id),
        scope=halt.scope.value,
        target=halt.target,
        mode=halt.mode.value,
        why=halt.why,
        principal=halt.principal,
        at=halt.at,
        state=halt.status.value,
        released_by=halt.released_by,
        released_at=halt.released_at,
        told=told,
    )


def limit_answer(limit: Limit, used: int | None) -> LimitAnswer:
    """Return a limit as clients read it."""
    subject = limit.subject
    return LimitAnswer(
        id=limit.id,
        kind=limit.kind.value,
        measure=limit.measure.value,
        amount=str(limit.amount),
        window_ms=limit.window_ms,
        strategy_id=subject.strategy_id,
        chain_id=subject.chain_id,
        asset=str(subject.asset) if subject.asset is not None else None,
        contract=subject.contract,
        selector=subject.selector,
        listed=limit.listed.value if limit.listed is not None else None,
        members=sorted(limit.members),
        used=None if used is None else str(used),
    )


def scope_of(body: HaltBody) -> tuple[Scope, Mode]:
    """Return a body's words as the policy's."""
    return Scope(body.scope), Mode(body.mode)


def kinds_of(body: LimitBody) -> tuple[Kind, Measure, Listed | None]:
    """Return a body's words as the policy's; a list counts nothing."""
    kind = Kind(body.kind)
    measure = Measure.MEMBERS if kind is Kind.LIST else Measure(body.measure)
    return kind, measure, Listed(body.listed) if body.listed is not None else None
