"""The walkthrough over two chains: how much longer it takes than its blocks and bridges do."""

from __future__ import annotations

from typing import Final

from bench.place import Place
from bench.report import Figure
from sep_ray.settings import Settings
from serve_app.demo_rebalance import Walkthrough

GOAL: Final = 1.15
"""Time from the acceptance to the end, over the time in which blocks or bridges were waited for."""


def run(place: Place) -> list[Figure]:
    """Rebalance twice, by different bridges; raises RuntimeError when one does not get there."""
    place.quiet()
    endpoints = {
        "api": place.api,
        "chains": {str(chain_id): url for chain_id, url in place.chains.items()},
    }
    result = Walkthrough(Settings(), endpoints, lambda _: None).run()
    if not result["ok"]:
        raise RuntimeError(f"a rebalance did not end on its weights: {result['runs']}")
    return [
        Figure(
            name=f"rebalance {number}: time over waits",
            value=each["overhead"],
            unit="x",
            goal=GOAL,
            at_least=False,
            detail={
                "bridges": ", ".join(each["bridges"]),
                "seconds": each["decided_to_ended_seconds"],
                "waiting": each["wait_seconds"],
            },
        )
        for number, each in enumerate(result["runs"], 1)
    ]
