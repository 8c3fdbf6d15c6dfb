"""Identifiers as arguments: UUIDv7 (RFC 9562, section 5.7), ordered by creation time."""

from __future__ import annotations

import os
import random
from typing import Protocol
from uuid import UUID, uuid5

from sep_ray.kernel.clock import Clock

_DERIVED = UUID("6f3d7c52-9f54-4b8e-9c5b-3a0d0b8b1c77")


def uuid7(millis: int, chance: int) -> UUID:
    """Build a UUIDv7 from a 48-bit instant and at least 74 bits of chance."""
    high = (millis & (2**48 - 1)) << 16 | 0x7000 | (chance >> 62) & 0xFFF
    low = 0b10 << 62 | chance & (2**62 - 1)
    return UUID(int=high << 64 | low)


def derived_id(*parts: object) -> UUID:
    """Return the id that these parts always have: the same decision twice names one thing."""
    return uuid5(_DERIVED, "/".join(map(str, parts)))


class IdSource(Protocol):
    """Where a part that names things gets the names from."""

    def next(self) -> UUID:
        """Return an id never returned before."""


class SystemIds:
    """Ids from the operating system's chance, in the order they are asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> UUID:
        """Return a new id; within one millisecond the next is the last plus a random step."""
        fresh = uuid7(self._clock.now(), int.from_bytes(os.urandom(10), "big")).int
        if fresh <= self._last:
            fresh = _bump(self._last)
        self._last = fresh
        return UUID(int=fresh)


class SeededIds:
    """Ids that a seed and a clock determine; for tests and simulations."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._random = random.Random(seed)

    def next(self) -> UUID:
        """Return the next id of the seed's series."""
        return uuid7(self._clock.now(), self._random.getrandbits(74))


def _bump(last: int) -> int:
    """Add one to the 74 random bits around version and variant, keeping those as they are."""
    millis, chance = last >> 80, (last >> 64 & 0xFFF) << 62 | last & (2**62 - 1)
    return uuid7(millis + (chance + 1 >> 74), (chance + 1) % 2**74).int
