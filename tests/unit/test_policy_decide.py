"""One total function says what may be signed, and why not (P9)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sep_ray.execution.attempt import Purpose
from sep_ray.kernel.clock import Millis
from sep_ray.policy.codes import Denial
from sep_ray.policy.decide import FRESH_MS, Allowed, Denied, decide
from sep_ray.policy.limits import ALLOWED, InvalidLimit, Kind, Listed, Measure
from sep_ray.policy.marks import DAY_MS, mark, marked
from sep_ray.policy.request import Movement
from sep_ray.policy.usage import Marks, Slot, Usage
from tests.fixtures.policy import HOUR, ROUTER, a_limit, a_request
from tests.fixtures.records import ACCOUNT, CHAIN, NOW, USDC, WETH

STRANGER = "0x" + "66" * 20


def denied(request, limit, usage=None):
    said = decide(request, [limit], usage or Usage())
    assert isinstance(said, Denied), said
    return said


def allowed(request, limit, usage=None):
    said = decide(request, [limit], usage or Usage())
    assert isinstance(said, Allowed), said
    return said.reservations


def test_value_is_rounded_up_and_exactly_the_limit_is_allowed():
    request = a_request(units=50, prices={WETH: (199, 100), USDC: (1, 1)})
    assert allowed(request, a_limit(amount=100)) == ()
    said = denied(request, a_limit(amount=99))
    assert (said.code, said.value) == (Denial.TRANSACTION_LIMIT, 100)
    assert str(said) == "transaction_limit by one: 100 value, at most 99"


@pytest.mark.parametrize("kind", [Kind.TRANSACTION, Kind.WINDOW, Kind.TOTAL, Kind.POSITION])
def test_without_a_price_value_is_never_zero(kind):
    request = a_request(units=0, buy=WETH, sell=USDC, prices={})
    said = denied(request, a_limit(kind, 10**30))
    assert said.code is Denial.NO_PRICE


def test_a_window_counts_slots_until_all_of_them_have_left():
    limit = a_limit(Kind.WINDOW, 100)
    old = NOW - HOUR - limit.slot_ms
    usage = Usage(slots={"one": (Slot(start=old, amount=90), Slot(start=old + 1, amount=60))})
    (share,) = allowed(a_request(units=20), limit, usage)
    assert (share.amount, share.bound, share.since) == (40, 100, old + 1)
    assert share.slot <= NOW < share.slot + limit.slot_ms
    said = denied(a_request(units=21), limit, usage)
    assert (said.code, said.value) == (Denial.WINDOW_LIMIT, 102)
    assert said.free_at == old + 1 + HOUR + limit.slot_ms
    assert allowed(a_request(units=21, at=said.free_at), limit, usage)
    assert denied(a_request(units=51), limit, usage).free_at is None


def test_units_count_what_is_sold_or_bought_of_the_asset():
    limit = a_limit(amount=10, measure=Measure.UNITS, asset=WETH)
    assert allowed(a_request(units=10), limit) == ()
    assert denied(a_request(units=11), limit).value == 11
    assert denied(a_request(units=6, sell=USDC, buy=WETH), limit).value == 12
    assert allowed(a_request(units=99, sell=USDC, buy=USDC), limit) == ()


def test_a_position_counts_what_is_held_and_what_is_coming():
    limit = a_limit(Kind.POSITION, 30, measure=Measure.UNITS, asset=WETH, strategy_id="momentum")
    request = a_request(units=5, sell=USDC, buy=WETH)
    held = {("momentum", WETH): 12, ("other", WETH): 99}
    (share,) = allowed(request, limit, Usage(held=held))
    assert (share.amount, share.bound) == (10, 18)
    coming = Usage(held=held, slots={"one": (Slot(start=0, amount=9),)})
    said = denied(request, limit, coming)
    assert (said.code, said.value, said.free_at) == (Denial.POSITION_LIMIT, 31, NOW)
    assert denied(request, limit, Usage(held={("momentum", WETH): 21})).free_at is None
    assert allowed(a_request(units=50), limit, coming) == ()


LISTS = {
    Listed.CONTRACTS: (ROUTER, Denial.CONTRACT_NOT_LISTED),
    Listed.SELECTORS: ("0xaabbccdd", Denial.SELECTOR_NOT_LISTED),
    Listed.RECIPIENTS: (STRANGER, Denial.RECIPIENT_NOT_LISTED),
    Listed.SPENDERS: (ROUTER, Denial.SPENDER_NOT_LISTED),
}


@pytest.mark.parametrize("listed", LISTS)
def test_what_is_not_on_a_list_is_not_allowed(listed):
    member, code = LISTS[listed]
    request = a_request(recipients=frozenset({ACCOUNT, STRANGER}), spenders=frozenset({ROUTER}))
    fields = {"measure": Measure.MEMBERS, "listed": listed}
    assert allowed(request, a_limit(Kind.LIST, 0, members=frozenset({member}), **fields)) == ()
    empty = a_limit(Kind.LIST, 0, **fields)
    said = denied(request, empty)
    assert (said.code, said.detail) == (code, member)
    cancel = replace(request, cancels=True, harmless=True)
    assert allowed(cancel, empty) == ()


def test_a_list_of_assets_holds_for_both_sides_and_for_approvals():
    limit = a_limit(
        Kind.LIST,
        0,
        measure=Measure.MEMBERS,
        listed=Listed.ASSETS,
        members=frozenset({str(WETH)}),
    )
    assert denied(a_request(), limit).code is Denial.ASSET_NOT_LISTED
    approval = a_request(purpose=Purpose.APPROVAL, sells=None, buys=None)
    assert denied(approval, limit).code is Denial.UNREADABLE_CALL
    known = replace(approval, approves=Movement(asset=WETH, units=2**256 - 1))
    assert allowed(known, limit) == ()


def test_what_cannot_be_read_is_not_on_a_list():
    limit = a_limit(Kind.LIST, 0, measure=Measure.MEMBERS, listed=Listed.RECIPIENTS)
    assert denied(a_request(recipients=None), limit).code is Denial.UNREADABLE_CALL
    assert allowed(a_request(recipients=frozenset({ACCOUNT})), limit) == ()


def test_a_cancel_is_never_stopped_but_must_be_one():
    cancel = a_request(cancels=True, harmless=True, sells=None, buys=None, gas_wei=500)
    for kind in (Kind.TRANSACTION, Kind.WINDOW, Kind.TOTAL):
        for share in allowed(cancel, a_limit(kind, 0, measure=Measure.GAS)):
            assert (share.amount, share.bound) == (500, None)
    assert denied(replace(cancel, harmless=False), a_limit()).code is Denial.NOT_A_CANCEL


def marks(**fields):
    made = {"profit": 0, "high_profit": 0, "day_profit": 0, "given": 1_000, "day": 0, "at": NOW}
    return Usage(marks={"momentum": Marks(strategy_id="momentum", **(made | fields))})


@pytest.mark.parametrize(
    ("kind", "measure", "amount", "fields", "code", "value"),
    [
        (Kind.DAILY_LOSS, Measure.VALUE, 50, {"profit": -20, "day_profit": 30}, "daily_loss", 50),
        (Kind.DRAWDOWN, Measure.VALUE, 80, {"profit": -20, "high_profit": 60}, "drawdown", 80),
        (Kind.DRAWDOWN, Measure.PPM, 40_000, {"profit": -40}, "drawdown", 40_000),
    ],
)
def test_losses_stop_all_but_what_reduces(kind, measure, amount, fields, code, value):
    limit = a_limit(kind, amount, measure=measure, strategy_id="momentum")
    buying = a_request(sell=USDC, buy=WETH)
    said = denied(buying, limit, marks(**fields))
    assert (said.code.value, said.value) == (code, value)
    assert allowed(a_request(), limit, marks(**fields)) == ()
    assert allowed(buying, replace(limit, amount=amount + 1), marks(**fields)) == ()
    assert denied(buying, limit).code is Denial.NO_MARK
    old = marks(at=Millis(NOW - FRESH_MS - 1))
    assert denied(buying, limit, old).code is Denial.NO_MARK


def test_of_several_denials_the_one_counts_that_waiting_does_not_help():
    window = a_limit(Kind.WINDOW, 25, id="a")
    usage = Usage(slots={"a": (Slot(start=NOW, amount=25),)})
    hard = a_limit(amount=5, id="b")
    said = decide(a_request(), [window, hard], usage)
    assert isinstance(said, Denied)
    assert said.limit == hard


@given(st.integers(0, 200), st.lists(st.integers(0, 60), max_size=8), st.sampled_from(Kind))
def test_it_is_total_and_never_lets_more_through_than_the_limit(units, taken, kind):
    fields = {"strategy_id": "momentum", "asset": WETH, "chain_id": CHAIN}
    if kind is Kind.LIST:
        fields["listed"] = Listed.ASSETS
    limit = a_limit(kind, 100, measure=ALLOWED[kind][0], **fields)
    slots = tuple(Slot(start=NOW - n, amount=amount) for n, amount in enumerate(taken))
    usage = replace(marks(), slots={"one": slots})
    said = decide(a_request(units=units, sell=USDC, buy=WETH), [limit], usage)
    if isinstance(said, Allowed):
        for share in said.reservations:
            assert sum(taken) + share.amount <= (share.bound or 0) <= 100


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "No"},
        {"amount": -1},
        {"window_ms": 60_000},
        {"kind": Kind.WINDOW, "window_ms": 1},
        {"measure": Measure.PPM},
        {"measure": Measure.UNITS},
        {"kind": Kind.DRAWDOWN},
        {"contract": "0xAB"},
        {"selector": "0x12"},
        {"members": frozenset({STRANGER})},
        {"kind": Kind.LIST, "measure": Measure.MEMBERS},
        {
            "kind": Kind.LIST,
            "measure": Measure.MEMBERS,
            "listed": Listed.ASSETS,
            "members": frozenset({STRANGER}),
        },
    ],
)
def test_nonsense_is_no_limit(fields):
    with pytest.raises(InvalidLimit) as caught:
        a_limit(**fields)
    assert caught.value.facts["allowed"]


def test_marks_see_results_and_not_deposits():
    prices = {WETH: (2, 1), USDC: (1, 1)}
    start: dict[str, Any] = {"strategy_id": "s", "chain_id": CHAIN, "at": NOW}
    first = mark(None, held={USDC: 100}, given={USDC: 100}, prices=prices, **start)
    assert (first.profit, first.given) == (0, 100)
    more = mark(first, held={USDC: 160}, given={USDC: 160}, prices=prices, **start)
    assert (more.profit, more.given) == (0, 160)
    bought = mark(more, held={USDC: 60, WETH: 50}, given={USDC: 160}, prices=prices, **start)
    assert bought.profit == 0
    fallen = {WETH: (1, 1), USDC: (1, 1)}
    lost = mark(bought, held={USDC: 60, WETH: 50}, given={USDC: 160}, prices=fallen, **start)
    assert (lost.profit, lost.given) == (-50, 160)
    taken = mark(lost, held={WETH: 50}, given={USDC: 100}, prices=fallen, **start)
    assert (taken.profit, taken.given) == (-50, 100)
    assert mark(first, held={WETH: 1}, given={}, prices={USDC: (1, 1)}, **start) is None
    assert first
    assert lost
    total = marked(None, [first], NOW)
    total = marked(total, [lost], NOW)
    assert (total.profit, total.high_profit, total.day_profit) == (-50, 0, 0)
    later = marked(total, [lost], Millis(NOW + DAY_MS))
    assert later.day_profit == -50
