"""Events and states as JSON bytes: exact integers, and the same bytes for equal values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreConfig, PydanticSerializationError, SchemaSerializer, core_schema

from sep_ray.journal.records import Event, State
from sep_ray.kernel.errors import InvariantBroken, Rejected
from sep_ray.policy.marks import ChainMark
from sep_ray.policy.usage import Marks, Reservation

T = TypeVar("T")


class UnknownEvent(InvariantBroken):
    """The journal holds an event this version of the code has no class for; facts: kind."""


class UnreadableRow(InvariantBroken):
    """A stored body does not fit its class; facts: kind, why."""


class _Codec:
    """JSON of one class, both ways."""

    def __init__(self, cls: type[Any]) -> None:
        self.name = cls.__name__
        self._reader: TypeAdapter[Any] = TypeAdapter(cls)
        schema = _sets_in_order(self._reader.core_schema)
        self._writer = SchemaSerializer(schema)

    def write(self, value: object) -> bytes:
        try:
            return self._writer.to_json(value)
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise Rejected("cannot be written as JSON", kind=self.name, why=str(error)) from None

    def read(self, body: bytes | str) -> Any:
        try:
            return self._reader.validate_json(body)
        except ValidationError as error:
            raise UnreadableRow("unreadable", kind=self.name, why=str(error)) from None


def encode_event(event: Event) -> tuple[str, bytes]:
    """Return the event's kind (its class name) and its JSON."""
    codec = _EVENTS[type(event).__name__]
    return codec.name, codec.write(event)


def decode_event(kind: str, body: bytes | str) -> Event:
    """Return the event; UnknownEvent or UnreadableRow when that cannot be."""
    codec = _EVENTS.get(kind)
    if codec is None:
        raise UnknownEvent("no class for this kind of event", kind=kind)
    event: Event = codec.read(body)
    return event


def encode_state(state: State | Reservation | ChainMark | Marks) -> bytes:
    """Return the JSON of a stream's state, or of what else is kept as it stands."""
    return _STATES[type(state)].write(state)


def decode_state(cls: type[T], body: bytes | str) -> T:
    """Return a value of this class, one that `encode_state` writes."""
    state: T = _STATES[cls].read(body)
    return state


def _sets_in_order(schema: Any) -> Any:
    """Copy a schema, so that sets are written sorted and floats JSON has no word for as text.

    Left alone, a set's order would differ between processes, and not-a-number would become null.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(_sets_in_order(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    copy = {key: _sets_in_order(part) for key, part in schema.items()}
    if copy.get("type") in ("set", "frozenset"):
        copy["serialization"] = core_schema.plain_serializer_function_ser_schema(
            sorted, return_schema=core_schema.list_schema(), when_used="json"
        )
    if copy.get("type") == "dataclass":
        copy["config"] = copy.get("config", {}) | CoreConfig(ser_json_inf_nan="strings")
    return copy


def _members(union: Any) -> tuple[type[Any], ...]:
    parts = get_args(union)
    return tuple(cls for part in parts for cls in _members(part)) if parts else (union,)


_EVENTS: Final[Mapping[str, _Codec]] = {cls.__name__: _Codec(cls) for cls in _members(Event)}
_STATES: Final[Mapping[type[Any], _Codec]] = {
    cls: _Codec(cls) for cls in (*_members(State), Reservation, ChainMark, Marks)
}
