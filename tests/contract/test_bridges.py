"""The port Bridge: one suite for the bridge in memory and for the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from sep_ray.adapters.memory.bridge import Family
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import Asset
from sep_ray.settlement.ports import (
    Arrived,
    Claimable,
    NoQuote,
    OnTheWay,
    RedeemNeeded,
    Sighting,
)
from sep_ray.settlement.transfer import Transfer
from tests.fixtures.bridging import FAR, Crossing, MemoryCrossing
from tests.fixtures.real_bridging import World

UNITS = 1_000_000_000
PATIENCE = 60
PLACES: dict[str, Callable[[], Crossing]] = {
    f"memory-{family}": (lambda family=family: MemoryCrossing(family).crossing())
    for family in Family
}
REAL = ("across", "across-back", "hyperlane", "hyperlane-synthetic", "arbitrum", "cctp")


@pytest.fixture(params=[*PLACES, *REAL])
def place(request: pytest.FixtureRequest) -> Crossing:
    if request.param in PLACES:
        return PLACES[request.param]()
    bridged: World = request.getfixturevalue("bridged")
    return bridged.crossing(request.param)


async def look(place: Crossing, transfer: Transfer) -> Sighting:
    """Return what the bridge sees, as the settlement does: what is Transient is asked again."""
    for _ in range(PATIENCE):
        try:
            return await place.bridge.observe(transfer)
        except Transient:
            await asyncio.sleep(0)
    raise AssertionError("the chains can never be read whole")


async def bring_in(place: Crossing, transfer: Transfer) -> Arrived:
    """Let time pass, claim when told to, and return the arrival."""
    for _ in range(PATIENCE):
        seen = await look(place, transfer)
        if isinstance(seen, Arrived):
            return seen
        assert isinstance(seen, OnTheWay | Claimable | RedeemNeeded), seen
        if isinstance(seen, OnTheWay):
            place.mine()
        else:
            await claim(place, transfer, seen)
    raise AssertionError("it never arrived")


async def claim(place: Crossing, transfer: Transfer, seen: Sighting) -> None:
    assert isinstance(seen, Claimable | RedeemNeeded)
    found = await place.bridge.claim(replace(transfer, reference=seen.reference))
    assert found.chain_id == transfer.target.chain_id
    place.send(found.chain_id, found.call, found.gas_limit)


async def test_a_quote_keeps_its_own_word(place: Crossing) -> None:
    quote = await place.quote(UNITS)
    assert (quote.bridge, quote.units_in) == (place.bridge.traits.name, UNITS)
    assert (quote.source, quote.target) == (place.source, place.target)
    assert 0 < quote.least_out <= quote.units_out <= UNITS
    assert 0 < quote.p50_ms <= quote.p95_ms
    assert quote.good_until > place.now()
    assert (quote.expires_at is not None) == place.bridge.traits.expires


async def test_what_is_not_carried_is_an_answer(place: Crossing) -> None:
    place.target = Asset(FAR, "0x" + "99" * 20)
    answer = await place.bridge.quote(place.want(UNITS))
    assert isinstance(answer, NoQuote)
    assert answer.reason == "pair"


async def test_the_departure_takes_what_it_says_and_no_more(place: Crossing) -> None:
    before = place.units(place.source)
    transfer = await place.depart(UNITS)
    assert before - place.units(place.source) == UNITS
    assert not isinstance(await look(place, transfer), Arrived)


async def test_the_arrival_is_what_the_account_got(place: Crossing) -> None:
    transfer = await place.depart(UNITS)
    before = place.units(place.target)
    seen = await bring_in(place, transfer)
    assert place.units(place.target) - before == seen.units
    assert seen.asset == transfer.target
    assert seen.units >= transfer.least_out
    assert seen.proof.chain_id == place.target.chain_id
    assert await look(place, transfer) == seen, "it goes on saying so"


async def test_a_quote_that_is_too_old_is_refused(place: Crossing) -> None:
    quote = await place.quote(UNITS)
    late = replace(place.want(UNITS), now=Millis(quote.good_until + 1))
    with pytest.raises(Rejected):
        await place.bridge.depart(quote, late)


async def test_a_second_claim_changes_nothing(place: Crossing) -> None:
    transfer = await place.depart(UNITS)
    seen = await look(place, transfer)
    while isinstance(seen, OnTheWay):
        place.mine()
        seen = await look(place, transfer)
    if isinstance(seen, Arrived):
        return
    await claim(place, transfer, seen)
    arrived = await look(place, transfer)
    units = place.units(place.target)
    await claim(place, transfer, seen)
    assert place.units(place.target) == units
    assert await look(place, transfer) == arrived
