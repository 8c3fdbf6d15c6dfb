"""Dataclasses as plain JSON values and back, with errors that name the field.

Parameters come in and declared state goes out and in through here. Understood are dataclasses,
bool, int, float, str, None, Decimal, UUID, Asset, enums, Literal, unions, and list, tuple, set,
frozenset, deque and dict of these. Integers stay exact; floats must be finite; decimals and
assets are written as text.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import (
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset

T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
ReadAsset = Callable[[str], Asset]

LISTS: Final[Mapping[object, type]] = {
    list: list,
    Sequence: tuple,
    set: set,
    frozenset: frozenset,
    deque: deque,
}


class Misfit(Rejected):
    """A value does not fit its declaration; facts: `field` (a path), `allowed` where known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter as a user reads about it."""

    name: str
    type: str
    default: str | None
    """None means required."""
    low: object = None
    high: object = None
    doc: str = ""


def param(
    default: Any = MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    low: object = None,
    high: object = None,
    doc: str = "",
) -> Any:  # a dataclass field, typed as its default like dataclasses.field is
    """Declare a parameter with its bounds (both allowed values) and what it means.

    `factory` makes a default that can be changed, such as a dict; without either it is required.
    """
    facts = {"low": low, "high": high, "doc": doc}
    if factory is not None:
        return field(default_factory=factory, metadata=facts)
    if default is MISSING:
        return field(metadata=facts)
    return field(default=default, metadata=facts)


def parameters(declared: type) -> tuple[Parameter, ...]:
    """Describe the fields of a dataclass of parameters."""
    hints = hints_of(declared)
    return tuple(
        Parameter(
            name=item.name,
            type=_name(hints[item.name]),
            default=_default(item),
            low=item.metadata.get("low"),
            high=item.metadata.get("high"),
            doc=item.metadata.get("doc", ""),
        )
        for item in fields(declared)
    )


def dump(value: object) -> Json:
    """Return a value as plain JSON values; sets become sorted lists."""
    if value is None or isinstance(value, bool | int | str | float | Enum):
        return _number_or_text(value)
    if isinstance(value, Asset | Decimal | UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(dump(key)): dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple | deque | set | frozenset):
        items = [dump(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: dump(getattr(value, item.name)) for item in fields(value)}
    raise Misfit("cannot be kept", field="", allowed=f"plain values, not {type(value).__name__}")


def _number_or_text(value: bool | int | str | float | Enum | None) -> Json:
    if isinstance(value, Enum):
        return dump(value.value)
    if isinstance(value, float) and not isfinite(value):
        raise Misfit("is not a finite number", field="", allowed="finite numbers")
    return value


def build(
    declared: type[T], value: object, path: str = "", read_asset: ReadAsset = Asset.parse
) -> T:
    """Return the declared type's value for a plain one, or raise Misfit naming the field."""
    return cast(T, _build(declared, value, path, read_asset))


def _build(declared: Any, value: object, path: str, assets: ReadAsset) -> object:
    declared = getattr(declared, "__supertype__", declared)  # a NewType is what it stands for
    origin = get_origin(declared)
    if declared is Any or declared is object:
        built = value
    elif origin in (Union, types.UnionType):
        built = _union(declared, value, path, assets)
    elif origin is Literal:
        built = _one_of(value, get_args(declared), path)
    elif origin is not None or declared in LISTS or declared in (tuple, dict):
        built = _collection(declared, origin or declared, value, path, assets)
    else:
        built = _single(declared, value, path, assets)
    return built


def _single(declared: Any, value: object, path: str, assets: ReadAsset) -> object:
    if isinstance(declared, type) and issubclass(declared, Enum):
        return declared(_one_of(value, [member.value for member in declared], path))
    if is_dataclass(declared) and declared is not Asset:
        return _dataclass(cast(type, declared), value, path, assets)
    return _scalar(declared, value, path, assets)


def _dataclass(declared: type, value: object, path: str, assets: ReadAsset) -> object:
    if not isinstance(value, Mapping):
        raise _misfit(path, "an object", value)
    hints, given = hints_of(declared), {}
    known = {item.name: item for item in fields(declared) if item.init}
    for name in value:
        if name not in known:
            raise Misfit("is unknown", field=_join(path, name), allowed=", ".join(known) or "none")
    for name, item in known.items():
        if name in value:
            given[name] = _build(hints[name], value[name], _join(path, name), assets)
            _within(item, given[name], _join(path, name))
        elif item.default is MISSING and item.default_factory is MISSING:
            raise Misfit("is required", field=_join(path, name), allowed=_name(hints[name]))
    try:
        return declared(**given)
    except (ValueError, TypeError, Rejected) as error:
        raise Misfit(str(error), field=path) from None


