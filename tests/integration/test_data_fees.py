"""A rollup's price for bytes, asked of stand-ins where rollups have the real contracts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS
from sep_ray.adapters.evm.data_fees import GAS_PRICE_ORACLE, NODE_INTERFACE, Kind
from sep_ray.adapters.evm.endpoints import Access
from sep_ray.adapters.evm.world import open_world
from sep_ray.execution.ports import Call
from sep_ray.kernel.errors import Rejected, Transient
from tests.fixtures.chains import Pair

OP = "0x366103e8025f5260205ff3"  # 1,000 wei for each byte of the question
NITRO = "0x366007025f52633b9aca0060205260016040526060" + "5ff3"  # 7 gas for each, two more words


@pytest.mark.parametrize(
    ("kind", "address", "code", "field", "each"),
    [("op", GAS_PRICE_ORACLE, OP, "wei", 1_000), ("arbitrum", NODE_INTERFACE, NITRO, "gas", 7)],
)
async def test_the_chains_own_contract_says_what_bytes_cost(
    new_chains: Callable[..., Pair], kind: Kind, address: str, code: str, field: str, each: int
) -> None:
    pair = new_chains(seeded=False)
    book = BOOKS[ARBITRUM]
    way = Access.to(pair.url(ARBITRUM))
    async with open_world(book, way, block_seconds=1, data_fee=kind) as world:
        assert world.data_fees is not None
        head = await world.chain.head()
        short, long = Call(to=book.weth), Call(to=book.weth, data="0x" + "ab" * 640)
        with pytest.raises((Transient, Rejected)):
            await world.data_fees.costs([short], head)
        pair.rpc(ARBITRUM)("anvil_setCode", address, code)
        pair.mine(ARBITRUM)
        head = await world.chain.head()
        costs = await world.data_fees.costs([short, long], head)
        less, more = (getattr(cost, field) for cost in costs)
        assert more - less >= 640 * each * 3 // 2
        assert 0 < less < more
        other = "gas" if field == "wei" else "wei"
        assert [getattr(cost, other) for cost in costs] == [0, 0]


async def test_there_is_none_unless_asked_for(new_chains: Callable[..., Pair]) -> None:
    pair = new_chains(seeded=False)
    way = Access.to(pair.url(ARBITRUM))
    async with open_world(BOOKS[ARBITRUM], way, block_seconds=1) as world:
        assert world.data_fees is None
