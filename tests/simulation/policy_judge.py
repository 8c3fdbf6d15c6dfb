"""A judge of signatures that knows nothing of the gate's arithmetic: it counts what was signed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sep_ray.engine.gate import Ask
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.limits import Kind, Limit, Listed, Measure, Subject

PRICES = {"1": (3, 1), "2": (7, 3), "3": (1, 1)}
"""Units of the numeraire per unit of token 1, 2 and 3; token 4 has none, token 3 is it."""


@dataclass
class Deed:
    """Something signed, as the judge remembers it."""

    ask: Ask
    chain: ChainId
    at: int
    gas: int
    alive: bool = True
    effect: bool = True
    counted: bool = True

    def undo(self) -> None:
        """It was not signed, or its bytes are lost for good: nothing of it counts."""
        self.alive = self.effect = self.counted = False
        self.gas = 0

    def fits(self, subject: Subject) -> bool:
        step, moved = self.ask.step, [m for m in (self.ask.sells, self.ask.buys) if m]
        assert step is not None
        pairs = (
            (subject.strategy_id, step.strategy_id),
            (subject.chain_id, self.chain),
            (subject.contract, self.ask.call.to),
            (subject.selector, self.ask.call.data[:10]),
        )
        if any(want is not None and want != has for want, has in pairs):
            return False
        return subject.asset is None or subject.asset in {each.asset for each in moved}

    def buys(self, asset: Asset | None) -> bool:
        return self.ask.buys is not None and self.ask.buys.asset == asset

    def amount(self, limit: Limit) -> int:
        if limit.measure is Measure.GAS:
            return self.gas
        if limit.measure is Measure.COUNT:
            return int(self.counted)
        if not self.effect:
            return 0
        moved = self.ask.sells if limit.kind is not Kind.POSITION else self.ask.buys
        assert moved is not None
        asset = limit.subject.asset
        if limit.kind is not Kind.POSITION and asset not in (None, moved.asset):
            moved = self.ask.buys
            assert moved is not None
        if limit.measure is Measure.UNITS:
            return moved.units
        up, down = PRICES[moved.asset.address[2]]
        return -(-moved.units * up // down)


class Judge:
    """Counts what was signed against the limits as they stood; one counts from its setting.

    What has ended for good is kept as a sum, so that a long run stays quick.
    """

    def __init__(self) -> None:
        self.under: dict[str, list[Deed]] = {}
        self.settled: Counter[str] = Counter()
        self.faults: list[str] = []

    def signed(self, deed: Deed, limits: tuple[Limit, ...]) -> None:
        """Judge something that may be signed from now on."""
        for limit in limits:
            if deed.fits(limit.subject):
                self.under.setdefault(limit.id, []).append(deed)
                self._judge(limit, deed)

    def _judge(self, limit: Limit, deed: Deed) -> None:
        if limit.kind is Kind.LIST:
            assert limit.listed is not None
            named = {
                Listed.CONTRACTS: {deed.ask.call.to},
                Listed.SELECTORS: {deed.ask.call.data[:10]},
                Listed.RECIPIENTS: {"0x" + deed.ask.call.data[10:50]},
                Listed.ASSETS: {str(m.asset) for m in (deed.ask.sells, deed.ask.buys) if m},
                Listed.SPENDERS: set(deed.ask.spenders),
            }[limit.listed]
            self._require(named <= limit.members, f"{limit.id}: {named}")
            return
        try:
            if limit.kind is Kind.POSITION and not deed.buys(limit.subject.asset):
                return
            total = deed.amount(limit)
            if limit.kind is not Kind.TRANSACTION:
                total = self._sum(limit, deed)
        except KeyError:
            self._require(False, f"{limit.id}: value without a price")
            return
        self._require(total <= limit.amount, f"{limit.id}: {total} > {limit.amount}")

    def _sum(self, limit: Limit, deed: Deed) -> int:
        """Add up what counts now, and forget what never will again."""
        found = self.under[limit.id]
        if limit.kind is Kind.WINDOW:
            found = [each for each in found if each.at > deed.at - (limit.window_ms or 0)]
        elif limit.kind is Kind.POSITION:
            asset = limit.subject.asset
            found = [each for each in found if each.alive and each.buys(asset)]
        else:
            self.settled[limit.id] += sum(e.amount(limit) for e in found if not e.alive)
            found = [each for each in found if each.alive]
        self.under[limit.id] = found
        return self.settled[limit.id] + sum(each.amount(limit) for each in found)

    def _require(self, good: bool, words: str) -> None:
        if not good:
            self.faults.append(words)
