"""One strategy at work: calls its handlers, numbers its requests, keeps what must survive.

Pure and synchronous: the live host and a backtest both drive it. What it decided in a turn
(state, newest blocks, requests) leaves it as one text, to be saved before any request is handed
in. A crash before the save forgets the turn, and the blocks are seen again; a crash after it
finds the requests in the text and hands them in, under ids that a second time changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Final
from uuid import UUID

from sep_ray.intent.intent import Intent
from sep_ray.intent.states import TERMINAL, IntentRecord
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.strategy.base import BaseStrategy
from sep_ray.strategy.desk import Desk, Trigger
from sep_ray.strategy.market import Bar, Market, bars_between
from sep_ray.strategy.plain import Json, ReadAsset, build, dump, hints_of

SAVE_EVERY: Final = 64
"""Blocks after which progress is saved although nothing else changed."""
MAX_HISTORY: Final = 10_000
"""Blocks of history a strategy may ask for."""
MAX_BARS: Final = 64
"""Bars told at once; of a longer gap the older ones are left out."""


class BadParams(Rejected):
    """The parameters do not fit the class; facts, where one is at fault: field, allowed."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """What a strategy has that declares no parameters or no state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What survives: `run` is the start it belongs to, `blocks` the newest seen per chain,
    `open` the intents without an end, `outbox` requests perhaps not handed in yet."""

    run: int = 0
    blocks: dict[ChainId, int] = field(default_factory=dict)
    open: dict[UUID, int] = field(default_factory=dict)
    outbox: tuple[Intent, ...] = ()
    state: Any = None

    def text(self) -> str:
        """Return it as JSON; the same content always gives the same text."""
        return _text(dump(self))

    @classmethod
    def read(cls, text: str) -> Saved:
        """Read what `text` wrote."""
        return build(cls, json.loads(text))


class Runner:
    """A strategy between two saves."""

    def __init__(self, strategy: BaseStrategy, desk: Desk, saved: Saved, run: int) -> None:
        self.strategy = strategy
        self.desk = desk
        self.run = run
        self.pairs = tuple(strategy.watches())
        self.keep = min(max(strategy.warm_up, 2 * strategy.bar_blocks, 2), MAX_HISTORY)
        self.blocks = dict(saved.blocks)
        self.resumed = saved.run == run
        self._kept = self._core() if self.resumed else ""
        self._unsaved = 0
        desk.open.update(saved.open)
        desk.outbox.extend(saved.outbox)

    @property
    def chains(self) -> frozenset[ChainId]:
        """The chains its pairs are on."""
        return frozenset(pair.chain_id for pair in self.pairs)

    def start(self, at: Millis, *, muted: bool) -> None:
        """Bring it to life; what it submits counts only in the first life of this run."""
        self.desk.begin(Trigger(f"start/{self.run}", at), muted=muted or self.resumed)
        self.strategy.on_start()

    def block(self, market: Market, *, muted: bool) -> None:
        """Show it a block; blocks not newer than the newest it saw are left out."""
        before = self.blocks.get(market.chain_id, -1)
        if market.block_number <= before:
            return
        self.desk.market = market
        name = f"block/{market.chain_id}/{market.block_number}"
        self.desk.begin(Trigger(name, market.at), muted=muted)
        for bar in self._bars(market, before):
            self.strategy.on_bar(bar)
        self.strategy.on_block(market)
        self.blocks[market.chain_id] = market.block_number
        self._unsaved += 1

    def update(self, record: IntentRecord, *, muted: bool) -> None:
        """Tell it how one of its intents stands; a version it knows is left out."""
        intent_id = record.intent.id
        known = self.desk.open.get(intent_id)
        if known is None or record.version <= known:
            return
        if record.status in TERMINAL:
            del self.desk.open[intent_id]
        else:
            self.desk.open[intent_id] = record.version
        name = f"update/{intent_id}/{record.version}"
        self.desk.begin(Trigger(name, record.updated_at), muted=muted)
        self.strategy.on_intent_update(record)

    def stop(self, at: Millis) -> None:
        """Let it tidy up."""
        self.desk.begin(Trigger(f"stop/{self.run}", at), muted=True)
        self.strategy.on_stop()

    def unsaved(self) -> str | None:
        """Return what must be saved before the outbox is handed in; None when nothing must."""
        changed = self.desk.outbox or self._core() != self._kept
        return self.saved().text() if changed or self._unsaved >= SAVE_EVERY else None

    def saved(self) -> Saved:
        """Return all that must survive."""
        return Saved(
            run=self.run,
            blocks=self.blocks,
            open=self.desk.open,
            outbox=tuple(self.desk.outbox),
            state=dump(self.strategy.state),
        )

    def kept(self) -> tuple[Intent, ...]:
        """Note that `unsaved` has been saved; return the requests to hand in now."""
        requests = tuple(self.desk.outbox)
        self.desk.outbox.clear()
        self._kept, self._unsaved = self._core(), 0
        return requests

    def _core(self) -> str:
        """What is saved as soon as it changes, as text."""
        return _text([dump(self.desk.open), dump(self.strategy.state)])

    def _bars(self, market: Market, before: int) -> list[Bar]:
        blocks = self.strategy.bar_blocks
        if not blocks:
            return []
        end = (market.block_number + 1) // blocks
        start = max((before + 1) // blocks, end - MAX_BARS)
        found = [
            bar
            for pair in self.pairs
            if pair.chain_id == market.chain_id
            for bar in bars_between(market.series[pair], blocks, start, end)
        ]
        return sorted(found, key=_bar_order)


def build_runner(
    declared: type[BaseStrategy], params: str, desk: Desk, saved: Saved, run: int
) -> Runner:
    """Bring a class, parameters (JSON text) and what was saved together.

    Raises BadParams when the parameters do not fit. Saved state that does not fit the declared
    state raises Misfit within one run; a new run (other code, other parameters) starts afresh.
    """
    checked = read_params(declared, params, desk.tokens.asset)
    return Runner(declared(checked, _state(declared, saved, run), desk), desk, saved, run)


def read_params(declared: type[BaseStrategy], params: str, read_asset: ReadAsset) -> Any:
    """Return the class's parameters as it declares them, or raise BadParams."""
    try:
        values = json.loads(params or "{}")
    except ValueError as error:
        raise BadParams(f"params are not JSON: {error}") from None
    try:
        return build(declaration(declared, "params"), values, "", read_asset)
    except BadParams:
        raise
    except Rejected as error:
        path, allowed = error.facts.get("field"), error.facts.get("allowed")
        facts = {"field": path, "allowed": allowed} if path else {}
        raise BadParams(f"{path or 'params'} {error.message}", **facts) from None


def declaration(declared: type[BaseStrategy], name: str) -> type:
    """Return the dataclass annotated as `params` or `state`; Nothing when there is none."""
    found = hints_of(declared).get(name, Any)
    if found is Any:
        return Nothing
    if not (isinstance(found, type) and is_dataclass(found)):
        raise BadParams(f"{declared.__name__}.{name} must be declared as a dataclass")
    return found


def _state(declared: type[BaseStrategy], saved: Saved, run: int) -> Any:
    kind = declaration(declared, "state")
    if saved.state is None:
        return kind()
    try:
        return build(kind, saved.state, "state")
    except Rejected:
        if saved.run == run:
            raise
        return kind()


def _bar_order(bar: Bar) -> tuple[int, Asset, Asset]:
    return bar.last_block, bar.pair.base, bar.pair.quote


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
