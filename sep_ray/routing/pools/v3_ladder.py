"""One direction of a V3 pool, unrolled: what every whole step from here on takes and gives.

The contract walks from stop to stop (initialised ticks and bitmap word edges) and rounds at each.
From a fixed start those steps never change, so their sums are kept and a quote is a search for
the step it ends in plus that step's remainder. The ladder grows as far as it was asked.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import Final, NamedTuple

from sep_ray.kernel.units import PPM
from sep_ray.routing.pools.ticks import TickMap
from sep_ray.routing.pools.v3_math import (
    MAX_SQRT_RATIO,
    MIN_SQRT_RATIO,
    amount0_down,
    amount0_up,
    amount1_down,
    amount1_up,
    price_after_adding0,
    price_after_adding1,
    price_after_removing0,
    price_after_removing1,
    sqrt_ratio_at_tick,
    tick_at_sqrt_ratio,
)
from sep_ray.routing.reasons import Reason


class Rung(NamedTuple):
    """Where a whole step ends: square-root price, tick, liquidity, initialised ticks crossed."""

    price: int
    tick: int
    liquidity: int
    crossed: int


class Fill(NamedTuple):
    """What was swapped and where it ended; `tick` is None when the price must tell it."""

    amount_in: int
    amount_out: int
    price: int
    tick: int | None
    liquidity: int
    crossed: int


_FLOOR: Final = MIN_SQRT_RATIO + 1
_CEILING: Final = MAX_SQRT_RATIO - 1
_MAX_LIQUIDITY: Final = 2**128 - 1


class Ladder:
    """The steps of one direction from one state of a pool. Locks itself; safe to share."""

    __slots__ = ("_down", "_end", "_fee", "_ins", "_lock", "_map", "_outs", "_rungs")

    def __init__(self, tick_map: TickMap, fee_ppm: int, start: Rung, downwards: bool) -> None:
        self._map = tick_map
        self._fee = fee_ppm
        self._down = downwards
        self._lock = threading.Lock()
        self._rungs = [start]
        self._ins = [0]
        self._outs = [0]
        self._end: Reason | None = None

    def fill(self, amount: int, exact_out: bool) -> Fill | Reason:
        """Swap all of `amount` (1 or more; out when `exact_out`, else in), or say why not."""
        totals = self._outs if exact_out else self._ins
        with self._lock:
            while totals[-1] < amount:
                if self._end is not None:
                    return self._end
                self._grow()
            return self._within(bisect_left(totals, amount), amount, exact_out)

    def fill_to(self, amount: int, exact_out: bool, limit: int) -> Fill | Reason:
        """Swap as much of `amount` as the square-root price `limit` allows.

        The caller makes sure that `limit` lies ahead of the price and inside the contract's
        bounds.
        """
        totals = self._outs if exact_out else self._ins
        with self._lock:
            while totals[-1] < amount and not self._reached(len(totals) - 1, limit):
                if self._end is not None:
                    return self._end
                self._grow()
            step, last = bisect_left(totals, amount), self._first_at(limit)
            if step < last:
                return self._within(step, amount, exact_out)
            return self._to_limit(last, amount, exact_out, limit)

    def _grow(self) -> None:
        """Add the next whole step, or note why there is none."""
        start = self._rungs[-1]
        bound = _FLOOR if self._down else _CEILING
        stop = self._map.next(start.tick, self._down)
        if start.price == bound or stop is None:
            whole = start.price == bound
            self._end = Reason.INSUFFICIENT_LIQUIDITY if whole else Reason.OUTSIDE_KNOWN_TICKS
            return
        tick, net = stop
        price = sqrt_ratio_at_tick(tick)
        if price < bound if self._down else price > bound:
            rung = Rung(bound, tick_at_sqrt_ratio(bound), start.liquidity, start.crossed)
        else:
            rung = self._beyond(start, price, tick, net)
        if not 0 <= rung.liquidity <= _MAX_LIQUIDITY:
            self._end = Reason.POOL_INCONSISTENT
            return
        taken, given = self._amounts(start, rung.price)
        self._rungs.append(rung)
        self._ins.append(self._ins[-1] + taken)
        self._outs.append(self._outs[-1] + given)

    def _beyond(self, start: Rung, price: int, tick: int, net: int | None) -> Rung:
        """Return the rung on the far side of a stop: crossing an initialised tick moves L."""
        after = tick - 1 if self._down else tick
        if net is None:
            return Rung(price, after, start.liquidity, start.crossed)
        change = -net if self._down else net
        return Rung(price, after, start.liquidity + change, start.crossed + 1)

    def _amounts(self, start: Rung, price: int) -> tuple[int, int]:
        """Return what the step from `start` to `price` takes (fee included) and gives."""
        if self._down:
            taken = amount0_up(price, start.price, start.liquidity)
            given = amount1_down(price, start.price, start.liquidity)
        else:
            taken = amount1_up(start.price, price, start.liquidity)
            given = amount0_down(start.price, price, start.liquidity)
        return -(-taken * PPM // (PPM - self._fee)), given

    def _within(self, step: int, amount: int, exact_out: bool) -> Fill:
        """Fill `amount`, which ends in the step before rung `step` or exactly at that rung."""
        if (self._outs if exact_out else self._ins)[step] == amount:
            return self._at(step)
        return self._take_out(step, amount) if exact_out else self._put_in(step, amount)

    def _at(self, step: int) -> Fill:
        return Fill(self._ins[step], self._outs[step], *self._rungs[step])

    def _put_in(self, step: int, amount: int) -> Fill:
        """Exact input that ends before rung `step`: all that is left goes in, fee and all."""
        start = self._rungs[step - 1]
        net = (amount - self._ins[step - 1]) * (PPM - self._fee) // PPM
        liquidity = start.liquidity
        if self._down:
            price = price_after_adding0(start.price, liquidity, net)
            given = amount1_down(price, start.price, liquidity)
        else:
            price = price_after_adding1(start.price, liquidity, net)
            given = amount0_down(start.price, price, liquidity)
        tick = start.tick if price == start.price else None
        out = self._outs[step - 1] + given
        return Fill(amount, out, price, tick, liquidity, start.crossed)

    def _take_out(self, step: int, amount: int) -> Fill:
        """Exact output that ends before rung `step`, or on it: the price may round onto it."""
        start = self._rungs[step - 1]
        left = amount - self._outs[step - 1]
        if self._down:
            price = price_after_removing1(start.price, start.liquidity, left)
        else:
            price = price_after_removing0(start.price, start.liquidity, left)
        taken = self._ins[step - 1] + self._amounts(start, price)[0]
        if price == self._rungs[step].price:
            return Fill(taken, amount, *self._rungs[step])
        tick = start.tick if price == start.price else None
        return Fill(taken, amount, price, tick, start.liquidity, start.crossed)

    def _to_limit(self, step: int, amount: int, exact_out: bool, limit: int) -> Fill:
        """Fill in the step before rung `step`, in which (or at whose end) the limit lies."""
        if self._rungs[step].price == limit:
            totals = self._outs if exact_out else self._ins
            if amount >= totals[step]:
                return self._at(step)
            return self._within(step, amount, exact_out)
        start = self._rungs[step - 1]
        taken, given = self._amounts(start, limit)
        taken, given = taken + self._ins[step - 1], given + self._outs[step - 1]
        if amount >= (given if exact_out else taken):
            return Fill(taken, given, limit, None, start.liquidity, start.crossed)
        return self._within(step, amount, exact_out)

    def _reached(self, step: int, limit: int) -> bool:
        price = self._rungs[step].price
        return price <= limit if self._down else price >= limit

    def _first_at(self, limit: int) -> int:
        """Return the first rung at or past `limit`, or the number of rungs."""
        sign = -1 if self._down else 1
        return bisect_left(self._rungs, sign * limit, key=lambda rung: sign * rung.price)
