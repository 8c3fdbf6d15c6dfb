"""The snapshot format: what it says comes back, and what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.markets import market
from sep_ray.kernel.errors import Rejected
from sep_ray.routing.pools.pool import Quote
from sep_ray.routing.pools.v4 import V4Pool
from sep_ray.routing.reasons import NoRoute, Reason
from sep_ray.routing.snapshot_file import read_snapshot, write_snapshot

A, B, C = ("0x" + letter * 40 for letter in "abc")


def file(**changes):
    """Return a small file's object: a pair, a V3 and a V4 pool between three tokens."""
    ticked = {
        "fee": 500,
        "tick_spacing": 10,
        "sqrt_price_x96": str(2**96),
        "tick": 0,
        "liquidity": "1000000000000",
        "ticks": [[-100, "1000000000000", "1000000000000"], [100, "-1000000000000", 10**12]],
    }
    pair = {"reserve0": "1000000000", "reserve1": 10**9, "fee_bps": 30}
    content = {
        "chain_id": 1,
        "block": 7,
        "base_fee_wei": "1000000000",
        "tokens": [
            {"address": A.upper().replace("0X", "0x"), "symbol": "WETH", "decimals": 18},
            {"address": B, "symbol": "USDC", "decimals": 6},
            {"address": C, "symbol": "DAI", "decimals": 18},
        ],
        "pools": [
            {"kind": "v2", "address": "0x" + "1" * 40, "token0": A, "token1": B, **pair},
            {"kind": "v3", "address": "0x" + "2" * 40, "token0": B, "token1": C, **ticked},
            {"kind": "v4", "address": "0x" + "3" * 64, "token0": A, "token1": C, **ticked},
        ],
    }
    return content | changes


def changed(place, name, value):
    content = file()
    content["pools"][place] = content["pools"][place] | {name: value}
    return content


def without(path):
    content = file()
    *parents, last = path
    inside = content
    for key in parents:
        inside = inside[key]
    del inside[last]
    return content


def test_a_file_is_read():
    found = read_snapshot(json.dumps(file()))
    pair, ticked, singleton = found.snapshot.pools
    assert (found.snapshot.chain_id, found.snapshot.block_number) == (1, 7)
    assert (pair.fee_ppm, ticked.fee_ppm) == (3_000, 500)
    assert isinstance(singleton, V4Pool)
    assert isinstance(ticked.exact_in(B, 10**6), Quote)
    assert found.snapshot.wrapped_native == A
    assert found.token("weth") == found.token(A) == found.snapshot.tokens[0]


@pytest.mark.parametrize("pools", [8, 40])
def test_what_is_written_is_read_again(pools):
    known = market(pools)
    again = read_snapshot(write_snapshot(known)).snapshot
    assert again == replace(known, block_hash="", block_time_s=0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "the file: expected an object, got a list"),
        (without(["chain_id"]), "chain_id: missing"),
        (without(["base_fee_wei"]), "base_fee_wei: missing"),
        (without(["pools"]), "pools: missing"),
        (without(["tokens", 1, "decimals"]), "tokens[1].decimals: missing"),
        (without(["pools", 0, "reserve1"]), "pools[0].reserve1: missing"),
        (without(["pools", 1, "ticks"]), "pools[1].ticks: missing"),
        (file(chain_id=0), "chain_id: 0 is outside"),
        (file(chain_id=True), "chain_id: expected an integer"),
        (file(block=-1), "block: -1 is outside"),
        (file(tokens={}), "tokens: expected a list, got an object"),
        (file(tokens=[7]), "tokens[0]: expected an object, got a number"),
        (file(tokens=file()["tokens"] * 2), "tokens[3].address"),
        (file(pools=file()["pools"] * 2), "pools[3].address"),
        (changed(0, "kind", "curve"), "pools[0].kind: expected v2, v3 or v4"),
        (changed(0, "reserve0", "1.5"), "pools[0].reserve0: expected an integer"),
        (changed(0, "reserve0", 1.5), "pools[0].reserve0: expected an integer"),
        (changed(0, "reserve0", str(2**112)), "pools[0].reserve0"),
        (changed(0, "fee_bps", 10_000), "pools[0].fee_bps"),
        (changed(0, "token0", "0x12"), "pools[0].token0: not an address"),
        (changed(0, "token0", "0x" + "9" * 40), "pools[0].token0"),
        (changed(0, "token0", B), "pools[0].token1: token0 must be the lower"),
        (changed(1, "tick_spacing", 0), "pools[1].tick_spacing"),
        (changed(1, "sqrt_price_x96", "5"), "pools[1].price is out of range"),
        (changed(1, "tick", 900), "pools[1].tick and price disagree"),
        (changed(1, "ticks", [[5, 1, 1]]), "pools[1].ticks[0][0]: 5 is not a multiple"),
        (changed(1, "ticks", [[10, 1], [10, 1]]), "pools[1].ticks[1][0]: tick 10 is listed twice"),
        (changed(1, "ticks", [[10]]), "pools[1].ticks[0]: expected [tick, net, gross]"),
        (changed(1, "ticks", [[10, "x"]]), "pools[1].ticks[0][1]: expected an integer"),
        (changed(2, "hooks", A), "pools[2].hooks: pools with hooks"),
        (file(wrapped_native="0x" + "9" * 40), "wrapped_native"),
    ],
)
def test_what_is_wrong_is_named(content, said):
    with pytest.raises(Rejected) as caught:
        read_snapshot(json.dumps(content))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("text", ["", "{", "nothing", "[" * 2_000])
def test_what_is_not_json_is_said_so(text):
    with pytest.raises(Rejected, match="not JSON"):
        read_snapshot(text)


def test_a_part_of_the_ticks_is_never_left():
    """Net liquidity that does not add up: the ticks are a window, beyond which nothing is known."""
    content = changed(1, "ticks", [[-100, "400000000000", 1], [100, "-1000000000000", 1]])
    pool = read_snapshot(json.dumps(content)).snapshot.pools[1]
    assert isinstance(pool.exact_in(B, 10**6), Quote)
    beyond = pool.exact_in(B, 10**30)
    assert isinstance(beyond, NoRoute)
    assert beyond.reason is Reason.OUTSIDE_KNOWN_TICKS


def test_tokens_that_take_a_fee_are_left_out():
    content = file()
    content["tokens"][1]["transfer_fee_bps"] = 100
    found = read_snapshot(json.dumps(content))
    assert found.snapshot.taxed == (B,)
    assert [pool.address for pool in found.snapshot.pools] == ["0x" + "3" * 64]


def test_a_symbol_must_mean_one_token():
    content = file()
    content["tokens"][2]["symbol"] = "USDC"
    found = read_snapshot(json.dumps(content))
    with pytest.raises(Rejected, match="2 tokens"):
        found.token("USDC")
    with pytest.raises(Rejected, match="no such token"):
        found.token("0x" + "9" * 40)
