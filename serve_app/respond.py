"""Answers as ASGI messages, and every exception as a problem."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from uuid import uuid4

import structlog
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from sep_ray.adapters import metrics
from sep_ray.intent.intent import InvalidIntent
from sep_ray.kernel.errors import Indeterminate, Rejected, Transient
from sep_ray.portfolio.ledger import InsufficientBalance
from serve_app.problems import MEDIA_TYPE, Problem, of_status

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
RETRY_SOON: Final = {"Retry-After": "1"}

log = structlog.get_logger()


async def send_json(
    send: Send,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    media_type: bytes = b"application/json",
) -> None:
    """Send a whole answer in two messages."""
    raw = [(b"content-type", media_type), (b"content-length", str(len(body)).encode())]
    for name, value in (headers or {}).items():
        raw.append((name.lower().encode(), value.encode("latin-1")))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, error: Exception, path: str) -> None:
    """Send an exception as the problem it is."""
    problem, instance = noted(error, path)
    await send_json(
        send, problem.status, problem.body(instance), problem.headers, MEDIA_TYPE.encode()
    )


async def problem_response(request: Request, error: Exception) -> Response:
    """Answer an exception raised below a route; the handler of every kind of exception."""
    problem, instance = noted(error, request.url.path)
    return Response(problem.body(instance), problem.status, problem.headers, media_type=MEDIA_TYPE)


async def refuse_socket(socket: WebSocket, error: Exception) -> None:
    """Refuse a WebSocket with a problem where the server can, else by its close."""
    problem, instance = noted(error, socket.url.path)
    opened = socket.application_state is not WebSocketState.CONNECTING
    if opened or "websocket.http.response" not in socket.scope.get("extensions", {}):
        await socket.close(1008, problem.detail[:100])
        return
    body, status, headers = problem.body(instance), problem.status, problem.headers
    await socket.send_denial_response(Response(body, status, headers, media_type=MEDIA_TYPE))


def json_response(answer: BaseModel, status: int = 200, **headers: str) -> Response:
    """Answer with a model."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(answer.model_dump_json(), status, named, media_type="application/json")


def noted(error: Exception, path: str) -> tuple[Problem, str]:
    """Return an exception as a problem, counted, logged where it is ours, and its instance."""
    problem, instance = as_problem(error), str(uuid4())
    metrics.requests_refused.labels(problem.code).inc()
    if problem.code == "internal":
        log.error("request_broke", instance=instance, path=path, exc_info=error)
    elif problem.status >= 500:
        log.warning("request_failed", instance=instance, path=path, error=str(error))
    return problem, instance


def as_problem(error: Exception) -> Problem:
    """Translate what was raised; what is not known is `internal` and says nothing of its inside."""
    if isinstance(error, Problem):
        return error
    for kind, translate in _TRANSLATED.items():
        if isinstance(error, kind):
            return translate(error)
    return Problem("internal", "the log has more under this instance")


def _invalid(error: InvalidIntent) -> Problem:
    return Problem.of_field(error.facts["field"], error.message, error.facts["allowed"])


def _indeterminate(_: Indeterminate) -> Problem:
    detail = "repeat it with the same Idempotency-Key to find out"
    return Problem("unknown_outcome", detail, headers=RETRY_SOON)


_TRANSLATED: Final[Mapping[type[Exception], Callable[[Any], Problem]]] = {
    InvalidIntent: _invalid,
    InsufficientBalance: lambda error: Problem("insufficient_balance", str(error)),
    Rejected: lambda error: Problem("not_allowed_now", str(error)),
    Indeterminate: _indeterminate,
    Transient: lambda _: Problem("unavailable", "try again", headers=RETRY_SOON),
    HTTPException: lambda error: of_status(error.status_code, str(error.detail), error.headers),
}
"""In this order: the more special first."""
