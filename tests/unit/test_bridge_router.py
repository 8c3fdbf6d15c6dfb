"""BridgeRouter: what it takes and why, against an oracle, and what it never does."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace

import pytest

from sep_ray.intent.intent import BridgeBy
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.ids import uuid7
from sep_ray.kernel.units import PPM, Asset, ChainId
from sep_ray.settlement.choice import (
    HOUR_MS,
    NEVER_AGAIN_PPM,
    Chosen,
    NoBridge,
    Offer,
    State,
    Terms,
    choose,
)
from sep_ray.settlement.ports import NO_PAIR, NoQuote, Quote, Traits, Trust
from sep_ray.settlement.track import COOL_MS, CUT_AFTER, track
from sep_ray.settlement.transfer import Proof, Transfer, TransferStatus
from tests.fixtures.records import USDC, a_transfer

UNITS = 1_000_000_000
FAR_USDC = Asset(ChainId(42161), USDC.address)
NOW = Millis(1_800_000_000_000)
HOUR_PPM = 2_000
TERMS = Terms(par_units=UNITS, most_ppm=20_000, hour_ppm=HOUR_PPM)
PROOF = Proof(chain_id=ChainId(1), block_number=1, block_hash="0x1", tx_hash="0x2", log_index=0)


@dataclass(frozen=True)
class Synthetic:
    """A bridge with a known distribution: what it says, and what it does."""

    name: str
    fee_ppm: int
    p50_s: int
    spread: float = 0.2
    fails: float = 0.0
    says_s: int | None = None
    trust: Trust = Trust.ATTESTED

    def offer(self, caps: dict[Asset, int] | None = None) -> Offer:
        out = UNITS - UNITS * self.fee_ppm // PPM
        said = (self.says_s or self.p50_s) * 1_000
        quote = Quote(
            bridge=self.name,
            mode="",
            source=USDC,
            target=FAR_USDC,
            units_in=UNITS,
            units_out=out,
            least_out=out,
            departure_gas=100_000,
            p50_ms=said,
            p95_ms=2 * said,
            good_until=Millis(NOW + HOUR_MS),
        )
        return Offer(
            quote=quote,
            traits=Traits(
                name=self.name,
                trust=self.trust,
                refundable=True,
                anyone_can_finish=True,
                expires=False,
                needs_destination_gas=False,
                caps=caps or {},
            ),
        )

    def run(self, chance: random.Random) -> tuple[float, bool]:
        """Return how long one movement takes (seconds), and whether it failed."""
        return self.p50_s * chance.lognormvariate(0, self.spread), chance.random() < self.fails

    def cost(self, seconds: float, failed: bool) -> float:
        return self.fee_ppm + seconds * HOUR_PPM / 3_600 + (NEVER_AGAIN_PPM if failed else 0)

    @property
    def expected(self) -> float:
        mean_s = self.p50_s * 2.718281828 ** (self.spread**2 / 2)
        return self.cost(mean_s, False) + self.fails * NEVER_AGAIN_PPM


def past(name: str, number: int, now: int, seconds: float, failed: bool) -> Transfer:
    """Return a movement that ended at `now`."""
    began = Millis(int(now - seconds * 1_000))
    return a_transfer(
        id=uuid7(began, number),
        bridge=name,
        status=TransferStatus.REFUNDED if failed else TransferStatus.ARRIVED,
        departure_id=uuid7(began, 0),
        departed_at=began,
        arrived_at=None if failed else Millis(now),
        updated_at=Millis(now),
        p95_ms=10 * HOUR_MS,
    )


def test_regret_against_an_oracle_that_knows_the_distributions() -> None:
    """The record corrects what bridges say: little is lost against always taking the best."""
    bridges = [
        Synthetic("boaster", 200, 900, says_s=30),
        Synthetic("steady", 300, 60),
        Synthetic("flaky", 100, 60, fails=0.3),
        Synthetic("dear", 900, 20),
    ]
    oracle = min(each.expected for each in bridges)
    regrets = []
    for seed in range(20):
        chance, now = random.Random(seed), int(NOW)
        history: dict[str, list[Transfer]] = {each.name: [] for each in bridges}
        for number in range(200):
            tracks = {name: track(rows, Millis(now)) for name, rows in history.items()}
            state = State(now=Millis(now), tracks=tracks)
            chosen = choose([each.offer() for each in bridges], [], TERMS, state)
            assert isinstance(chosen, Chosen)
            taken = next(each for each in bridges if each.name == chosen.quote.bridge)
            seconds, failed = taken.run(chance)
            now += int(seconds * 1_000) + 60_000
            history[taken.name].append(past(taken.name, number, now, seconds, failed))
            regrets.append(taken.expected - oracle)
    mean = sum(regrets) / len(regrets)
    sys.stdout.write(f"mean regret {mean:.1f} ppm of the amount; the oracle pays {oracle:.1f}\n")
    assert 0 <= mean < 0.25 * oracle


@pytest.mark.parametrize("by", BridgeBy)
def test_a_bridge_that_starts_failing_is_cut_off(by: BridgeBy) -> None:
    """Within CUT_AFTER tries it gets nothing more; later it gets one at a time."""
    failing = Synthetic("failing", 10, 10, trust=Trust.CANONICAL)
    other = Synthetic("other", 3_000, 600)
    rows = [past("failing", n, NOW - HOUR_MS + n, 10, failed=False) for n in range(20)]
    taken = []
    for number in range(10):
        state = State(now=NOW, tracks={"failing": track(rows, NOW)})
        chosen = choose([failing.offer(), other.offer()], [], replace(TERMS, by=by), state)
        assert isinstance(chosen, Chosen)
        taken.append(chosen.quote.bridge)
        if chosen.quote.bridge == "failing":
            rows.append(past("failing", 100 + number, NOW, 0, failed=True))
    assert taken.count("failing") <= CUT_AFTER
    assert taken[-1] == "other"
    later = Millis(NOW + COOL_MS)
    probing = track(rows, later)
    first = choose([failing.offer()], [], TERMS, State(now=later, tracks={"failing": probing}))
    assert isinstance(first, Chosen)
    busy = replace(probing, under_way=1)
    second = choose([failing.offer()], [], TERMS, State(now=later, tracks={"failing": busy}))
    assert isinstance(second, NoBridge)
    assert "probation" in second.choice.alternatives[0].verdict


def test_exposure_caps_are_never_crossed() -> None:
    chance = random.Random(3)
    bridges = [Synthetic("cheap", 10, 10), Synthetic("dear", 500, 10)]
    caps = {"cheap": 3 * UNITS + 5, "dear": 2 * UNITS}
    held = {"cheap": 0, "dear": 0}
    refused = 0
    for _ in range(200):
        exposure = {(name, USDC): units for name, units in held.items()}
        offers = [each.offer({USDC: caps[each.name]}) for each in bridges]
        chosen = choose(offers, [], TERMS, State(now=NOW, exposure=exposure))
        if isinstance(chosen, Chosen):
            held[chosen.quote.bridge] += UNITS
        else:
            refused += 1
            assert all("cap" in each.verdict for each in chosen.choice.alternatives)
        assert all(held[name] <= cap for name, cap in caps.items())
        for name in held:
            if held[name] and chance.random() < 0.3:
                held[name] -= UNITS
    assert refused


def test_the_choice_names_every_way_and_why_it_was_not_taken() -> None:
    offers = [
        Synthetic("best", 100, 60).offer(),
        Synthetic("worse", 200, 120).offer(),
        Synthetic("safe", 400, 300, trust=Trust.CANONICAL).offer(),
        Synthetic("forbidden", 1, 1).offer(),
        Synthetic("slow", 1, 40 * 3_600).offer(),
    ]
    names = frozenset({"best", "worse", "safe", "slow", "mute"})
    terms = replace(TERMS, allowed=names, most_ms=24 * HOUR_MS)
    refusals = [NoQuote(bridge="mute", reason="liquidity")]
    verdicts = {}
    for by in BridgeBy:
        chosen = choose(offers, refusals, replace(terms, by=by), State(now=NOW))
        assert isinstance(chosen, Chosen)
        assert chosen.choice.alternatives[0].verdict == "taken"
        assert len(chosen.choice.alternatives) == 6
        verdicts = {each.bridge: each.verdict for each in chosen.choice.alternatives}
        assert chosen.quote.bridge == ("safe" if by is BridgeBy.SAFEST else "best")
    assert verdicts["worse"] == "another one is better in everything"
    assert verdicts["forbidden"] == "is not allowed"
    assert verdicts["slow"].startswith("takes too long")
    assert verdicts["mute"] == "no offer: liquidity"


def test_only_what_time_may_cure_is_waited_for() -> None:
    unable = NoQuote(bridge="other", reason=NO_PAIR)
    mute = NoQuote(bridge="mute", reason="paused")
    dear = Synthetic("dear", 30_000, 10).offer()
    mine = replace(TERMS, allowed=frozenset({"mine", "other"}))
    cases = [
        ([], [unable], TERMS, False),
        ([], [unable, mute], TERMS, True),
        ([], [unable, mute], mine, False),
        ([dear], [unable], TERMS, True),
        ([dear], [unable], mine, False),
    ]
    for offers, refusals, terms, passing in cases:
        found = choose(offers, refusals, terms, State(now=NOW))
        assert isinstance(found, NoBridge)
        assert found.passing is passing


def test_what_costs_too_much_is_not_taken() -> None:
    offer = Synthetic("greedy", 30_000, 10).offer()
    chosen = choose([offer], [], TERMS, State(now=NOW))
    assert isinstance(chosen, NoBridge)
    assert "too much" in chosen.choice.alternatives[0].verdict


def test_a_late_one_speaks_against_a_bridge_before_it_has_ended() -> None:
    late = replace(
        past("late", 1, NOW, 0, failed=False),
        status=TransferStatus.IN_FLIGHT,
        departed_at=Millis(NOW - HOUR_MS),
        arrived_at=None,
        p95_ms=60_000,
        departure=PROOF,
    )
    assert track([late], NOW).failed == 1
    assert track([late], NOW).under_way == 1
    assert track([replace(late, p95_ms=HOUR_MS)], NOW).failed == 0
