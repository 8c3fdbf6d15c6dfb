"""Calldata equals what a general ABI encoder writes from the contracts' own signatures."""

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.adapters.evm.encoding import SwapEncoder
from sep_ray.adapters.evm.reverts import explained
from sep_ray.adapters.evm.v4 import NO_HOOKS, TICK_SPACINGS, pool_id
from sep_ray.intent.intent import Side
from sep_ray.kernel.errors import InvariantBroken
from sep_ray.kernel.units import Asset
from sep_ray.routing.plan import Hop, Path, Plan, route_of
from sep_ray.routing.pools.pool import Venue

ME = "0x" + "77" * 20
MAINNET, L2 = BOOKS[ETHEREUM], BOOKS[ARBITRUM]
V2, V3, V4 = Venue.UNISWAP_V2, Venue.UNISWAP_V3, Venue.UNISWAP_V4


def hop(book, venue, sold, bought, fee=3_000, amounts=(1_000, 900)):
    tokens = sorted((getattr(book, sold), getattr(book, bought)))
    name = (
        pool_id(tokens[0], tokens[1], fee, TICK_SPACINGS[fee]) if venue is V4 else "0x" + "01" * 20
    )
    return Hop(
        pool=name,
        venue=venue,
        fee_ppm=fee,
        token_in=getattr(book, sold),
        token_out=getattr(book, bought),
        amount_in=amounts[0],
        amount_out=amounts[1],
        ticks_crossed=0,
    )


def plan(book, side, *hops, limit=880):
    return split(book, side, hops, limit=limit)


