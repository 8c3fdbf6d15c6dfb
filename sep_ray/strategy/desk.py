"""What stands around one strategy: what it sees, and where its requests go.

The live host and a backtest fill a desk alike; they differ in clock, market and executor only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol
from uuid import UUID

from sep_ray.intent.intent import Intent
from sep_ray.kernel.clock import Clock, Millis
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.ids import uuid7
from sep_ray.kernel.units import Asset
from sep_ray.portfolio.ledger import HOLDINGS, Bucket, Holding
from sep_ray.strategy.market import Market
from sep_ray.strategy.tokens import Tokens

MAX_REQUESTS: Final = 100
"""Intents one call of a handler may submit."""


class TooManyRequests(Rejected):
    """A handler submitted more than MAX_REQUESTS intents in one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A signal and where it came from: `source` is "model" or "fallback", `reason` says why."""

    values: tuple[float, ...]
    source: str
    reason: str = ""

    @property
    def value(self) -> float:
        """The first output."""
        return self.values[0]

    def __float__(self) -> float:
        return self.values[0]


class SignalModels(Protocol):
    """Signal models in the strategy's own process."""

    def predict(self, name: str, features: Sequence[float]) -> Prediction:
        """Return a model's outputs for one row of features.

        A model with a formula of its own answers by it when it is missing, slow or wrong-shaped,
        and says so. Raises Rejected or Transient when there is neither model nor formula.
        """


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What a strategy holds, in smallest units."""

    units: Mapping[tuple[Asset, Bucket], int] = field(default_factory=dict)

    @classmethod
    def of(cls, holdings: Iterable[Holding]) -> Portfolio:
        """Build from the holdings of one strategy."""
        return cls({(line.asset, line.bucket): line.units for line in holdings})

    @property
    def assets(self) -> tuple[Asset, ...]:
        """Every asset of which something is held."""
        return tuple(sorted({asset for (asset, bucket) in self.units if bucket in HOLDINGS}))

    def available(self, asset: Asset) -> int:
        """Units that can be spent."""
        return self.units.get((asset, Bucket.AVAILABLE), 0)

    def reserved(self, asset: Asset) -> int:
        """Units set aside for transactions under way."""
        return self.units.get((asset, Bucket.RESERVED), 0)

    def held(self, asset: Asset) -> int:
        """All units, whether available, reserved or between chains."""
        return sum(self.units.get((asset, bucket), 0) for bucket in HOLDINGS)

    def value(self, market: Market, quote: Asset) -> int:
        """What the holdings on the market's chain are worth in units of `quote`, rounded down.

        An asset without a price counts nothing.
        """
        here = (asset for asset in self.assets if asset.chain_id == market.chain_id)
        return sum(market.value(asset, self.held(asset), quote) or 0 for asset in here)


@dataclass(frozen=True, slots=True)
class Trigger:
    """What a handler is called for; with the ordinal it names what the handler submits."""

    name: str
    at: Millis

    def intent_id(self, strategy_id: str, ordinal: int) -> UUID:
        """Return the id that this strategy's request number `ordinal` on this trigger has.

        The same trigger seen again names the same requests, so none is made twice (P3). The id
        is a UUIDv7 of the trigger's instant: ids keep the order of time.
        """
        text = f"{strategy_id}/{self.name}/{ordinal}".encode()
        return uuid7(self.at, int.from_bytes(sha256(text).digest()[:10], "big"))


@dataclass(slots=True, kw_only=True)
class Desk:
    """One strategy's surroundings; changed only between calls of its handlers."""

    strategy_id: str
    clock: Clock
    tokens: Tokens
    models: SignalModels | None = None
    portfolio: Portfolio = Portfolio()
    market: Market | None = None
    open: dict[UUID, int] = field(default_factory=dict)
    """Intents that have not ended, with the version last told to the strategy (0: none yet)."""
    trigger: Trigger = Trigger("", Millis(0))
    muted: bool = False
    outbox: list[Intent] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    """What was predicted during this call, for the note of what it leads to."""
    requests: int = 0

    def begin(self, trigger: Trigger, *, muted: bool) -> None:
        """Prepare for one call of a handler."""
        self.trigger, self.muted, self.requests = trigger, muted, 0
        self.signals.clear()

    def next_id(self) -> UUID:
        """Return the id of the next request of this call."""
        if self.requests >= MAX_REQUESTS:
            raise TooManyRequests("too many intents in one call", limit=MAX_REQUESTS)
        return self.trigger.intent_id(self.strategy_id, self.requests)

    def submit(self, intent: Intent) -> UUID | None:
        """Put an intent into the outbox; None when nothing may go out now."""
        if self.muted:
            return None
        self.requests += 1
        self.outbox.append(intent)
        self.open[intent.id] = 0
        return intent.id
