"""Chain, Accounts, Calls and Signer: one suite for the chain in memory and for a real node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest

from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM
from sep_ray.adapters.evm.endpoints import Access
from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.adapters.evm.world import open_world
from sep_ray.adapters.memory.chain import MemoryChain
from sep_ray.adapters.memory.contracts import MemoryCalls, MemorySigner
from sep_ray.devnet.faults import Fault, FaultProxy, Rule
from sep_ray.engine.world import World
from sep_ray.execution import verdict
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import Call, Settled, Signer, Unsigned
from sep_ray.execution.verdict import Refusal
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import NATIVE, Asset, Token
from sep_ray.simulation.market import market
from tests.fixtures.chains import Pair

BOOK = BOOKS[ETHEREUM]
COIN, USDC = Asset(ETHEREUM, NATIVE), Asset(ETHEREUM, BOOK.usdc)
SPENDER = "0x" + "0e" * 20
GWEI = 10**9


@dataclass
class Place:
    """A chain that mines when told, with a funded signer."""

    world: World
    signer: Signer
    fund: Callable[[str, int], None]
    mine: Callable[[], object]
    reorganise: Callable[[int], object]

    async def sign(self, nonce: int, call: Call | None = None, fee: int = 100 * GWEI) -> Signed:
        tx = Unsigned(
            chain_id=ETHEREUM,
            nonce=nonce,
            call=call or Call(to=SPENDER),
            gas_limit=100_000,
            max_fee_wei=fee,
            tip_wei=fee // 10,
        )
        return (await self.signer.sign([tx]))[0]

    async def units(self, asset: Asset) -> int:
        head = await self.world.chain.head()
        state = await self.world.accounts.state(self.signer.address, [asset], head)
        return state.units[asset]


def _in_memory() -> Place:
    token = Token(USDC, "USDC", 6)
    chain = MemoryChain(ETHEREUM, market(), [token])
    signer = MemorySigner("0x" + "5a" * 20)
    chain.final_depth = 2
    world = World(chain=chain, accounts=chain, calls=MemoryCalls(), snapshots=chain, finality=chain)

    def fund(token: str, units: int) -> None:
        chain.fund(signer.address, token, units)
        chain.mine()

    fund(NATIVE, 10**20)
    return Place(world, signer, fund, chain.mine, chain.reorganise)


@asynccontextmanager
async def _on_a_node(pair: Pair, access: Access) -> AsyncIterator[Place]:
    signer = LocalSigner(b"\x44" * 32)
    symbols = {NATIVE: "ETH", BOOK.usdc: "USDC"}

    def fund(token: str, units: int) -> None:
        pair.fund(1, signer.address, **{symbols[token]: units})
        pair.mine(1)

    fund(NATIVE, 10**20)
    async with open_world(BOOK, access, block_seconds=1) as world:
        yield Place(
            world,
            signer,
            fund,
            lambda: pair.mine(1),
            lambda depth: pair.rpc(1)("anvil_reorg", depth, []),
        )


LIES: Final = (
    Rule(fault=Fault.LIE),
    Rule(
        fault=Fault.FORGE,
        methods=("eth_getTransactionReceipt",),
        result={"status": "0x0", "gasUsed": "0x1", "logs": []},
    ),
    Rule(fault=Fault.ANSWER, methods=("eth_getBalance",), result="0x7fffffffffffffff"),
    Rule(fault=Fault.ANSWER, methods=("eth_getTransactionCount",), result="0x63"),
    Rule(fault=Fault.ANSWER, methods=("eth_getLogs",), result=[]),
)
FAULTS: Final[dict[str, tuple[Rule, ...]]] = {
    "lying": LIES,
    "lagging": (Rule(fault=Fault.LAG, blocks=2),),
    "dead": (),
}
NOBODY: Final = "http://127.0.0.1:9"


@asynccontextmanager
async def _among_three(url: str, fault: str) -> AsyncIterator[Access]:
    """Two honest endpoints behind one that lies, lags or does not answer."""
    async with FaultProxy(url) as proxy:
        for rule in FAULTS[fault]:
            proxy.add(rule)
        first = NOBODY if fault == "dead" else proxy.http
        yield Access(urls=(first, url, url), needed=2)


@pytest.fixture(params=["memory", "anvil", *FAULTS])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "memory":
        yield _in_memory()
        return
    new_chains: Any = request.getfixturevalue("new_chains")
    pair = new_chains()
    url = pair.endpoints[ETHEREUM].http
    async with AsyncExitStack() as stack:
        access = Access.to(url)
        if request.param in FAULTS:
            access = await stack.enter_async_context(_among_three(url, request.param))
        yield await stack.enter_async_context(_on_a_node(pair, access))


async def accepted(place: Place, signed: Signed) -> bool:
    """Hand bytes over; of several endpoints, one may hear of them from another first."""
    (found,) = await place.world.chain.send([signed])
    return isinstance(found, verdict.Accepted)


async def test_an_account_is_read_as_of_one_block(place: Place) -> None:
    place.fund(BOOK.usdc, 77)
    before = await place.world.chain.head()
    await place.world.chain.send([await place.sign(0)])
    place.mine()
    old = await place.world.accounts.state(place.signer.address, [COIN, USDC], before)
    new = await place.world.accounts.state(
        place.signer.address, [COIN, USDC], await place.world.chain.head()
    )
    assert (old.nonce, new.nonce) == (0, 1)
    assert (old.units[USDC], new.units[USDC]) == (77, 77)
    assert new.units[COIN] < old.units[COIN]


async def test_gas_is_what_the_receipt_says_to_the_wei(place: Place) -> None:
    before = await place.units(COIN)
    signed = await place.sign(0)
    await place.world.chain.send([signed])
    place.mine()
    (receipt,) = await place.world.chain.receipts([signed.tx_hash])
    assert receipt is not None
    assert before - await place.units(COIN) == receipt.gas_used * receipt.gas_price_wei


async def test_headers_follow_one_another_and_end_at_the_head(place: Place) -> None:
    place.mine()
    place.mine()
    head = await place.world.chain.head()
    before, same, above = await place.world.chain.headers(
        [head.number - 1, head.number, head.number + 1]
    )
    assert before is not None
    assert (before.hash, same, above) == (head.parent_hash, head, None)
    assert head.base_fee_wei == before.next_base_fee_wei


async def test_the_chains_own_word_on_finality(place: Place) -> None:
    for _ in range(3):
        place.mine()
    head = await place.world.chain.head()
    safe, final = await place.world.chain.headers([head.number - 1, head.number - 2])
    assert place.world.finality is not None
    assert await place.world.finality.settled() == Settled(safe=safe, final=final)


async def test_bytes_are_taken_known_and_then_too_late(place: Place) -> None:
    signed = await place.sign(0)
    assert await accepted(place, signed)
    assert await place.world.chain.send([signed]) == (verdict.Accepted(known=True),)
    assert await place.world.chain.receipts([signed.tx_hash]) == (None,)
    place.mine()
    (late,) = await place.world.chain.send([await place.sign(0, fee=200 * GWEI)])
    assert isinstance(late, verdict.Rejected)
    assert late.reason is Refusal.NONCE_TOO_LOW
    (receipt,) = await place.world.chain.receipts([signed.tx_hash])
    assert receipt is not None
    assert receipt.block_hash == (await place.world.chain.head()).hash


async def test_a_gap_waits_and_is_filled(place: Place) -> None:
    last, first = await place.sign(1), await place.sign(0)
    await place.world.chain.send([last])
    place.mine()
    assert await place.world.chain.receipts([last.tx_hash]) == (None,)
    await place.world.chain.send([first])
    place.mine()
    assert None not in await place.world.chain.receipts([first.tx_hash, last.tx_hash])


async def test_a_replacement_must_offer_more(place: Place) -> None:
    await place.world.chain.send([await place.sign(0)])
    (same,) = await place.world.chain.send([await place.sign(0, Call(to=BOOK.weth))])
    assert isinstance(same, verdict.Rejected)
    assert same.reason is Refusal.REPLACEMENT_UNDERPRICED
    dearer = await place.sign(0, fee=113 * GWEI)
    assert await accepted(place, dearer)
    place.mine()
    assert None not in await place.world.chain.receipts([dearer.tx_hash])


async def test_who_cannot_pay_is_refused(place: Place) -> None:
    (refused,) = await place.world.chain.send([await place.sign(0, fee=10**18)])
    assert isinstance(refused, verdict.Rejected)
    assert refused.reason is Refusal.INSUFFICIENT_FUNDS


async def test_approvals_are_exact_and_read_back_out_of_the_bytes(place: Place) -> None:
    call = place.world.calls.approval(BOOK.usdc, SPENDER, 123)
    signed = await place.sign(0, call)
    assert place.world.calls.inside(signed.raw) == call
    await place.world.chain.send([signed])
    place.mine()
    head = await place.world.chain.head()
    allowed = await place.world.accounts.allowances(
        place.signer.address, SPENDER, [BOOK.usdc, BOOK.weth], head
    )
    assert allowed == (123, 0)


async def test_arrivals_are_told_with_their_place(place: Place) -> None:
    start = await place.world.chain.head()
    place.fund(BOOK.usdc, 5)
    place.fund(BOOK.usdc, 6)
    head = await place.world.chain.head()
    account = place.signer.address
    found = await place.world.accounts.arrivals(account, start.number + 1, head.number)
    assert [(t.token, t.target, t.units) for t in found] == [
        (BOOK.usdc, account, 5),
        (BOOK.usdc, account, 6),
    ]
    assert found[0].block_hash != found[1].block_hash
    assert await place.world.accounts.arrivals(account, head.number + 1, head.number) == ()


async def test_p7_a_block_that_is_gone_is_not_read(place: Place) -> None:
    signed = await place.sign(0)
    await place.world.chain.send([signed])
    place.mine()
    gone = await place.world.chain.head()
    place.reorganise(1)
    (now,) = await place.world.chain.headers([gone.number])
    assert now is not None
    assert now.hash != gone.hash
    assert now.parent_hash == gone.parent_hash
    assert await place.world.chain.receipts([signed.tx_hash]) == (None,)
    with pytest.raises((Transient, Rejected)):
        await place.world.accounts.state(place.signer.address, [COIN], gone)
    with pytest.raises(Transient):
        await place.world.snapshots.read(gone)
    assert await accepted(place, signed)