def split(book, side, *paths, limit=880):
    route = route_of([Path(hops=tuple(hops)) for hops in paths], side)
    hops = route.legs[0].path.hops
    return Plan(
        sell=Asset(book.chain_id, hops[0].token_in),
        buy=Asset(book.chain_id, hops[-1].token_out),
        side=side,
        amount_in=route.amount_in,
        amount_out=route.amount_out,
        limit=limit,
        deadline_s=1_800_000_000,
        block_number=1,
        block_hash="0x" + "02" * 32,
        route=route,
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
    assert encoder.takers(written.to) == (book.v2_router,)


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
    v3 = plan(book, Side.SELL, hop(book, V3, "weth", "usdc", 500))
    assert encoder.takers(encoder.swap(v3, ME).to) == (book.swap_router02,)
    mixed = plan(
        book,
        Side.SELL,
        hop(book, V2, "dai", "weth", amounts=(3_000, 1_000)),
        hop(book, V3, "weth", "usdc", 500),
    )
    assert encoder.swap(mixed, ME).to == book.universal_router
    assert encoder.takers(book.universal_router) == (book.permit2, book.universal_router)


def test_an_approval_is_exact():
    written = SwapEncoder(MAINNET).approval(MAINNET.usdc, ME, 123)
    expected = call("approve(address,uint256)", ["address", "uint256"], ME, 123)
    assert (written.to, written.data) == (MAINNET.usdc, "0x" + expected.hex())


def test_what_universal_router_takes_is_allowed_within_permit2():
    book = MAINNET
    written = SwapEncoder(book).approval(book.usdc, book.universal_router, 123)
    types = ["address", "address", "uint160", "uint48"]
    order = (book.usdc, book.universal_router, 123, 2**48 - 1)
    expected = call("approve(address,address,uint160,uint48)", types, *order)
    assert (written.to, written.data) == (book.permit2, "0x" + expected.hex())


def test_legs_of_a_sale_meet_in_the_router_and_the_limit_holds_for_their_sum():
    book, router = MAINNET, "0x" + "00" * 19 + "02"
    both = split(
        book,
        Side.SELL,
        [hop(book, V3, "weth", "usdc", 500, (700, 600))],
        [hop(book, V2, "weth", "usdc", amounts=(300, 280))],
    )
    assert SwapEncoder(book).swap(both, ME).data == multicall(
        v3_in(packed(book.weth, 500, book.usdc), router, 700, 0),
        v2_in([book.weth, book.usdc], router, 300, 0),
        call(
            "sweepToken(address,uint256,address)",
            ["address", "uint256", "address"],
            *(book.usdc, 880, ME),
        ),
    )


def test_what_legs_of_a_purchase_may_take_adds_up_to_the_limit():
    book = MAINNET
    both = split(
        book,
        Side.BUY,
        [hop(book, V3, "usdc", "weth", 500, (600, 700))],
        [hop(book, V3, "usdc", "weth", 3_000, (300, 310))],
        limit=901,
    )
    most = [600, 301]
    assert SwapEncoder(book).swap(both, ME).data == multicall(
        *(
            call(
                "exactOutput((bytes,address,uint256,uint256))",
                ["(bytes,address,uint256,uint256)"],
                (packed(book.weth, fee, book.usdc), ME, out, bound),
            )
            for fee, out, bound in ((500, 700, most[0]), (3_000, 310, most[1]))
        )
    )


SETTLE, TAKE, SWAP_IN, SWAP_OUT = b"\x0b", b"\x0e", b"\x06", b"\x08"
V4_SWAP = ["((address,address,uint24,int24,address),bool,uint128,uint128,bytes)"]


def v4_swap(sold, bought, fee, amount, bound):
    key = (*sorted((sold, bought)), fee, TICK_SPACINGS[fee], NO_HOOKS)
    return encode(V4_SWAP, [(key, sold < bought, amount, bound, b"")])


def v4_input(actions, *params):
    return encode(["bytes", "bytes[]"], [actions, params])


def universal(commands, *inputs):
    written = call(
        "execute(bytes,bytes[],uint256)",
        ["bytes", "bytes[]", "uint256"],
        *(commands, list(inputs), 1_800_000_000),
    )
    return "0x" + written.hex()


def test_v4_pools_go_through_the_universal_router():
    book = L2
    one = plan(book, Side.SELL, hop(book, V4, "weth", "usdc", 500))
    written = SwapEncoder(book).swap(one, ME)
    assert written.to == book.universal_router
    assert written.data == universal(
        b"\x10",
        v4_input(
            SETTLE + SWAP_IN + TAKE,
            encode(["address", "uint256", "bool"], [book.weth, 1_000, True]),
            v4_swap(book.weth, book.usdc, 500, 1_000, 880),
            encode(["address", "address", "uint256"], [book.usdc, ME, 0]),
        ),
    )
    bought = plan(
        book,
        Side.BUY,
        hop(book, V4, "usdc", "weth", 500),
        hop(book, V4, "weth", "wbtc", 3_000, (900, 40)),
        limit=1_005,
    )
    assert SwapEncoder(book).swap(bought, ME).data == universal(
        b"\x10",
        v4_input(
            SWAP_OUT + SWAP_OUT + SETTLE + TAKE,
            v4_swap(book.weth, book.wbtc, 3_000, 40, 2**128 - 1),
            v4_swap(book.usdc, book.weth, 500, 0, 1_005),
            encode(["address", "uint256", "bool"], [book.usdc, 0, True]),
            encode(["address", "address", "uint256"], [book.wbtc, ME, 0]),
        ),
    )


def test_legs_through_all_families_are_swept_together():
    book, router, held = MAINNET, "0x" + "00" * 19 + "02", 1 << 255
    three = split(
        book,
        Side.SELL,
        [hop(book, V2, "weth", "usdc", amounts=(100, 90))],
        [
            hop(book, V3, "weth", "wbtc", 500, (200, 20)),
            hop(book, V4, "wbtc", "usdc", 3_000, (20, 190)),
        ],
    )
    simple = ["address", "uint256", "uint256", "bytes", "bool"]
    assert SwapEncoder(book).swap(three, ME).data == universal(
        b"\x08\x00\x10\x04",
        encode(
            ["address", "uint256", "uint256", "address[]", "bool"],
            [router, 100, 0, [book.weth, book.usdc], True],
        ),
        encode(simple, [router, 200, 0, packed(book.weth, 500, book.wbtc), True]),
        v4_input(
            SETTLE + SWAP_IN + TAKE,
            encode(["address", "uint256", "bool"], [book.wbtc, held, False]),
            v4_swap(book.wbtc, book.usdc, 3_000, 0, 0),
            encode(["address", "address", "uint256"], [book.usdc, router, 0]),
        ),
        encode(["address", "address", "uint256"], [book.usdc, ME, 880]),
    )


def test_what_no_router_can_do_is_refused():
    book = MAINNET
    encoder, through_v2 = SwapEncoder(book), [hop(book, V2, "usdc", "weth")]
    with pytest.raises(InvariantBroken, match="no call fixes"):
        encoder.swap(split(book, Side.BUY, through_v2, through_v2), ME)
    odd = replace(hop(book, V4, "weth", "usdc"), pool="0x" + "05" * 32)
    with pytest.raises(InvariantBroken, match="usual spacing"):
        encoder.swap(plan(book, Side.SELL, odd), ME)
    whole = plan(book, Side.SELL, hop(book, V3, "weth", "usdc"))
    with pytest.raises(InvariantBroken, match="add up"):
        encoder.swap(replace(whole, amount_in=whole.amount_in + 1), ME)


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
                "ExecutionFailed(uint256,bytes)",
                ["uint256", "bytes"],
                *(1, call("V4TooLittleReceived(uint256,uint256)", ["uint256"] * 2, 9, 8)),
            ),
            "command 1: V4TooLittleReceived(9, 8)",
        ),
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
