"""The description of the interface: bodies that routes read by themselves, problems, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serve_app.answers import EventAnswer
from serve_app.auth import ROUTES
from serve_app.lane_models import ResolveBody, ResumeBody
from serve_app.problems import MEDIA_TYPE, TITLES, ProblemAnswer
from serve_app.risk_models import HaltBody, LimitBody
from serve_app.schemas import AllocationBody, BatchBody, IntentBody, StrategyBody

REF: Final = "#/components/schemas/{model}"
BODIES: Final = (
    IntentBody,
    BatchBody,
    AllocationBody,
    StrategyBody,
    HaltBody,
    LimitBody,
    ResumeBody,
    ResolveBody,
)
KEY_HEADER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": "The same key with the same body is done once and answered alike",
}
DESCRIPTION: Final = """Strategies say what they want; the platform does it on chain, exactly once.

Every request but /health and /metrics carries `Authorization: Bearer <token>`. Errors are
problem+json with a `code`, the `field`'s path and what is `allowed`. Amounts are strings.
`/v1/stream?after=<seq>` (WebSocket) sends every event once and in order; reconnect with the
last `seq` seen."""


def body(model: type[BaseModel], *, keyed: bool = False) -> dict[str, Any]:
    """Describe a body that a route reads by itself."""
    schema = {"$ref": REF.format(model=model.__name__)}
    described: dict[str, Any] = {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
    }
    return described | ({"parameters": [KEY_HEADER]} if keyed else {})


def describe(app: FastAPI, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of an application."""
    document = get_openapi(
        title="Strategy Execution Platform",
        version=version,
        description=DESCRIPTION,
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, extra = models_json_schema(
        [(model, "validation") for model in (*BODIES, ProblemAnswer, EventAnswer)],
        ref_template=REF,
    )
    schemas.update(extra["$defs"])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    for method, path, operation in _operations(document):
        _add_problems(operation)
        least = ROUTES.get((method.upper(), path))
        if least is not None:
            operation["security"] = [{"token": []}]
            operation["description"] = (
                f"{operation.get('description', '')}\n\nNeeds the role {least.name.lower()}."
            )
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def _add_problems(operation: dict[str, Any]) -> None:
    statuses = {400, 401, 403, 404, 422, 500, 503}
    if "requestBody" in operation:
        statuses |= {409, 413, 415, 429}
    responses = operation["responses"]
    responses.pop("422", None)
    for status in sorted(statuses):
        titles = [title for number, title in TITLES.values() if number == status]
        responses.setdefault(
            str(status),
            {
                "description": "; ".join(titles),
                "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="ProblemAnswer")}}},
            },
        )
