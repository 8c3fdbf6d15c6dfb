"""How answers of the chain become pools: words, ticks, windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.adapters.evm.abi import padded, word
from sep_ray.adapters.evm.followed import Followed
from sep_ray.adapters.evm.multicall import aggregate, results
from sep_ray.adapters.evm.pool_logs import (
    BURN,
    MINT,
    SYNC,
    V3_START,
    V3_SWAP,
    V4_FEE,
    V4_MODIFY,
    V4_START,
    V4_SWAP,
    Change,
    FeeSet,
    PoolLog,
    Priced,
    Reserves,
    parse_log,
    signed,
)
from sep_ray.adapters.evm.pool_reads import PoolKey, Slot, built, parse_lens, parse_state
from sep_ray.adapters.evm.tick_book import TickBook, window
from sep_ray.kernel.errors import Transient
from sep_ray.routing.pools.pool import Venue
from sep_ray.routing.pools.ticks import word_of
from sep_ray.routing.pools.v3_math import MAX_TICK, MIN_TICK

POOL = "0x" + "3" * 40
KEY = PoolKey(
    address=POOL,
    venue=Venue.UNISWAP_V3,
    token0="0x" + "a" * 40,
    token1="0x" + "b" * 40,
    fee_ppm=500,
    tick_spacing=10,
)


def answered(*parts: bytes | None) -> str:
    """Encode what aggregate3 returns."""
    tails = [word(part is not None) + word(64) + padded(part or b"") for part in parts]
    places = [len(parts) * 32 + sum(map(len, tails[:n])) for n in range(len(parts))]
    body = b"".join(map(word, places)) + b"".join(tails)
    return "0x" + (word(32) + word(len(parts)) + body).hex()


@given(st.lists(st.none() | st.binary(max_size=100), max_size=6))
def test_results_come_in_order_and_failures_are_none(parts):
    assert results(answered(*parts), len(parts)) == parts


@pytest.mark.parametrize("answer", ["0x", "0x00", answered(b"1"), answered(b"1", b"2", b"3")])
def test_an_answer_of_another_shape_is_no_answer(answer):
    with pytest.raises(Transient):
        results(answer, 2)


def test_reads_are_packed_as_aggregate3_wants_them():
    call = aggregate([(POOL, b"\x01\x02\x03\x04")])
    assert call["to"].startswith("0xca11bde0")
    assert call["data"].startswith("0x82ad56cb")
    assert (len(call["data"]) - 10) // 64 == 2 + 1 + 5


def test_negative_numbers_are_read():
    assert signed(2**256 - 1) == -1
    slot = parse_state(KEY, [word(79) + word(2**256 - 5) + word(0), word(7)])
    assert slot == Slot(79, -5, 7)
    ticks = word(32) + word(1) + word(2**256 - 60) + word(2**256 - 9) + word(9)
    assert parse_lens(ticks) == [(-60, -9, 9)]


def test_a_pool_that_was_never_initialised_is_none():
    assert parse_state(KEY, [word(0) * 7, word(0)]) is None
    assert parse_state(KEY, [None, word(0)]) is None
    assert parse_state(KEY, [b"", b""]) is None
    assert built(KEY, None, None) is None
    assert built(KEY, Slot(1, 2, 3), None) is None


def topic(value: int) -> str:
    return f"0x{value % 2**256:064x}"


def logged(name: str, *data: int, topics: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "address": POOL.upper().replace("X", "x"),
        "topics": [name, *topics],
        "data": "0x" + b"".join(word(value % 2**256) for value in data).hex(),
        "blockNumber": "0x10",
        "blockHash": "0x" + "AB" * 32,
        "logIndex": "0x2",
    }


OWNER_AND_TICKS = (topic(1), topic(-20), topic(30))
NAME = "0x" + "5a" * 32


@pytest.mark.parametrize(
    ("raw", "pool", "what"),
    [
        (logged(MINT, 5, 7, 1, 1, topics=OWNER_AND_TICKS), POOL, Change(-20, 30, 7)),
        (logged(BURN, 7, 1, 1, topics=OWNER_AND_TICKS), POOL, Change(-20, 30, -7)),
        (logged(SYNC, 3, 4), POOL, Reserves(3, 4)),
        (logged(V3_SWAP, 9, -8, 79, 6, -5, topics=(topic(1),) * 2), POOL, Priced(79, -5, 6)),
        (logged(V3_START, 79, -5), POOL, Priced(79, -5, None)),
        (logged(V4_SWAP, -9, 8, 79, 6, -5, 500, topics=(NAME,)), NAME, Priced(79, -5, 6)),
        (logged(V4_START, 500, 10, 0, 79, -5, topics=(NAME,)), NAME, Priced(79, -5, None)),
        (logged(V4_MODIFY, -20, 30, -7, 0, topics=(NAME,)), NAME, Change(-20, 30, -7)),
        (logged(V4_FEE, 100, topics=(NAME,)), NAME, FeeSet(100)),
    ],
)
def test_logs_say_what_their_events_mean(raw, pool, what):
    assert parse_log(raw) == PoolLog(pool, 16, "0x" + "ab" * 32, 2, what)


@pytest.mark.parametrize(
    "raw", [{}, {"topics": [MINT], "data": "0x"}, logged(SYNC, 1), logged(MINT, 5, 7, 1, 1)]
)
def test_a_log_without_sense_is_no_log(raw):
    with pytest.raises(Transient):
        parse_log(raw)


def test_a_followed_pool_moves_its_liquidity_only_in_range():
    followed = Followed(KEY, state=Slot(79, 0, 100))
    place = (16, "0x" + "ab" * 32)
    for index, (change, liquidity) in enumerate(
        [(Change(-10, 10, 5), 105), (Change(10, 20, 7), 105), (Change(-10, 10, -5), 100)]
    ):
        assert followed.take(PoolLog(POOL, *place, index, change)) == ""
        assert followed.state == Slot(79, 0, liquidity)
    assert "protocol fee" in followed.take(PoolLog(POOL, *place, 9, FeeSet(100)))
    assert len(followed.applied) == 4


POSITIONS = st.lists(
    st.tuples(
        st.integers(-900, 900), st.integers(-900, 900), st.integers(1, 10**20), st.booleans()
    ).filter(lambda each: each[0] < each[1]),
    max_size=12,
)


def ticks_of(positions):
    net: dict[int, tuple[int, int]] = {}
    for lower, upper, liquidity in positions:
        for tick, change in ((lower, liquidity), (upper, -liquidity)):
            old = net.get(tick, (0, 0))
            net[tick] = (old[0] + change, old[1] + liquidity)
    return [(tick, *net[tick]) for tick in sorted(net)]


def liquidity_at(positions, tick):
    return sum(each for lower, upper, each in positions if lower <= tick < upper)


@given(POSITIONS, st.integers(-800, 800))
def test_a_book_that_follows_knows_what_a_new_one_reads(drawn, tick):
    """Positions minted and, some of them, burnt again; the window is words -1..1."""
    known, spacing = (-1, 1), 1
    kept = [each[:3] for each in drawn[: len(drawn) // 2]]
    inside = [t for t in ticks_of(kept) if -1 <= word_of(t[0], spacing) <= 1]
    tick = max(-256, min(tick, 511))
    book = TickBook(spacing, known, inside, tick, liquidity_at(kept, tick))
    changes = []
    for lower, upper, liquidity, burnt in drawn[len(drawn) // 2 :]:
        changes.append(Change(lower, upper, liquidity))
        if burnt:
            changes.append(Change(lower, upper, -liquidity))
        else:
            kept.append((lower, upper, liquidity))
    book.apply(changes)
    expected = tuple(
        (place, net) for place, net, _ in ticks_of(kept) if -1 <= word_of(place, spacing) <= 1
    )
    assert book.tick_map.ticks == expected
    for place in range(-256, 512, 31):
        assert book.agrees(place, liquidity_at(kept, place))
        assert not book.agrees(place, liquidity_at(kept, place) + 1)


@given(st.integers(MIN_TICK, MAX_TICK - 1), st.sampled_from([1, 10, 60, 200]))
def test_a_window_surrounds_its_price_and_stays_in_range(tick, spacing):
    low, high = window(tick, spacing, 20_000)
    centre = word_of(tick, spacing)
    assert low <= centre <= high
    assert low == max(word_of(MIN_TICK, spacing), low)
    assert high == min(word_of(MAX_TICK, spacing), high)
    assert low * 256 * spacing <= max(tick - 20_000, MIN_TICK)
    assert (high + 1) * 256 * spacing > min(tick + 20_000, MAX_TICK)
    assert TickBook(spacing, (low, high), [], tick, 0).surrounds(tick, 20_000)
