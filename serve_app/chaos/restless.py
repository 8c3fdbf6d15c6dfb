"""A strategy whose state changes with every bar, so that the journal shows whether it lives."""

from __future__ import annotations

from dataclasses import dataclass

from sep_ray.strategy.market import Bar
from sep_ray.strategy.momentum import MomentumState, MomentumStrategy


@dataclass
class RestlessState(MomentumState):
    """`bars`: how many it has seen."""

    bars: int = 0


class RestlessMomentum(MomentumStrategy):
    """The momentum strategy, which also counts."""

    state: RestlessState

    def on_bar(self, bar: Bar) -> None:
        self.state.bars += 1
        super().on_bar(bar)
