"""What is about to be signed is read from its bytes, whoever wrote them (P9)."""

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.adapters.evm.reading import EvmReader
from sep_ray.execution.ports import Call
from sep_ray.intent.intent import Side
from sep_ray.kernel.units import Asset
from sep_ray.policy.request import CallFacts, Movement
from tests.unit.test_execution_encoding import V2, V3, V4, hop, plan, split

TARGET = "0x" + "5a" * 20
MAINNET, L2 = BOOKS[ETHEREUM], BOOKS[ARBITRUM]
SELL, BUY = Side.SELL, Side.BUY


def plans():
    v3 = lambda book: hop(book, V3, "weth", "usdc", 500)  # noqa: E731 - short here
    v2 = lambda book: hop(book, V2, "weth", "usdc")  # noqa: E731
    v4 = lambda book: hop(book, V4, "weth", "usdc", 500)  # noqa: E731
    for book in (MAINNET, L2):
        for side in (SELL, BUY):
            yield book, plan(book, side, v3(book))
            yield book, plan(book, side, v2(book))
            yield book, plan(book, side, v4(book))
        yield book, split(book, SELL, [v3(book)], [v4(book)])
    yield MAINNET, split(MAINNET, SELL, [v3(MAINNET)], [v2(MAINNET)])
    first = hop(MAINNET, V2, "dai", "weth", amounts=(3_000, 1_000))
    yield MAINNET, plan(MAINNET, SELL, first, v3(MAINNET))


@pytest.mark.parametrize(("book", "made"), list(plans()))
def test_p9_the_recipient_of_every_plan_is_read(book, made):
    call = SwapEncoder(book).swap(made, TARGET)
    facts = EvmReader(book.chain_id).read(call)
    assert facts.recipients == frozenset({TARGET})
    assert facts.selector == call.data[:10]
    assert facts.approves is None


@pytest.mark.parametrize("book", [MAINNET, L2])
def test_p9_approvals_are_read_as_they_are(book):
    encoder, reader = SwapEncoder(book), EvmReader(book.chain_id)
    for router in (book.swap_router02, book.v2_router, book.universal_router):
        for taker in encoder.takers(router):
            facts = reader.read(encoder.approval(book.usdc, taker, 2**100))
            asset = Asset(book.chain_id, book.usdc)
            assert facts.approves == Movement(asset=asset, units=2**100)
            assert len(facts.spenders) == 1
            assert facts.recipients == frozenset()
    moved = reader.read(encoder.transfer(book.usdc, TARGET, 5))
    assert moved.recipients == frozenset({TARGET})


def test_p9_what_is_not_known_is_not_readable():
    reader = EvmReader(ETHEREUM)
    swap = SwapEncoder(L2).swap(plan(L2, SELL, hop(L2, V4, "weth", "usdc", 500)), TARGET).data
    assert reader.read(Call(to=TARGET, data="0xdeadbeef00")) == CallFacts(selector="0xdeadbeef")
    assert reader.read(Call(to=TARGET, data=swap[:-200])).recipients is None
    assert reader.read(Call(to=TARGET, data="0x095ea7b3")).recipients is None
    assert reader.read(Call(to=TARGET)) == CallFacts(recipients=frozenset({TARGET}))
