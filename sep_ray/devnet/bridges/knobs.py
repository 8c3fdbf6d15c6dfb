"""Turning servants' knobs from outside, by name: what they are now, and a new value for some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from sep_ray.kernel.errors import Rejected


def shown(knobs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every servant's knobs as plain data."""
    return {name: _plain(asdict(each)) for name, each in knobs.items()}


def turn(knobs: Mapping[str, Any], servant: str, wanted: Any) -> dict[str, Any]:
    """Turn some knobs of one servant, all or none; return how they all stand then.

    Raises Rejected for a servant, a knob or a kind of value that there is not.
    """
    if servant not in knobs:
        raise Rejected("no such servant", got=servant, known=sorted(knobs))
    mine = knobs[servant]
    if not isinstance(wanted, dict):
        raise Rejected("an object of knobs is wanted", servant=servant)
    known = {each.name: getattr(mine, each.name) for each in fields(mine)}
    checked = {name: _checked(servant, known, name, value) for name, value in wanted.items()}
    for name, value in checked.items():
        setattr(mine, name, value)
    return _plain(asdict(mine))


def _checked(servant: str, known: Mapping[str, Any], name: str, value: Any) -> Any:
    if name not in known:
        raise Rejected("no such knob", servant=servant, got=name, known=sorted(known))
    now = known[name]
    if isinstance(now, frozenset):
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return frozenset(value)
        raise Rejected("a list of texts is wanted", servant=servant, knob=name)
    if isinstance(now, bool):
        if isinstance(value, bool):
            return value
        raise Rejected("true or false is wanted", servant=servant, knob=name)
    if isinstance(value, bool) or not (isinstance(value, int) and value >= 0):
        raise Rejected("a whole number from 0 is wanted", servant=servant, knob=name)
    return value


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in values.items()
    }
