"""What routes get from a request: the replica's parts, who asks, a strict body."""

from __future__ import annotations

import unicodedata
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Depends
from fastapi.routing import APIRoute, APIWebSocketRoute
from pydantic import BaseModel
from starlette.requests import HTTPConnection, Request

from serve_app.auth import Principal, authorized
from serve_app.parts import Parts
from serve_app.problems import Problem
from serve_app.reading import parse, read_body

B = TypeVar("B", bound=BaseModel)
BEARER = "bearer."


def parts_of(connection: HTTPConnection) -> Parts:
    """Return the replica's parts."""
    parts: Parts = connection.app.state.parts
    return parts


def caller(connection: HTTPConnection) -> Principal:
    """Return who asks, once the token, its role and the address are found good for this route."""
    scope = connection.scope
    principal = parts_of(connection).tokens.principal(_authorization(connection))
    method = "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]
    authorized(principal, method, scope["route"].path)
    _known_query(connection, scope["route"])
    _printable(connection)
    return principal


Asked = Annotated[Parts, Depends(parts_of)]
Caller = Annotated[Principal, Depends(caller)]


async def body_of(request: Request, model: type[B]) -> B:
    """Return the request's body as its model, or raise a 400, 413, 415 or 422 Problem."""
    headers = dict(request.scope["headers"])
    limit = parts_of(request).max_body_bytes
    return parse(model, await read_body(headers, request.receive, limit))


def id_of(text: str, what: str) -> UUID:
    """Read an id from a path; what is not an id names nothing."""
    try:
        return UUID(text)
    except ValueError:
        raise Problem("not_found", f"no {what} {text[:80]}") from None


def _known_query(connection: HTTPConnection, route: APIRoute | APIWebSocketRoute) -> None:
    """Raise a 422 Problem for a parameter that would otherwise be silently ignored."""
    names = [each.alias for each in route.dependant.query_params]
    seen: set[str] = set()
    for name, _ in connection.query_params.multi_items():
        if name not in names:
            raise Problem.of_field(name[:80], "is not a parameter", ", ".join(names) or "none")
        if name in seen:
            raise Problem.of_field(name, "is given twice", "one value")
        seen.add(name)


def _printable(connection: HTTPConnection) -> None:
    """Raise a 422 Problem for control characters, which name nothing and cannot be stored."""
    for name, text in (*connection.path_params.items(), *connection.query_params.items()):
        if any(unicodedata.category(letter) == "Cc" for letter in text):
            raise Problem.of_field(name, "is not acceptable", "no control characters")


def _authorization(connection: HTTPConnection) -> str | None:
    """Browsers cannot set headers on a WebSocket: there the token may come as a subprotocol."""
    header = connection.headers.get("authorization")
    if header is None and connection.scope["type"] == "websocket":
        for offered in connection.scope.get("subprotocols", ()):
            if offered.startswith(BEARER):
                return f"Bearer {offered.removeprefix(BEARER)}"
    return header
