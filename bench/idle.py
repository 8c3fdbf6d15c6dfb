"""What a platform with nothing to do costs of a core: chains that mine, actors that look."""

from __future__ import annotations

from typing import Final

from bench.place import Place
from bench.report import Figure
from bench.tree import core_shares, processes, pss_mib

SECONDS: Final = 20.0
GOAL: Final = 0.5
"""A quarter of a machine with two cores, both local chains and five blocks a second included."""


def run(place: Place) -> list[Figure]:
    """Measure the whole process tree over SECONDS."""
    shares = core_shares(place.pid, place.state, SECONDS)
    mib = sum(pss_mib(process.pid) for process in processes(place.pid, place.state))
    return [
        Figure(
            name="CPU of the whole idle platform",
            value=sum(shares.values()),
            unit="of one core",
            goal=GOAL,
            at_least=False,
            detail={name: round(share, 3) for name, share in shares.items()}
            | {"memory_mib_pss": round(mib)},
        )
    ]
