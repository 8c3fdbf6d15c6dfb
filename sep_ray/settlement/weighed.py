"""How the choice of a bridge is kept: all ways that were weighed, with verdicts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One way that was weighed: what it promised, and in `verdict` why it was taken or not.

    `units_out` are smallest units of the target asset; `cost_ppm` is all the way costs (fee, gas
    on both chains, waiting) in millionths of what is sent, None where no offer was made.
    """

    bridge: str
    mode: str = ""
    units_out: int = 0
    p50_ms: int = 0
    p95_ms: int = 0
    trust: str = ""
    cost_ppm: int | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Why this bridge: in words, and all the ways that were weighed, the one taken first (P14)."""

    reason: str = ""
    alternatives: tuple[Alternative, ...] = ()
