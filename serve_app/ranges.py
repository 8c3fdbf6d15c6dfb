"""What each field of a body takes, in words, read from its declaration."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo


@cache
def ranges(model: type[BaseModel]) -> Mapping[str, str]:
    """Return what is allowed for each path below a model; `*` stands for an index."""
    return {"body": ", ".join(model.model_fields)} | dict(_walk(model, ()))


def path(location: Iterable[int | str]) -> str:
    """Write a location as a path: targets[0].asset."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "body"


def _walk(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        place = (*prefix, name)
        for inner in _inner_types(field.annotation):
            yield from _below(inner, place)
        if allowed := _allowed(field):
            yield path(place), allowed


def _below(inner: Any, place: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        yield path(place), ", ".join(inner.model_fields)
        yield from _walk(inner, place)
    elif get_origin(inner) is list:
        (item,) = get_args(inner)
        if get_origin(item) is Literal:
            yield path((*place, "*")), ", ".join(map(str, get_args(item)))
        else:
            yield from _below(item, (*place, "*"))


def _inner_types(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _inner_types(each)
    elif get_origin(annotation) is Annotated:
        yield from _inner_types(get_args(annotation)[0])
    elif annotation is not type(None):
        yield annotation


def _allowed(field: FieldInfo) -> str | None:
    """Say in words what a field takes: its range, its values, or what it declares."""
    metadata = list(_metadata(field))
    for extra in (each.json_schema_extra for each in metadata if isinstance(each, FieldInfo)):
        if isinstance(extra, dict) and "allowed" in extra:
            return str(extra["allowed"])
    for inner in _inner_types(field.annotation):
        if get_origin(inner) is Literal:
            return ", ".join(map(str, get_args(inner)))
    low, high, counted = _bounds(metadata)
    noun = " entries" if get_origin(field.annotation) is list else " characters"
    if high is None:
        return None if low is None else f"{low} or more"
    return f"{_text(low)}..{_text(high)}" + (noun if counted else "")


def _metadata(field: FieldInfo) -> Iterator[Any]:
    """Yield a field's constraints, also those that stand inside `Annotated[...] | None`."""
    yield field
    yield from field.metadata
    united = get_origin(field.annotation) in (Union, types.UnionType)
    for inner in get_args(field.annotation) if united else ():
        if get_origin(inner) is Annotated:
            for each in get_args(inner)[1:]:
                yield each
                yield from each.metadata if isinstance(each, FieldInfo) else ()


def _bounds(metadata: Iterable[Any]) -> tuple[Any, Any, bool]:
    """Return (low, high, whether they count something)."""
    low = high = None
    counted = False
    for each in metadata:
        if isinstance(each, Ge):
            low = each.ge
        elif isinstance(each, Le):
            high = each.le
        elif isinstance(each, MinLen):
            low, counted = each.min_length, True
        elif isinstance(each, MaxLen):
            low, high, counted = low or 0, each.max_length, True
    return low, high, counted


def _text(bound: Any) -> str:
    return "2^256-1" if bound == 2**256 - 1 else str(bound) if bound is not None else ""
