"""Errors as clients see them: problem+json (RFC 9457), one shape for everything that is refused.

Every code below stands for one thing a client can act on. Nothing is recorded when one of them
is the answer, but for `unknown_outcome`, which says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

MEDIA_TYPE: Final = "application/problem+json"

TITLES: Final[Mapping[str, tuple[int, str]]] = {
    "invalid_json": (400, "The body is not JSON"),
    "invalid_cursor": (400, "The cursor does not belong to this query"),
    "unauthenticated": (401, "A bearer token is needed"),
    "token_invalid": (401, "The token is not valid"),
    "token_expired": (401, "The token has expired"),
    "forbidden": (403, "The token's role does not allow this"),
    "out_of_scope": (403, "The token does not cover this strategy"),
    "not_found": (404, "There is no such thing here"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "key_reused": (409, "The idempotency key came before with another body"),
    "already_ended": (409, "It has already ended"),
    "not_allowed_now": (409, "Its present state does not allow this"),
    "insufficient_balance": (409, "There is not enough available"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body must be application/json"),
    "invalid_field": (422, "A field is not acceptable"),
    "missing_field": (422, "A field is missing"),
    "unknown_field": (422, "There is no such field"),
    "unknown_chain": (422, "The chain is not known"),
    "unknown_asset": (422, "The asset is not known"),
    "unknown_strategy": (422, "The strategy is not known"),
    "too_many_decimals": (422, "The amount has more decimals than the token"),
    "rate_limited": (429, "Too many submissions"),
    "busy": (429, "Too many requests at once"),
    "internal": (500, "Something broke on our side"),
    "unavailable": (503, "A service is not available"),
    "unknown_outcome": (503, "It is not known whether this was recorded"),
}


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="Path of the field", examples=["constraints.max_slippage"])
    code: str = Field(examples=["invalid_field"])
    detail: str = Field(examples=["is out of range"])
    allowed: str | None = Field(None, description="What would be", examples=["0.001..0.1"])


class ProblemAnswer(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:sep:problem:invalid_field",
                    "title": "A field is not acceptable",
                    "status": 422,
                    "code": "invalid_field",
                    "detail": "constraints.max_slippage is out of range",
                    "field": "constraints.max_slippage",
                    "allowed": "0.001..0.1",
                    "instance": "urn:uuid:01920000-0000-7000-8000-000000000000",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str = Field(description="Names this occurrence; the log has it too")
    field: str | None = None
    allowed: str | None = None
    errors: list[FieldProblem] | None = Field(None, description="All of them, if several")


@dataclass(frozen=True, slots=True)
class Wrong:
    """One field that is wrong: its path, why, and what would be right."""

    field: str
    code: str
    detail: str
    allowed: str | None = None

    def as_json(self) -> dict[str, str]:
        """Return the fields that say something."""
        facts = {"field": self.field, "code": self.code, "detail": self.detail}
        return facts | ({"allowed": self.allowed} if self.allowed else {})


class Problem(Exception):
    """Raised anywhere below a route; becomes the answer."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        wrong: Sequence[Wrong] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status, self.title = TITLES[code]
        self.detail = detail
        self.wrong = tuple(wrong)
        self.headers = dict(headers or {})

    @classmethod
    def of_fields(cls, wrong: Sequence[Wrong]) -> Problem:
        """Return the problem that these fields make; the first one gives it its code."""
        first = wrong[0]
        return cls(first.code, f"{first.field} {first.detail}".strip(), wrong=wrong)

    @classmethod
    def of_field(
        cls, field: str, detail: str, allowed: str | None = None, code: str = "invalid_field"
    ) -> Problem:
        """Return the problem of one field."""
        return cls.of_fields([Wrong(field, code, detail, allowed)])

    def as_json(self) -> dict[str, Any]:
        """Return the members of the problem object, without the instance."""
        body: dict[str, Any] = {
            "type": f"urn:sep:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.wrong:
            body |= {k: v for k, v in self.wrong[0].as_json().items() if k in ("field", "allowed")}
        if len(self.wrong) > 1:
            body["errors"] = [wrong.as_json() for wrong in self.wrong]
        return body

    def body(self, instance: str) -> bytes:
        """Return the problem object as JSON."""
        return to_json(self.as_json() | {"instance": f"urn:uuid:{instance}"})


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """Return the problem for a bare HTTP status (a router's 404 or 405)."""
    code = next((code for code, (number, _) in TITLES.items() if number == status), "internal")
    return Problem(code, detail or HTTPStatus(status).phrase, headers=headers)
