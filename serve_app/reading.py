"""Reading a request's body: bounded, strict, and with the path and range of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from serve_app.problems import Problem, Wrong
from serve_app.ranges import path, ranges

B = TypeVar("B", bound=BaseModel)
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
MAX_WRONG: Final = 20
"""Wrong fields listed in one answer."""
MAX_PATH: Final = 160

_CODES: Final = {"missing": "missing_field", "extra_forbidden": "unknown_field"}
_DETAILS: Final = {
    "missing": "is required",
    "extra_forbidden": "is not a field here",
    "greater_than_equal": "is out of range",
    "less_than_equal": "is out of range",
    "literal_error": "is not one of the known values",
    "string_type": "must be a string",
    "string_pattern_mismatch": "is not well formed",
    "int_type": "must be an integer",
    "decimal_type": "must be a decimal number",
    "decimal_parsing": "must be a decimal number",
    "finite_number": "must be a finite number",
    "decimal_max_places": "has too many decimals",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "too_long": "has too many entries",
    "too_short": "has too few entries",
    "string_too_long": "is too long",
    "string_too_short": "is too short",
}


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Return the body, or raise a 413 or 415 Problem; never holds more than `limit` bytes."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Problem("unsupported_media_type", "send Content-Type: application/json")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body") and size <= limit:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise Problem("invalid_json", "the client left before the body was complete")
    if len(body) > limit:
        raise _too_large(limit)
    return body


def parse(model: type[B], body: bytes) -> B:
    """Return the body as its model, or raise a 400 or 422 Problem."""
    try:
        read = model.model_validate_json(body)
    except ValidationError as error:
        raise problem_of(model, error) from None
    require_single_keys(body)
    return read


def require_single_keys(body: bytes) -> None:
    """Raise a 400 Problem for an object that says a key twice: readers differ in which one counts.

    The body has been read as its model, so that neither its depth nor its numbers do harm here.
    """
    json.loads(body, object_pairs_hook=_single)


def _single(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise Problem("invalid_json", f"{twice[:80]} is said twice in one object")


def problem_of(model: type[BaseModel], error: ValidationError) -> Problem:
    """Return what is wrong with a body as a problem."""
    wrong = wrongs(model, error)
    if wrong is None:
        return Problem("invalid_json", "the body cannot be read as JSON")
    return Problem.of_fields(wrong[:MAX_WRONG])


def wrongs(model: type[BaseModel], error: ValidationError) -> list[Wrong] | None:
    """Return one entry per wrong field; None when it is not JSON at all."""
    found = error.errors(include_url=False, include_input=False)
    if any(each["type"] == "json_invalid" for each in found):
        return None
    allowed = ranges(model)
    return [_wrong(each["type"], each["loc"], allowed) for each in found]


def _wrong(kind: str, location: tuple[int | str, ...], allowed: Mapping[str, str]) -> Wrong:
    declared = location[:-1] if kind == "extra_forbidden" else location
    shape = path("*" if isinstance(part, int) else part for part in declared)
    return Wrong(
        path(location)[:MAX_PATH],
        _CODES.get(kind, "invalid_field"),
        _DETAILS.get(kind, "is not acceptable"),
        allowed.get(shape),
    )


def _too_large(limit: int) -> Problem:
    return Problem("body_too_large", f"at most {limit} bytes are read")
