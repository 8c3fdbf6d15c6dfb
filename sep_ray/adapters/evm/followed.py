"""One pool as its logs tell it, from the block where it was read as a whole. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sep_ray.adapters.evm.abi import words
from sep_ray.adapters.evm.multicall import Read
from sep_ray.adapters.evm.pool_logs import Change, FeeSet, PoolLog, Priced, Reserves
from sep_ray.adapters.evm.pool_reads import (
    PoolKey,
    Slot,
    State,
    built,
    mean_read,
    parse_lens,
    parse_mean,
    parse_state,
    parse_tick,
    state_reads,
    tick_read,
    ticks_in,
    word_read,
)
from sep_ray.adapters.evm.tick_book import TickBook
from sep_ray.kernel.errors import Rejected
from sep_ray.routing.pools.pool import Pool, Venue
from sep_ray.routing.pools.ticks import word_of
from sep_ray.routing.stops import StoppedPool

WORDS_CHECKED: Final = 1
"""Bitmap words to each side of the price's own that a check compares, besides that one."""
TICKS_CHECKED: Final = 8
"""Ticks of a V4 pool whose liquidity a check compares: the ones nearest to the price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lenses:
    """The contracts that are asked on behalf of pools."""

    tick_lens: str
    v4_pools: str
    v4_state: str


@dataclass(slots=True)
class Followed:
    """What is known of a pool now, what it was last held against, and whether it stands still.

    `applied` are the logs taken in since block `verified`, the last at which the contract agreed.
    `mean` is the V3 pool's mean tick as of that block, where it tells one.
    """

    key: PoolKey
    state: State | None = None
    book: TickBook | None = None
    stop: StoppedPool | None = None
    verified: int = -1
    mean: int | None = None
    applied: set[tuple[str, int]] = field(default_factory=set)

    @property
    def usable(self) -> bool:
        """Whether it is known and does not stand still."""
        return self.stop is None and self.state is not None

    def take(self, log: PoolLog) -> str:
        """Take a log in; return what is wrong when it cannot be, "" otherwise."""
        self.applied.add(log.place)
        match log.what:
            case Reserves(reserve0, reserve1):
                self.state = (reserve0, reserve1)
            case Priced(price, tick, liquidity):
                self.state = Slot(price, tick, 0 if liquidity is None else liquidity)
                if self.book is not None and not self.book.holds(tick):
                    self.book = None  # beyond what is known: to be read around the new price
            case Change() as change:
                self._change(change)
            case FeeSet(fee):
                return f"a protocol fee of {fee}" if fee else ""
        return "" if self.agrees() else "ticks and liquidity disagree"

    def _change(self, change: Change) -> None:
        slot = self.state
        if isinstance(slot, Slot) and change.lower <= slot.tick < change.upper:
            self.state = replace(slot, liquidity=slot.liquidity + change.liquidity)
        if self.book is not None:
            self.book.apply([change])

    def agrees(self) -> bool:
        """Whether the ticks lead to the liquidity in range."""
        if self.book is None or not isinstance(self.state, Slot):
            return True
        return self.book.agrees(self.state.tick, self.state.liquidity)

    def confirmed(self, block_number: int) -> None:
        """Note that the contract agreed right after a block."""
        self.verified = block_number
        self.applied.clear()

    def pool(self) -> Pool | None:
        """Return it as routing knows it; None while it is not known. Rejected without sense."""
        if not self.usable:
            return None
        return built(self.key, self.state, self.book.tick_map if self.book else None)


class Check:
    """Asks the contract about one pool, and compares: where it stands, and the ticks nearby."""

    def __init__(self, followed: Followed, lenses: Lenses) -> None:
        """Choose what to ask from where the pool stands now."""
        self.followed = followed
        self._state = state_reads(followed.key, lenses.v4_state)
        self._words = tuple(_near_words(followed))
        self._ticks = tuple(_near_ticks(followed, self._words))
        key = followed.key
        self.reads: tuple[Read, ...] = (
            *self._state,
            *(word_read(key, n, lenses.tick_lens, lenses.v4_state) for n in self._words),
            *(tick_read(key, tick, lenses.v4_state) for tick in self._ticks),
            *((mean_read(key),) if key.venue is Venue.UNISWAP_V3 else ()),
        )

    def difference(self, parts: Sequence[bytes | None]) -> str:
        """Say what the contract's answers have that we have not; "" when nothing."""
        key, ours = self.followed.key, self.followed.state
        try:
            theirs = parse_state(key, parts[: len(self._state)])
        except Rejected as wrong:
            return str(wrong)
        if theirs != ours:
            return f"we follow {ours}, the contract says {theirs}"
        rest = parts[len(self._state) :]
        if key.venue is Venue.UNISWAP_V3:
            self.followed.mean = parse_mean(rest[-1])
            rest = rest[:-1]
        if any(part is None for part in rest):
            return "ticks cannot be read"
        found = [part for part in rest if part is not None]
        return self._ticks_differ(found[: len(self._words)], found[len(self._words) :])

    def _ticks_differ(self, in_words: Sequence[bytes], alone: Sequence[bytes]) -> str:
        book = self.followed.book
        if book is None:
            return ""
        for number, data in zip(self._words, in_words, strict=True):
            known = book.within(number, number)
            if self.followed.key.venue is Venue.UNISWAP_V4:
                bits = ticks_in(words(data)[0], number, self.followed.key.tick_spacing)
                same = list(bits) == [tick for tick, _, _ in known]
            else:
                same = parse_lens(data) == known
            if not same:
                return f"other ticks in word {number}"
        by_tick = {tick: (tick, net, gross) for tick, net, gross in book.within(*book.known)}
        for tick, data in zip(self._ticks, alone, strict=True):
            if tick in by_tick and parse_tick(tick, data) != by_tick[tick]:
                return f"other liquidity at tick {tick}"
        return ""


def _near_words(followed: Followed) -> Iterator[int]:
    slot, book = followed.state, followed.book
    if book is None or not isinstance(slot, Slot):
        return
    centre, (low, high) = word_of(slot.tick, followed.key.tick_spacing), book.known
    yield from range(max(centre - WORDS_CHECKED, low), min(centre + WORDS_CHECKED, high) + 1)


def _near_ticks(followed: Followed, numbers: Sequence[int]) -> list[int]:
    """Only V4 pools: a V3 pool's words are answered with their ticks' liquidity."""
    slot, book = followed.state, followed.book
    if followed.key.venue is not Venue.UNISWAP_V4 or not numbers:
        return []
    if book is None or not isinstance(slot, Slot):
        return []
    known = [tick for tick, _, _ in book.within(numbers[0], numbers[-1])]
    return sorted(known, key=lambda tick: abs(tick - slot.tick))[:TICKS_CHECKED]
