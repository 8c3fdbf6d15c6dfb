"""Calldata equals what a general ABI encoder writes from the contracts' own signatures."""

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.adapters.evm.reverts import explained
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import PPM, Asset, Ppm
from sep_ray.routing.plan import Hop, Leg, Path, Plan, Route
from sep_ray.routing.pools.pool import Venue

ME = "0x" + "77" * 20
MAINNET, L2 = BOOKS[ETHEREUM], BOOKS[ARBITRUM]
V2, V3 = Venue.UNISWAP_V2, Venue.UNISWAP_V3


def hop(book, venue, sold, bought, fee=3_000, amounts=(1_000, 900)):
    return Hop(
        pool="0x" + "01" * 20,
        venue=venue,
        fee_ppm=fee,
        token_in=getattr(book, sold),
        token_out=getattr(book, bought),
        amount_in=amounts[0],
        amount_out=amounts[1],
        ticks_crossed=0,
    )


def plan(book, side, *hops, limit=880, legs=1):
    path = Path(hops=hops)
    return Plan(
        sell=Asset(book.chain_id, hops[0].token_in),
        buy=Asset(book.chain_id, hops[-1].token_out),
        side=side,
        amount_in=path.amount_in,
        amount_out=path.amount_out,
        limit=limit,
        deadline_s=1_800_000_000,
        block_number=1,
        block_hash="0x" + "02" * 32,
        route=Route(legs=(Leg(path=path, share_ppm=Ppm(PPM)),) * legs),
        gas_estimate=100_000,
        gas_price_wei=1,
        gas_cost=None,
        slippage_ppm=0,
        inclusion_blocks=1,
        net=0,
        net_predicted=0,
        estimated_by="formula",
        mid=(1, 1),
        impact_ppm=0,
        fee_ppm=3_000,
        considered=1,
    )


def call(signature, types, *values):
    return keccak(signature.encode())[:4] + encode(types, values)


def v3_in(path, to, amount, least):
    fields = (path, to, amount, least)
    return call(
        "exactInput((bytes,address,uint256,uint256))",
        ["(bytes,address,uint256,uint256)"],
        fields,
    )


def v2_in(tokens, to, amount, least):
    return call(
        "swapExactTokensForTokens(uint256,uint256,address[],address)",
        ["uint256", "uint256", "address[]", "address"],
        *(amount, least, tokens, to),
    )


def multicall(*calls):
    inner = call("multicall(uint256,bytes[])", ["uint256", "bytes[]"], 1_800_000_000, list(calls))
    return "0x" + inner.hex()


def packed(*parts):
    return b"".join(
        part.to_bytes(3, "big") if isinstance(part, int) else bytes.fromhex(part[2:])
        for part in parts
    )


def test_v3_sale_of_one_and_two_pools():
    book, encoder = MAINNET, SwapEncoder(MAINNET)
    one = encoder.swap(plan(book, Side.SELL, hop(book, V3, "weth", "usdc", 500)), ME)
    assert one.to == book.swap_router02
    assert one.value_wei == 0
    assert one.data == multicall(v3_in(packed(book.weth, 500, book.usdc), ME, 1_000, 880))
    two = plan(
        book,
        Side.SELL,
        hop(book, V3, "wbtc", "weth", 3_000, (50, 1_000)),
        hop(book, V3, "weth", "usdc", 100),
    )
    path = packed(book.wbtc, 3_000, book.weth, 100, book.usdc)
    assert encoder.swap(two, ME).data == multicall(v3_in(path, ME, 50, 880))


def test_v3_purchase_reads_the_path_backwards():
    book = MAINNET
    bought = plan(
        book,
        Side.BUY,
        hop(book, V3, "usdc", "weth", 500, (2_000, 1_000)),
        hop(book, V3, "weth", "wbtc", 3_000, (1_000, 50)),
        limit=2_010,
    )
    inner = call(
        "exactOutput((bytes,address,uint256,uint256))",
        ["(bytes,address,uint256,uint256)"],
        (packed(book.wbtc, 3_000, book.weth, 500, book.usdc), ME, 50, 2_010),
    )
    assert SwapEncoder(book).swap(bought, ME).data == multicall(inner)