def _within(item: Field[Any], value: Any, path: str) -> None:
    low, high = item.metadata.get("low"), item.metadata.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
        edges = ("" if edge is None else str(edge) for edge in (low, high))
        raise Misfit("is out of range", field=path, allowed="..".join(edges))


def _union(declared: Any, value: object, path: str, assets: ReadAsset) -> object:
    options = get_args(declared)
    if value is None and type(None) in options:
        return None
    first: Misfit | None = None
    for option in options:
        if option is type(None):
            continue
        try:
            return _build(option, value, path, assets)
        except Misfit as error:
            first = first or error
    raise first or _misfit(path, _name(declared), value)


def _one_of(value: object, allowed: Iterable[object], path: str) -> object:
    choices = list(allowed)
    if value not in choices:
        raise Misfit("is unknown", field=path, allowed=", ".join(map(str, choices)))
    return value


def _collection(declared: Any, origin: Any, value: object, path: str, assets: ReadAsset) -> object:
    inner = get_args(declared)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(inner or (str, Any), value, path, assets)
    if not isinstance(value, list | tuple):
        raise _misfit(path, "a list", value)
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise _misfit(path, f"a list of {len(inner)}", value)
        kinds = list(inner)
    else:
        kinds = [inner[0] if inner else Any] * len(value)
    items = [
        _build(kind, item, f"{path}[{place}]", assets)
        for place, (kind, item) in enumerate(zip(kinds, value, strict=True))
    ]
    return tuple(items) if origin is tuple else LISTS[origin](items)


def _mapping(inner: Sequence[Any], value: object, path: str, assets: ReadAsset) -> object:
    if not isinstance(value, Mapping):
        raise _misfit(path, "an object", value)
    key_type, item_type = inner
    return {
        _key(key_type, key, path, assets): _build(item_type, item, _join(path, key), assets)
        for key, item in value.items()
    }


def _key(declared: Any, key: object, path: str, assets: ReadAsset) -> object:
    """JSON's keys are text: an integer key is read back from its digits."""
    plain = getattr(declared, "__supertype__", declared)
    if plain is int and isinstance(key, str) and key.lstrip("-").isdigit():
        key = int(key)
    return _build(plain, key, _join(path, key), assets)


def _scalar(declared: Any, value: object, path: str, assets: ReadAsset) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match declared:
        case builtin if builtin is bool or builtin is str:
            fits = isinstance(value, declared)
        case builtin if builtin is int:
            fits = isinstance(value, int) and number
        case builtin if builtin is float:
            fits, value = number and isfinite(cast(float, value)), value
        case builtin if builtin is types.NoneType:
            fits = value is None
        case _:
            return _from_text(declared, value, path, assets)
    if not fits:
        raise _misfit(path, _name(declared), value)
    return float(cast(float, value)) if declared is float else value


def _from_text(declared: Any, value: object, path: str, assets: ReadAsset) -> object:
    if declared is Decimal and isinstance(value, int | float) and not isinstance(value, bool):
        value = repr(value)  # the digits that were written
    if not isinstance(value, str):
        raise _misfit(path, f"{_name(declared)} as text", value)
    try:
        if declared is Asset:
            return assets(value)
        if declared is Decimal:
            return _decimal(value)
        return UUID(value) if declared is UUID else _unsupported(declared)
    except (Rejected, ValueError, InvalidOperation):
        raise _misfit(path, f"{_name(declared)} as text", value) from None


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


def _unsupported(declared: Any) -> object:
    raise ValueError(declared)


def _misfit(path: str, allowed: str, value: object) -> Misfit:
    return Misfit("does not fit", field=path, allowed=allowed, given=repr(value)[:60])


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _default(item: Field[Any]) -> str | None:
    if item.default is not MISSING:
        return str(dump(item.default))
    return None if item.default_factory is MISSING else str(dump(item.default_factory()))


def _name(declared: Any) -> str:
    return declared.__name__ if isinstance(declared, type) else str(declared).replace("typing.", "")


def hints_of(declared: type) -> Mapping[str, Any]:
    """Return a class's annotations as types; raise Misfit when one of them is unknown."""
    try:
        return _hints(declared)
    except NameError as error:
        raise Misfit(str(error), field=declared.__name__, allowed="types that exist") from None


@lru_cache(maxsize=512)
def _hints(declared: Any) -> Mapping[str, Any]:
    return get_type_hints(declared)
