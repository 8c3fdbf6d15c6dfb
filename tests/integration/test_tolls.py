"""A token that keeps a part of what is moved is refused before any money moves: a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode

from sep_ray.adapters.evm.addresses import ETHEREUM
from sep_ray.adapters.evm.discovery import find_pools
from sep_ray.adapters.evm.heads import newest_head
from sep_ray.adapters.evm.rpc import EvmRpc, RpcRefused
from sep_ray.adapters.evm.snapshots import SnapshotReader
from sep_ray.adapters.evm.tolls import EVERY, Tolls
from sep_ray.adapters.evm.world import lenses_of
from sep_ray.devnet.funding import act_as_bank, mint_to
from sep_ray.devnet.market import FOREVER
from sep_ray.devnet.placement import BANK
from sep_ray.devnet.rpc import call_data
from sep_ray.intent.intent import Side
from sep_ray.kernel.units import Asset, Ppm, Token
from sep_ray.routing.plan import Plan, RouteRequest
from sep_ray.routing.planner import plan
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot import Snapshot
from tests.fixtures.chains import Pair

CODE = Path(__file__).resolve().parents[1] / "data" / "TollToken.hex"
_ADD = "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)"
SUPPLY, DEPTH = 10**30, 10**24


def deploy(pair: Pair) -> Token:
    """Put the token on the chain, with a V2 pool against USDC."""
    rpc, book = pair.rpc(ETHEREUM), pair.book(ETHEREUM)
    act_as_bank(rpc)
    code = "0x" + CODE.read_text().strip() + encode(("address", "uint256"), (BANK, SUPPLY)).hex()
    (made,) = rpc.transact([{"from": BANK, "data": code}])
    token: str = made["contractAddress"].lower()
    allow = call_data("approve(address,uint256)", book.v2_router, SUPPLY)
    order = call_data(_ADD, token, book.usdc, DEPTH, DEPTH // 10**12, 0, 0, BANK, FOREVER)
    rpc.transact(
        [
            mint_to(book.usdc, BANK, DEPTH // 10**12),
            {"from": BANK, "to": token, "data": allow},
            {"from": BANK, "to": book.usdc, "data": allow},
            {"from": BANK, "to": book.v2_router, "data": order},
        ]
    )
    return Token(Asset(ETHEREUM, token), "TOLL", 18)


async def market(pair: Pair, rpc: Any, toll: Token) -> SnapshotReader:
    book = pair.book(ETHEREUM)
    tokens = (*book.tokens(), toll)
    pools = await find_pools(
        rpc,
        tokens=tokens,
        v2_factory=book.v2_factory,
        v3_factory=book.v3_factory,
        v4_state=book.v4_state,
    )
    return SnapshotReader(
        rpc,
        chain_id=ETHEREUM,
        pools=pools,
        tokens=tokens,
        wrapped_native=book.weth,
        lenses=lenses_of(book),
        tolls=Tolls(rpc, [t.asset.address for t in tokens], pools, book.v4_pools),
    )


def sale(snapshot: Snapshot, sell: Asset, buy: Asset, amount: int) -> Plan | NoRoute:
    request = RouteRequest(
        sell=sell,
        buy=buy,
        amount=amount,
        side=Side.SELL,
        max_slippage_ppm=Ppm(1_000),
        deadline_s=snapshot.block_time_s + 60,
        gas_price_wei=0,
        mix_venues=True,
    )
    return plan(snapshot, request)


@pytest.mark.parametrize("ppm", [1, 10_000])
async def test_a_toll_is_found_when_it_is_switched_on(chains: Pair, ppm: int) -> None:
    toll, book = deploy(chains), chains.book(ETHEREUM)
    usdc, weth = Asset(ETHEREUM, book.usdc), Asset(ETHEREUM, book.weth)
    rpc = EvmRpc(chains.url(ETHEREUM))
    try:
        reader = await market(chains, rpc, toll)
        free = await reader.read(await newest_head(rpc))
        assert free.taxed == ()
        assert isinstance(sale(free, toll.asset, weth, 10**18), Plan)
        order = call_data("setToll(uint256)", ppm)
        chains.rpc(ETHEREUM).transact([{"from": BANK, "to": toll.asset.address, "data": order}])
        chains.mine(ETHEREUM, EVERY)
        taxed = await reader.read(await newest_head(rpc))
        assert taxed.taxed == (toll.asset.address,)
        for pair in ((toll.asset, weth), (usdc, toll.asset)):
            refused = sale(taxed, *pair, 10**18)
            assert isinstance(refused, NoRoute)
            assert (refused.reason, refused.detail) == (Reason.TRANSFER_FEE, str(toll.asset))
        assert isinstance(sale(taxed, weth, usdc, 10**18), Plan)
        assert len(taxed.pools) == len(free.pools) - 1
    finally:
        await rpc.close()


async def test_a_node_that_takes_no_overrides_leaves_the_market_as_it_was(chains: Pair) -> None:
    class Plain:
        def __init__(self, rpc: EvmRpc) -> None:
            self._rpc = rpc

        async def batch(self, calls: Any) -> list[Any]:
            if any(len(params) > 2 for method, params in calls if method == "eth_call"):
                raise RpcRefused("node refused the call", text="too many arguments")
            return await self._rpc.batch(calls)

    rpc = EvmRpc(chains.url(ETHEREUM))
    try:
        reader = await market(chains, Plain(rpc), deploy(chains))
        snapshot = await reader.read(await newest_head(rpc))
        assert snapshot.taxed == ()
        assert snapshot.pools
    finally:
        await rpc.close()