def test_v2_sale_and_purchase():
    book, encoder = MAINNET, SwapEncoder(MAINNET)
    sale = plan(book, Side.SELL, hop(book, V2, "weth", "usdc"))
    assert encoder.swap(sale, ME).data == multicall(v2_in([book.weth, book.usdc], ME, 1_000, 880))
    purchase = plan(book, Side.BUY, hop(book, V2, "usdc", "weth"), limit=1_010)
    exact = call(
        "swapTokensForExactTokens(uint256,uint256,address[],address,uint256)",
        ["uint256", "uint256", "address[]", "address", "uint256"],
        *(900, 1_010, [book.usdc, book.weth], ME, 1_800_000_000),
    )
    written = encoder.swap(purchase, ME)
    assert (written.to, written.data) == (book.v2_router, "0x" + exact.hex())
    assert encoder.spender(purchase) == book.v2_router


def test_a_mixed_path_keeps_the_middle_inside_the_router():
    book = MAINNET
    router = "0x0000000000000000000000000000000000000002"
    mixed = plan(
        book,
        Side.SELL,
        hop(book, V2, "dai", "weth", amounts=(3_000, 1_000)),
        hop(book, V3, "weth", "usdc", 500),
    )
    assert SwapEncoder(book).swap(mixed, ME).data == multicall(
        v2_in([book.dai, book.weth], router, 3_000, 0),
        v3_in(packed(book.weth, 500, book.usdc), ME, 0, 880),
    )
    back = plan(book, Side.BUY, *mixed.route.legs[0].path.hops)
    with pytest.raises(InvariantBroken):
        SwapEncoder(book).swap(back, ME)


def test_where_routers_differ_v2_goes_through_its_own():
    book, encoder = L2, SwapEncoder(L2)
    assert not encoder.mixes_venues
    assert SwapEncoder(MAINNET).mixes_venues
    for side, name, amount in (
        (Side.SELL, "swapExactTokensForTokens", 1_000),
        (Side.BUY, "swapTokensForExactTokens", 900),
    ):
        swap = plan(book, side, hop(book, V2, "weth", "usdc"))
        expected = call(
            f"{name}(uint256,uint256,address[],address,uint256)",
            ["uint256", "uint256", "address[]", "address", "uint256"],
            *(amount, 880, [book.weth, book.usdc], ME, 1_800_000_000),
        )
        written = encoder.swap(swap, ME)
        assert (written.to, written.data) == (book.v2_router, "0x" + expected.hex())
        assert encoder.spender(swap) == book.v2_router
    v3 = plan(book, Side.SELL, hop(book, V3, "weth", "usdc", 500))
    assert encoder.spender(v3) == encoder.swap(v3, ME).to == book.swap_router02


def test_an_approval_is_exact():
    written = SwapEncoder(MAINNET).approval(MAINNET.usdc, ME, 123)
    expected = call("approve(address,uint256)", ["address", "uint256"], ME, 123)
    assert (written.to, written.data) == (MAINNET.usdc, "0x" + expected.hex())


def test_a_split_route_has_no_encoding_yet():
    with pytest.raises(InvariantBroken):
        SwapEncoder(MAINNET).swap(
            plan(MAINNET, Side.SELL, hop(MAINNET, V3, "weth", "usdc"), legs=2), ME
        )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "reverted without a reason"),
        (
            call("Error(string)", ["string"], "Too little received"),
            "Too little received: the price moved past the limit",
        ),
        (
            call("Error(string)", ["string"], "STF"),
            "STF: the token refused the transfer (allowance or balance)",
        ),
        (call("Error(string)", ["string"], "own words"), "own words"),
        (call("Panic(uint256)", ["uint256"], 0x11), "panic 0x11: arithmetic overflow"),
        (call("V3TooLittleReceived()", []), "V3TooLittleReceived()"),
        (
            call(
                "ERC20InsufficientBalance(address,uint256,uint256)",
                ["address", "uint256", "uint256"],
                *(ME, 1, 2),
            ),
            f"ERC20InsufficientBalance({ME}, 1, 2)",
        ),
        (b"\xde\xad\xbe\xef\x01", "custom error 0xdeadbeef01"),
        (keccak(b"Error(string)")[:4] + b"\xff" * 64, "custom error 0x08c379a0" + "ff" * 64),
    ],
)
def test_revert_reasons_in_words(data, words):
    assert explained(data) == words
