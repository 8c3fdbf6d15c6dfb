"""Laws that hold for every amount a uint256 can carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.kernel.clock import ManualClock, Millis
from sep_ray.kernel.errors import InvariantBroken, Rejected
from sep_ray.kernel.ids import SeededIds, SystemIds, derived_id, uuid7
from sep_ray.kernel.units import NATIVE, Amount, Asset, ChainId, Rounding, Token

USDC = Asset(ChainId(1), "0x" + "a0" * 20)
UINT256 = st.integers(0, 2**256 - 1)
DECIMALS = st.integers(0, 24)


@given(UINT256, st.integers(0, 10_000))
def test_rounding_brackets_the_exact_product(units: int, bps: int) -> None:
    amount = Amount(USDC, units)
    down = amount.scaled(bps, 10_000, Rounding.DOWN).units
    up = amount.scaled(bps, 10_000, Rounding.UP).units
    assert down * 10_000 <= units * bps <= up * 10_000
    assert up - down in (0, 1)


@given(UINT256, DECIMALS)
def test_text_and_units_are_inverse_beyond_decimals_default_28_digits(
    units: int, decimals: int
) -> None:
    token = Token(USDC, "X", decimals)
    assert token.parse(token.format(units)) == Amount(USDC, units)


@given(st.integers(0, 10**6), DECIMALS)
def test_one_digit_too_many_is_an_error_not_a_rounding(units: int, decimals: int) -> None:
    text = f"{units}.{'0' * decimals}1"
    with pytest.raises(Rejected, match="too many decimals"):
        Token(USDC, "X", decimals).parse(text)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "1e99", "1_0e5000"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        Token(USDC, "X", 6).parse(text)


@given(UINT256, UINT256)
def test_amounts_never_go_below_zero_or_beyond_uint256(left: int, right: int) -> None:
    if left < right:
        with pytest.raises(Rejected):
            Amount(USDC, left) - Amount(USDC, right)
    else:
        assert (Amount(USDC, left) - Amount(USDC, right)) + Amount(USDC, right) == Amount(
            USDC, left
        )


def test_mixed_assets_are_our_own_bug() -> None:
    other = Asset(ChainId(42161), USDC.address)
    with pytest.raises(InvariantBroken):
        Amount(USDC, 1) + Amount(other, 1)


@given(st.integers(1, 2**63), st.binary(min_size=20, max_size=20))
def test_caip19_text_is_read_back(chain_id: int, address: bytes) -> None:
    for asset in (
        Asset(ChainId(chain_id), "0x" + address.hex()),
        Asset(ChainId(chain_id), NATIVE),
    ):
        assert Asset.parse(str(asset)) == asset


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_uuid7_carries_its_instant_version_and_variant(millis: int, chance: int) -> None:
    made = uuid7(millis, chance)
    assert (made.int >> 80, made.version) == (millis, 7)
    assert made.variant == "specified in RFC 4122"


def test_ids_rise_within_one_millisecond_and_after_a_clock_went_back() -> None:
    clock = ManualClock(Millis(1_700_000_000_000))
    ids = SystemIds(clock)
    made = [ids.next() for _ in range(500)]
    clock.advance(-5_000)
    made += [ids.next() for _ in range(500)]
    assert made == sorted(set(made))


def test_p13_a_seed_determines_ids_and_parts_determine_derived_ids() -> None:
    clock = ManualClock(Millis(1))
    first, second = (SeededIds(clock, 5) for _ in range(2))
    assert [first.next() for _ in range(9)] == [second.next() for _ in range(9)]
    assert derived_id("a", 1) == derived_id("a", 1) != derived_id("a", 2)
