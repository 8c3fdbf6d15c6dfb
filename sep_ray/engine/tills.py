"""Which of a chain's accounts does what: each spends what it holds itself. Pure decisions.

Whose units they are is the ledger's matter, where they are is decided here. A step goes to the
least busy account that holds what it sells; where none holds enough alone, the account with most
is sent what it lacks by the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sep_ray.execution.attempt import Moving
from sep_ray.kernel.units import Asset


class Till:
    """What one account may still spend in a round, and how busy it is."""

    def __init__(
        self,
        account: str,
        units: Mapping[Asset, int],
        coin: Asset,
        *,
        in_flight: int = 0,
        room: int = 1_000_000,
        stalled: bool = False,
    ) -> None:
        """`units` are free: without what transactions in flight may need. `stalled` says that its
        next nonce does not land, so all it is given waits."""
        self.account = account
        self._units = dict(units)
        self._coin = coin
        self._in_flight = in_flight
        self._room = room
        self._stalled = stalled

    @property
    def burden(self) -> tuple[bool, int]:
        """What to compare: the smaller, the sooner something lands."""
        return self._stalled, self._in_flight

    def holds(self, asset: Asset) -> int:
        """Return what is free of an asset."""
        return self._units.get(asset, 0)

    def pays(self, wei: int) -> bool:
        """Whether it can send one more, and its own coin covers so much gas."""
        return self._room > 0 and wei <= self.holds(self._coin)

    def take(self, asset: Asset, units: int, wei: int) -> None:
        """Set units and gas aside for a transaction."""
        self._units[asset] = self.holds(asset) - units
        self._units[self._coin] = self.holds(self._coin) - wei
        self._in_flight += 1
        self._room -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """Units that one account is to send to another of ours."""

    source: str
    moving: Moving


class Tills:
    """All accounts that may send now, in the order in which they are preferred when alike."""

    def __init__(self, tills: Sequence[Till], moving: Iterable[Moving] = ()) -> None:
        """`moving` is on its way between accounts: until it is there, the target keeps what it has
        of that asset for the step that it is for."""
        self._tills = tuple(tills)
        self._awaited = {(each.asset, each.target) for each in moving}
        self._last: dict[Asset, Till] = {}

    def place(self, asset: Asset, units: int, wei: int) -> str | None:
        """Set units and gas aside on the best account and return it; None when none has both.

        Within a round, sales of one asset stay together: they share an approval.
        """
        able = [t for t in self._tills if t.holds(asset) >= units and t.pays(wei)]
        able = [till for till in able if (asset, till.account) not in self._awaited]
        if not able:
            return None
        last = self._last.get(asset)
        chosen = last if last in able else None
        chosen = chosen or min(able, key=lambda till: till.burden)
        self._last[asset] = chosen
        chosen.take(asset, units, wei)
        return chosen.account

    def pays(self, wei: int) -> bool:
        """Whether any account covers so much gas."""
        return any(till.pays(wei) for till in self._tills)

    def gather(self, asset: Asset, units: int, wei: int) -> tuple[Gathering, ...]:
        """Return the transfers that bring so many units together; none when that cannot be done
        now: the rest is in flight, or this asset is on its way already. `wei` is a transfer's gas.
        """
        able = sorted((t for t in self._tills if t.pays(wei)), key=lambda t: -t.holds(asset))
        awaited = any(asset == each for each, _ in self._awaited)
        if awaited or sum(till.holds(asset) for till in able) < units:
            return ()
        target, *others = able
        missing = units - target.holds(asset)
        found = []
        for till in others:
            part = min(missing, till.holds(asset))
            if part > 0:
                till.take(asset, part, wei)
                moving = Moving(asset=asset, units=part, target=target.account)
                found.append(Gathering(source=till.account, moving=moving))
                missing -= part
        self._awaited.add((asset, target.account))
        return tuple(found)
