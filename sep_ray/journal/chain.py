"""The hash chain: each event names the one before it in its stream, and so all before it."""

from __future__ import annotations

from hashlib import sha256
from typing import Final
from uuid import UUID

from sep_ray.kernel.clock import Millis

GENESIS: Final = bytes(32)
"""What the first event of a stream names as its predecessor."""


def link(
    previous: bytes,
    *,
    stream_id: str,
    version: int,
    kind: str,
    at: Millis,
    correlation_id: UUID,
    causation_id: UUID | None,
    body: bytes,
) -> bytes:
    """Return sha256(previous || head || body), 32 bytes; `body` is the event's JSON as stored.

    head = stream_id, version, kind, at, correlation_id, causation_id (empty when None), each
    followed by a line feed. The database's audit query computes the same.
    """
    cause = "" if causation_id is None else str(causation_id)
    head = f"{stream_id}\n{version}\n{kind}\n{at}\n{correlation_id}\n{cause}\n"
    return sha256(previous + head.encode() + body).digest()
