"""The class users write their strategies as."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Unpack
from uuid import UUID

from sep_ray.intent.intent import MAX_NOTE, Intent
from sep_ray.intent.states import IntentRecord
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import Asset
from sep_ray.strategy import requests
from sep_ray.strategy.desk import Desk, Portfolio, Prediction
from sep_ray.strategy.market import Bar, Market, Pair
from sep_ray.strategy.requests import Bounds, Fraction, Quantity, Stamp
from sep_ray.strategy.tokens import Tokens

Fallback = float | Callable[[Sequence[float]], float]


class NoSignal(Rejected):
    """A model has no answer and the strategy named no fallback."""


class BaseStrategy:
    """A trading strategy: what it watches, what it remembers, and what it asks for.

    Handlers are plain synchronous functions that do no I/O. They look at what they are given,
    change `self.state`, and submit intents; what they submitted and the state are made durable
    together, once, before anything is sent. The same class runs live and on history.

    A subclass declares, as annotations with dataclasses as types:

    * `params`: its parameters, checked before it starts (see `sep_ray.strategy.plain.param`);
    * `state`: what must survive a restart. Anything else on `self` is lost with the process, so
      compute it in `on_start` or from `market.history`.
    """

    params: Any
    state: Any

    def __init__(self, params: Any, state: Any, desk: Desk) -> None:
        self.params = params
        self.state = state
        self._desk = desk

    def watches(self) -> Sequence[Pair]:
        """Return the pairs whose prices it wants; by default `params.base`, `params.quote`."""
        return (Pair(self.asset(self.params.base), self.asset(self.params.quote)),)

    @property
    def warm_up(self) -> int:
        """Blocks of history wanted before the first call; `warm_up = 500` will do too."""
        return 256

    @property
    def bar_blocks(self) -> int:
        """Blocks to a bar; 0 means that `on_bar` is never called."""
        return 0

    def on_start(self) -> None:
        """It comes to life: first of all, and again after a restart (with its state restored).

        What it submits counts only the first time.
        """

    def on_block(self, market: Market) -> None:
        """A block with prices of a watched pair. Called once per block, in order."""

    def on_bar(self, bar: Bar) -> None:
        """A bar of `bar_blocks` blocks is complete; called before that block's `on_block`."""

    def on_intent_update(self, update: IntentRecord) -> None:
        """One of its intents has moved on; `update.status`, `.reason`, `.sold`, `.bought`."""

    def on_stop(self) -> None:
        """It is being stopped for good; it may tidy its state, but submits nothing."""

    @property
    def clock(self) -> Clock:
        """The time: the wall clock's when live, history's in a backtest."""
        return self._desk.clock

    @property
    def portfolio(self) -> Portfolio:
        """What it holds, as of this call."""
        return self._desk.portfolio

    @property
    def open_intents(self) -> frozenset[UUID]:
        """Its intents that have not ended, those of this call included."""
        return frozenset(self._desk.open)

    @property
    def market(self) -> Market | None:
        """The market of the newest block it has seen."""
        return self._desk.market

    @property
    def tokens(self) -> Tokens:
        """The tokens the platform knows, with their decimals."""
        return self._desk.tokens

    def asset(self, name: Asset | str) -> Asset:
        """Return the asset of a name; a symbol alone is one of the chain `params.chain_id`."""
        if isinstance(name, Asset):
            return name
        return self.tokens.asset(name, getattr(self.params, "chain_id", None))

    @property
    def muted(self) -> bool:
        """Whether submissions are ignored now: it is paused, or the block is an old one."""
        return self._desk.muted

    def acquire(
        self,
        asset: Asset,
        amount: Quantity | None = None,
        *,
        using: Asset,
        spend: Quantity | None = None,
        **bounds: Unpack[Bounds],
    ) -> UUID | None:
        """Buy exactly `amount` of the asset, or what `spend` of `using` buys.

        Returns the intent's id, or None while muted. Raises InvalidIntent naming the field.
        """
        return self._submit(
            requests.acquire(
                self._stamp(), self.tokens, asset, using, amount, spend, self._noted(bounds)
            )
        )

    def dispose(
        self,
        asset: Asset,
        amount: Quantity | None = None,
        *,
        into: Asset,
        receive: Quantity | None = None,
        **bounds: Unpack[Bounds],
    ) -> UUID | None:
        """Sell exactly `amount` of the asset, or what brings `receive` of `into`."""
        return self._submit(
            requests.dispose(
                self._stamp(), self.tokens, asset, into, amount, receive, self._noted(bounds)
            )
        )

    def rebalance(
        self,
        weights: Mapping[Asset, Fraction],
        *,
        tolerance: Fraction = "0.005",
        **bounds: Unpack[Bounds],
    ) -> UUID | None:
        """Bring the holdings of these assets to these shares of their value."""
        return self._submit(
            requests.rebalance(self._stamp(), weights, tolerance, self._noted(bounds))
        )

    def liquidate(self, asset: Asset, *, into: Asset, **bounds: Unpack[Bounds]) -> UUID | None:
        """Sell all that is available of the asset."""
        return self._submit(
            requests.liquidate(self._stamp(), self.tokens, asset, into, self._noted(bounds))
        )

    def predict_with_model(
        self, name: str, features: Sequence[float], *, fallback: Fallback | None = None
    ) -> Prediction:
        """Ask a signal model that runs in this process; about 10 microseconds.

        The answer says whether the model or a fallback gave it, and so does the note of every
        intent submitted in the same call. Raises NoSignal when there is neither.
        """
        prediction = self._predict(name, features, fallback)
        self._desk.signals.append(
            f"{name} {prediction.value:.4g} by {prediction.source}"
            + (f" ({prediction.reason})" if prediction.reason else "")
        )
        return prediction

    def _predict(
        self, name: str, features: Sequence[float], fallback: Fallback | None
    ) -> Prediction:
        why = "no models here"
        if self._desk.models is not None:
            try:
                found = self._desk.models.predict(name, features)
                if found.values and all(map(isfinite, found.values)):
                    return found
                why = "the answer is not a number"
            except (Rejected, Transient) as error:
                why = str(error)
        if fallback is None:
            raise NoSignal("no signal and no fallback", model=name, why=why)
        value = fallback(features) if callable(fallback) else fallback
        return Prediction(values=(float(value),), source="fallback", reason=why)

    def _stamp(self) -> Stamp:
        desk = self._desk
        return Stamp(id=desk.next_id(), strategy_id=desk.strategy_id, at=desk.clock.now())

    def _noted(self, bounds: Bounds) -> Bounds:
        parts = [*filter(None, [bounds.get("note")]), *self._desk.signals]
        return {**bounds, "note": "; ".join(parts)[:MAX_NOTE]}

    def _submit(self, intent: Intent) -> UUID | None:
        return self._desk.submit(intent)
