"""The chain adapter against a real node: headers, accounts, receipts, verdicts, heads."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM
from sep_ray.adapters.evm.chain import EvmChain
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.adapters.evm.heads import HeadFeed
from sep_ray.adapters.evm.rpc import EvmRpc, RpcRefused
from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.execution import verdict
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.execution.verdict import Refusal
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import NATIVE, Asset

BOOK = BOOKS[ETHEREUM]
SIGNER = LocalSigner(b"\x21" * 32)
OTHER = "0x" + "0e" * 20
COIN, USDC = Asset(ETHEREUM, NATIVE), Asset(ETHEREUM, BOOK.usdc)


@asynccontextmanager
async def chain_of(pair, *, ws=True):
    endpoint = pair.endpoints[ETHEREUM]
    rpc = EvmRpc(endpoint.http)
    try:
        yield EvmChain(rpc, HeadFeed(rpc, endpoint.ws if ws else None, poll_s=0.01))
    finally:
        await rpc.close()


async def signed(nonce, call=None, max_fee=10**11, tip=0, gas=100_000):
    tx = Unsigned(
        chain_id=ETHEREUM,
        nonce=nonce,
        call=call or Call(to=OTHER),
        gas_limit=gas,
        max_fee_wei=max_fee,
        tip_wei=tip,
    )
    return (await SIGNER.sign([tx]))[0]


async def test_an_account_is_read_as_of_one_block(new_chains):
    pair = new_chains()
    pair.fund(1, SIGNER.address, ETH=10**18, USDC=5_000_000)
    async with chain_of(pair) as chain:
        head = await chain.head()
        state = await chain.state(SIGNER.address, [COIN, USDC], head)
        assert (state.nonce, state.units) == (0, {COIN: 10**18, USDC: 5_000_000})
        await chain.send([await signed(0)])
        pair.mine(1)
        again = await chain.state(SIGNER.address, [COIN, USDC], head)
        assert again == state
        after = await chain.state(SIGNER.address, [COIN], await chain.head())
        assert after.nonce == 1
        gone = await chain.head()
        pair.rpc(1)("anvil_reorg", 1, [])
        with pytest.raises((Transient, RpcRefused)):
            await chain.state(SIGNER.address, [COIN], gone)


async def test_send_is_judged_and_repeating_it_is_harmless(new_chains):
    pair = new_chains()
    pair.fund(1, SIGNER.address, ETH=10**18)
    async with chain_of(pair) as chain:
        first, gapped = await signed(0), await signed(2)
        assert await chain.send([first, gapped]) == (verdict.Accepted(), verdict.Accepted())
        assert await chain.send([first]) == (verdict.Accepted(known=True),)
        (refused,) = await chain.send([await signed(0, tip=1)])
        assert isinstance(refused, verdict.Rejected)
        assert refused.reason is Refusal.REPLACEMENT_UNDERPRICED
        pair.mine(1)
        (late,) = await chain.send([first])
        assert isinstance(late, verdict.Rejected)
        assert late.reason is Refusal.NONCE_TOO_LOW
        found, missing = await chain.receipts([first.tx_hash, gapped.tx_hash])
        assert found is not None
        assert (found.succeeded, found.tx_hash, missing) == (True, first.tx_hash, None)
        head = await chain.head()
        assert (found.block_number, found.block_hash) == (head.number, head.hash)


async def test_p6_nothing_the_network_does_makes_send_raise():
    rpc = EvmRpc("http://127.0.0.1:9", timeout_s=1)
    chain = EvmChain(rpc, HeadFeed(rpc, None, poll_s=1))
    (found,) = await chain.send([await signed(0)])
    assert isinstance(found, verdict.Indeterminate)
    with pytest.raises(Transient):
        await chain.head()
    await rpc.close()


async def test_transfers_allowances_and_revert_reasons_are_read(new_chains):
    pair = new_chains()
    pair.fund(1, SIGNER.address, ETH=10**18, USDC=5_000_000)
    calls = SwapEncoder(BOOK)
    too_much = "0xa9059cbb" + OTHER[2:].rjust(64, "0") + hex(10**9)[2:].rjust(64, "0")
    async with chain_of(pair) as chain:
        await chain.send(
            [
                await signed(0, calls.approval(BOOK.usdc, OTHER, 77)),
                await signed(1, Call(to=BOOK.usdc, data=too_much)),
                await signed(2, Call(to=BOOK.usdc, data=too_much), gas=25_000),
            ]
        )
        pair.mine(1)
        head = await chain.head()
        tokens = [BOOK.usdc, BOOK.weth]
        assert await chain.allowances(SIGNER.address, OTHER, tokens, head) == (77, 0)
        arrived = await chain.arrivals(SIGNER.address, 0, head.number)
        assert [(t.token, t.units) for t in arrived] == [(BOOK.usdc, 5_000_000)]
        block = pair.rpc(1)("eth_getBlockByNumber", "latest", False)
        approved, refused, starved = await chain.receipts(block["transactions"])
        assert approved is not None
        assert refused is not None
        assert starved is not None
        assert [r.succeeded for r in (approved, refused, starved)] == [True, False, False]
        reason = await chain.revert_reason(refused.tx_hash)
        assert "exceeds balance" in reason
        assert await chain.revert_reason(starved.tx_hash) == "out of gas"
        assert "exceeds balance" in await chain._replayed(refused.tx_hash)
        assert 0 <= await chain.usual_tip() < 10**11


@pytest.mark.parametrize("ws", [True, False])
async def test_heads_come_in_order_and_missed_ones_are_fetched(new_chains, ws):
    pair = new_chains()
    async with chain_of(pair, ws=ws) as chain, aclosing(chain.heads()) as heads:
        first = await asyncio.wait_for(anext(heads), 5)
        pair.mine(1, 5)
        await asyncio.sleep(0.05)
        got = [await asyncio.wait_for(anext(heads), 5) for _ in range(5)]
        assert [h.number for h in got] == list(range(first.number + 1, first.number + 6))
        parents = [first.hash, *(h.hash for h in got)]
        assert [h.parent_hash for h in got] == parents[:-1]
        pair.rpc(1)("anvil_reorg", 2, [])
        pair.mine(1)
        last = got[-1]
        while (head := await asyncio.wait_for(anext(heads), 5)).number <= last.number:
            assert head.hash not in parents
        assert head.number == last.number + 1
        assert head.parent_hash not in parents


async def test_heads_survive_a_node_that_restarts(new_chains, tmp_path):
    pair = new_chains(folder=tmp_path)
    async with chain_of(pair) as chain, aclosing(chain.heads()) as heads:
        first = await asyncio.wait_for(anext(heads), 5)
        waiting = asyncio.ensure_future(anext(heads))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(pair.chains.restart, ETHEREUM)
        pair.mine(1)
        assert (await asyncio.wait_for(waiting, 10)).number >= first.number
