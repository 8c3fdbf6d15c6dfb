"""Parameters and state: what fits is read back equal, what does not names its field."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.intent.intent import Constraints, Intent, IntentType, Limit, Schedule, Style
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import MAX_UINT256, Asset, Ppm
from sep_ray.strategy.plain import Misfit, build, dump, param, parameters
from tests.fixtures.strategies import CHAIN, TOKENS, USDC, WETH


class Mood(StrEnum):
    CALM = "calm"
    WILD = "wild"


@dataclass(kw_only=True)
class Everything:
    flag: bool = False
    count: int = 0
    ratio: float = 0.5
    name: str = ""
    size: Decimal = Decimal(1)
    asset: Asset = WETH
    mood: Mood = Mood.CALM
    maybe: int | None = None
    window: deque[int] = field(default_factory=deque)
    pair: tuple[int, str] = (1, "a")
    many: tuple[Asset, ...] = ()
    by_asset: dict[Asset, int] = field(default_factory=dict)
    by_block: dict[int, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    ids: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Bounded:
    needed: Asset
    blocks: int = param(10, low=1, high=100, doc="how many blocks")
    share: Decimal = param(Decimal("0.5"), low=Decimal(0), high=Decimal(1))


units = st.integers(min_value=-MAX_UINT256, max_value=MAX_UINT256)


@given(
    st.builds(
        Everything,
        flag=st.booleans(),
        count=units,
        ratio=st.floats(allow_nan=False, allow_infinity=False),
        name=st.text(),
        size=st.decimals(allow_nan=False, allow_infinity=False),
        asset=st.sampled_from([WETH, USDC]),
        mood=st.sampled_from(Mood),
        maybe=st.none() | units,
        window=st.lists(units).map(deque),
        many=st.lists(st.sampled_from([WETH, USDC])).map(tuple),
        by_asset=st.dictionaries(st.sampled_from([WETH, USDC]), units),
        by_block=st.dictionaries(units, st.text()),
        names=st.frozensets(st.text()),
        ids=st.lists(st.uuids()),
    )
)
def test_what_is_kept_is_read_back_equal(value: Everything) -> None:
    assert build(Everything, json.loads(json.dumps(dump(value)))) == value


def test_an_intent_survives_as_it_was_decided() -> None:
    intent = Intent(
        id=UUID(int=7),
        strategy_id="s",
        type=IntentType.ACQUIRE,
        chain_id=CHAIN,
        sell=USDC,
        buy=WETH,
        amount=MAX_UINT256,
        constraints=Constraints(
            limit=Limit(numerator=1, denominator=3),
            venues=frozenset({"v3", "v2"}),
            style=Style.TWAP,
            urgency=Ppm(1),
            schedule=Schedule(slices=4),
        ),
        note="because",
        created_at=Millis(5),
    )
    assert build(Intent, json.loads(json.dumps(dump(intent)))) == intent


@pytest.mark.parametrize("written", ["0.1", 0.1, 1, 1e-3])
def test_a_decimal_is_the_digits_that_were_written(written: object) -> None:
    share = build(Bounded, json.loads(json.dumps({"needed": str(WETH), "share": written}))).share
    assert share == Decimal(str(written))


def test_assets_may_be_named_by_chain_and_symbol() -> None:
    assert build(Bounded, {"needed": "1/USDC"}, "params", TOKENS.asset).needed == USDC


@pytest.mark.parametrize(
    ("values", "field_", "allowed"),
    [
        ({}, "params.needed", "Asset"),
        ({"needed": "1/USDC", "other": 1}, "params.other", "needed, blocks, share"),
        ({"needed": "1/NOPE"}, "params.needed", "Asset as text"),
        ({"needed": 7}, "params.needed", "Asset as text"),
        ({"needed": "1/USDC", "blocks": 0}, "params.blocks", "1..100"),
        ({"needed": "1/USDC", "blocks": 101}, "params.blocks", "1..100"),
        ({"needed": "1/USDC", "blocks": True}, "params.blocks", "int"),
        ({"needed": "1/USDC", "blocks": "10"}, "params.blocks", "int"),
        ({"needed": "1/USDC", "share": "1.1"}, "params.share", "0..1"),
        ({"needed": "1/USDC", "share": float("inf")}, "params.share", "Decimal as text"),
        ({"needed": "1/USDC", "share": "NaN"}, "params.share", "Decimal as text"),
        ([], "params", "an object"),
    ],
)
def test_a_misfit_names_the_field_and_what_is_allowed(
    values: object, field_: str, allowed: str
) -> None:
    with pytest.raises(Misfit) as caught:
        build(Bounded, values, "params", TOKENS.asset)
    assert caught.value.facts["field"] == field_
    assert allowed in caught.value.facts["allowed"]


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf"), {"a": {1, object()}}])
def test_what_cannot_be_kept_is_refused(value: object) -> None:
    with pytest.raises(Misfit):
        dump(value)


def test_parameters_are_described_for_their_user() -> None:
    needed, blocks, _ = parameters(Bounded)
    assert (needed.name, needed.type, needed.default) == ("needed", "Asset", None)
    assert (blocks.default, blocks.low, blocks.high, blocks.doc) == (
        "10",
        1,
        100,
        "how many blocks",
    )
