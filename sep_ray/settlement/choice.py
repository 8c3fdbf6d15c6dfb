"""BridgeRouter: which bridge carries a movement, and why. A pure function of offers and records.

Every offer is weighed by what it costs in all, in millionths of what is sent: what does not arrive,
gas on both chains, the waiting, and the risk of its trust class and its own record. Offers that
another one beats in amount, both times, trust and record are not looked at further; of the others
the intent's preference decides. All ways are named in the choice with their verdicts (P14).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sep_ray.intent.intent import BridgeBy
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import PPM, Asset
from sep_ray.settlement.ports import NO_PAIR, NoQuote, Quote, Traits, Trust
from sep_ray.settlement.track import Track
from sep_ray.settlement.weighed import Alternative, Choice

HOUR_MS: Final = 3_600_000
TRUST: Final[Mapping[Trust, int]] = {
    Trust.CANONICAL: 0,
    Trust.ISSUER: 10,
    Trust.OPTIMISTIC: 30,
    Trust.ATTESTED: 60,
}
"""The premium asked for a trust class, in millionths of what is sent."""
NEVER_AGAIN_PPM: Final = 5_000
"""What a failed movement is taken to cost (money away for days, a person's time)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A quote and the bridge it comes from. `gas_units` is what gas on both chains costs, in
    smallest units of the target asset."""

    quote: Quote
    traits: Traits
    gas_units: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the movement asks for.

    * `par_units`: what would arrive if bridges cost nothing, in units of the target asset
    * `most_ppm`: the most that may be lost on the way, of that
    * `most_ms`: how long it may take at the 95th percentile
    * `hour_ppm`: what an hour of waiting costs, of what is sent
    """

    par_units: int
    by: BridgeBy = BridgeBy.BEST
    allowed: frozenset[str] = frozenset()
    most_ppm: int = 5_000
    most_ms: int = 8 * 24 * HOUR_MS
    hour_ppm: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How the bridges stand: records, and what each has of an asset now (units)."""

    now: Millis
    tracks: Mapping[str, Track] = field(default_factory=dict)
    exposure: Mapping[tuple[str, Asset], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The quote to depart with, and why."""

    quote: Quote
    choice: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBridge:
    """None will do; the choice names what was weighed. `passing` says that time may cure it: not
    where no bridge that is allowed ever serves the pair."""

    choice: Choice
    passing: bool


@dataclass(frozen=True, slots=True)
class _Weighed:
    offer: Offer
    cost_ppm: int
    p50_ms: int
    p95_ms: int
    risk_ppm: int
    objection: str

    @property
    def key(self) -> tuple[int, int, int, int, int]:
        """What may be compared: the more of each, the worse."""
        quote = self.offer.quote
        out = quote.units_out - self.offer.gas_units
        trust = TRUST[self.offer.traits.trust]
        return -out, self.p50_ms, self.p95_ms, trust, self.risk_ppm


def choose(
    offers: Sequence[Offer], refusals: Sequence[NoQuote], terms: Terms, state: State
) -> Chosen | NoBridge:
    """Return the bridge to take, or why there is none. The same facts give the same choice."""
    weighed = [_weighed(offer, terms, state) for offer in offers]
    able = [each for each in weighed if not each.objection]
    front = [each for each in able if not any(_beats(other, each) for other in able)]
    none = [Alternative(bridge=n.bridge, verdict=_no(n)) for n in refusals]
    if not front:
        others = [_alternative(each, each.objection) for each in weighed]
        choice = Choice(reason="no bridge will do", alternatives=(*others, *none))
        return NoBridge(choice=choice, passing=_may_pass(offers, refusals, terms))
    best = min(front, key=lambda each: (*_wish(each, terms.by), each.offer.quote.bridge))
    others = [
        _alternative(each, _verdict(each, best, front, terms.by))
        for each in sorted(weighed, key=lambda each: (bool(each.objection), each.cost_ppm))
        if each is not best
    ]
    taken = _alternative(best, "taken")
    reason = f"{terms.by.value} of {len(able)} that can: {_words(best)}"
    return Chosen(
        quote=best.offer.quote,
        choice=Choice(reason=reason, alternatives=(taken, *others, *none)),
    )


def _may_pass(offers: Sequence[Offer], refusals: Sequence[NoQuote], terms: Terms) -> bool:
    """Whether a bridge that is allowed and serves the pair at all may take it later."""
    serving = [offer.quote.bridge for offer in offers]
    serving += [none.bridge for none in refusals if none.reason != NO_PAIR]
    return any(not terms.allowed or bridge in terms.allowed for bridge in serving)


def _weighed(offer: Offer, terms: Terms, state: State) -> _Weighed:
    quote, known = offer.quote, state.tracks.get(offer.quote.bridge, Track())
    p50 = known.expected_ms(quote.p50_ms)
    p95 = max(quote.p95_ms, p50)
    lost = terms.par_units - quote.units_out + offer.gas_units
    cost = (
        -(-lost * PPM // max(terms.par_units, 1))
        + p50 * terms.hour_ppm // HOUR_MS
        + TRUST[offer.traits.trust]
        + known.risk_ppm * NEVER_AGAIN_PPM // PPM
    )
    objection = _objection(offer, terms, state, known, p95)
    return _Weighed(offer, cost, p50, p95, known.risk_ppm, objection)


def _objection(offer: Offer, terms: Terms, state: State, known: Track, p95_ms: int) -> str:
    """Return what forbids this offer, or ""."""
    quote, traits = offer.quote, offer.traits
    held = state.exposure.get((quote.bridge, quote.source), 0)
    cap = traits.caps.get(quote.source)
    cut = known.cut_until()
    lost = terms.par_units - quote.least_out
    found = {
        "is not allowed": bool(terms.allowed) and quote.bridge not in terms.allowed,
        f"would hold {held + quote.units_in}, cap {cap}": (
            cap is not None and held + quote.units_in > cap
        ),
        f"is cut off until {cut}": cut is not None and state.now < cut,
        "is on probation and has one under way": (
            cut is not None and state.now >= cut and known.under_way > 0
        ),
        f"takes too much: {lost} of {terms.par_units}": lost * PPM
        > terms.par_units * terms.most_ppm,
        f"takes too long: {p95_ms} ms": p95_ms > terms.most_ms,
    }
    return next((words for words, holds in found.items() if holds), "")


def _beats(one: _Weighed, other: _Weighed) -> bool:
    """Whether one is at least as good in everything and better in something."""
    pairs = list(zip(one.key, other.key, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _wish(each: _Weighed, by: BridgeBy) -> tuple[int, ...]:
    quote = each.offer.quote
    match by:
        case BridgeBy.BEST:
            return (each.cost_ppm,)
        case BridgeBy.CHEAPEST:
            return each.offer.gas_units - quote.units_out, each.cost_ppm
        case BridgeBy.FASTEST:
            return each.p95_ms, each.cost_ppm
        case BridgeBy.SAFEST:
            return TRUST[each.offer.traits.trust], each.risk_ppm, each.cost_ppm


def _verdict(each: _Weighed, best: _Weighed, front: Sequence[_Weighed], by: BridgeBy) -> str:
    if each.objection:
        return each.objection
    if each not in front:
        return "another one is better in everything"
    return f"not the {by.value}: costs {each.cost_ppm} ppm against {best.cost_ppm}"


def _alternative(each: _Weighed, verdict: str) -> Alternative:
    quote = each.offer.quote
    return Alternative(
        bridge=quote.bridge,
        mode=quote.mode,
        units_out=quote.units_out,
        p50_ms=each.p50_ms,
        p95_ms=each.p95_ms,
        trust=each.offer.traits.trust.value,
        cost_ppm=each.cost_ppm,
        verdict=verdict,
    )


def _words(each: _Weighed) -> str:
    quote = each.offer.quote
    return (
        f"{quote.bridge}{' ' + quote.mode if quote.mode else ''} delivers {quote.units_out} of "
        f"{quote.units_in} in about {each.p50_ms} ms, {each.cost_ppm} ppm in all"
    )


def _no(none: NoQuote) -> str:
    return f"no offer: {none.reason}{', ' + none.detail if none.detail else ''}"
