"""How soon one turn follows another while news come thick."""

from __future__ import annotations

from typing import Final

SHORTEST_S: Final = 0.05
LONGEST_S: Final = 0.2
SHARE: Final = 4
"""A turn has one part in so many of the time until the next one."""


def pace_of(took_s: float) -> float:
    """Return the seconds from a turn's beginning to the next one's, for a turn that had work.

    News are then taken together, which costs less for each, and accepting keeps its share of the
    machine. Turns longer than LONGEST_S follow one another at once.
    """
    return max(SHORTEST_S, min(SHARE * took_s, LONGEST_S))
