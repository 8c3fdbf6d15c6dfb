"""How far the proof of an arrival or a refund can be relied on, by what it is worth (P7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sep_ray.engine.canonical import standing
from sep_ray.engine.finality import FinalityRule, Tag
from sep_ray.engine.ports import Market
from sep_ray.execution.ports import Chain, Finality, Head
from sep_ray.kernel.units import Asset, ChainId, Rounding
from sep_ray.routing.prices import convert, mid_price
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot
from sep_ray.settlement.transfer import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Where values come from: markets, and each chain's unit of account."""

    market: Market
    numeraires: Mapping[ChainId, Asset]

    async def worth(self, asset: Asset, units: int) -> int | None:
        """Return what units are worth in units of account, None when nobody can tell."""
        numeraire = self.numeraires.get(asset.chain_id)
        if asset == numeraire:
            return units
        return worth_of(asset, units, await self.market.snapshot(asset.chain_id), numeraire)


def worth_of(
    asset: Asset, units: int, snapshot: Snapshot | None, numeraire: Asset | None
) -> int | None:
    """Return what units are worth at the mid, rounded up, None when nobody can tell."""
    if asset == numeraire:
        return units
    mid = mid_price(snapshot, asset, numeraire) if snapshot and numeraire else None
    if mid is None or isinstance(mid, NoRoute):
        return None
    return convert(units, mid, Rounding.UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """Whether a proof's block is part of its chain, deep enough for what it says, and final."""

    stands: bool
    confirmed: bool
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """Asks chains about proofs. `words` are the chains' own on finality, where a rule wants them;
    without `prices` what has to be valued is held to be worth as much as any."""

    chains: Mapping[ChainId, Chain]
    rules: Mapping[ChainId, FinalityRule]
    prices: Prices | None = None
    words: Mapping[ChainId, Finality] = field(default_factory=dict)

    async def judge(self, proof: Proof, asset: Asset, units: int, head: Head) -> Proven:
        """Say how a proof that so many units of an asset moved stands at a head of its chain."""
        chain_id, number = proof.chain_id, proof.block_number
        rule = self.rules[chain_id]
        if not await standing(self.chains[chain_id], [(number, proof.block_hash)], number + 1):
            return Proven(stands=False, confirmed=False, final=False)
        if head.number - number < rule.depth(0):
            return Proven(stands=True, confirmed=False, final=False)
        value = await self._value(rule, asset, units)
        word = self.words.get(chain_id) if rule.tag is not Tag.NONE else None
        settled = await word.settled() if word is not None else None
        return Proven(
            stands=True,
            confirmed=rule.confirms(number, head, settled, value),
            final=rule.ends(number, head, settled, value),
        )

    async def _value(self, rule: FinalityRule, asset: Asset, units: int) -> int | None:
        if rule.value_step is None:
            return 0
        return await self.prices.worth(asset, units) if self.prices is not None else None
