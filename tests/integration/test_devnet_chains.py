"""The local chains: real contracts at real addresses, swaps that happen, restarts that keep."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM
from sep_ray.devnet.build import StateFiles
from sep_ray.devnet.chains import Chains
from sep_ray.devnet.node import NodeOptions, same_node
from sep_ray.devnet.packages import Bundle
from sep_ray.devnet.placement import domain_separator
from sep_ray.devnet.rpc import RpcRefused, call_data
from sep_ray.kernel.errors import Rejected, Transient
from tests.fixtures.chains import Pair, both
from tests.fixtures.eventually import eventually

WHO = "0x" + "a1" * 20
BOTH = pytest.mark.parametrize("chain_id", [ETHEREUM, ARBITRUM])
QUOTE = "quoteExactInputSingle((address,address,uint256,uint24,uint160))"
SWAP = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"


def swap(pair: Pair, chain_id: int, amount_in: int, least: int = 0) -> None:
    """Swap WETH for USDC in the 0.05 % pool through SwapRouter02."""
    book, rpc = pair.book(chain_id), pair.rpc(chain_id)
    rpc("anvil_impersonateAccount", WHO)
    approve = call_data("approve(address,uint256)", book.swap_router02, amount_in)
    order = (book.weth, book.usdc, 500, WHO, amount_in, least, 0)
    rpc.transact(
        [
            {"from": WHO, "to": book.weth, "data": approve},
            {"from": WHO, "to": book.swap_router02, "data": call_data(SWAP, order)},
        ]
    )


@BOTH
def test_contracts_stand_at_their_real_addresses(chains: Pair, chain_id: int) -> None:
    book, rpc = chains.book(chain_id), chains.rpc(chain_id)
    assert int(rpc("eth_chainId"), 16) == chain_id
    for token in book.tokens()[1:]:
        address = token.asset.address
        assert rpc.read(address, "decimals()") == token.decimals
        assert rpc.read(address, "symbol()", returns="(string)") == token.symbol
    assert rpc.read(book.swap_router02, "factory()", returns="(address)") == book.v3_factory
    assert rpc.read(book.v2_router, "factory()", returns="(address)") == book.v2_factory
    assert rpc.read(book.multicall3, "getChainId()") == chain_id


@BOTH
def test_permit2_signs_for_its_own_chain(chains: Pair, chain_id: int) -> None:
    book = chains.book(chain_id)
    found = chains.rpc(chain_id).read(book.permit2, "DOMAIN_SEPARATOR()", returns="(bytes32)")
    assert found == domain_separator(chain_id, book.permit2)


def test_permit2_separator_is_the_published_one_of_mainnet() -> None:
    published = "866a5aba21966af95d6c7ab78eb2b2fc913915c28be3b9aa07cc04ff903e3f28"
    assert domain_separator(1, BOOKS[ETHEREUM].permit2).hex() == published


def test_pools_have_the_addresses_they_have_in_the_world(chains: Pair) -> None:
    found = {pool.address for chain_id in BOOKS for pool in chains.pools(chain_id)}
    assert {
        "0xb4e16d0168e52d35cacd2c6185b44281ec28c9dc",  # V2 USDC/WETH
        "0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640",  # V3 USDC/WETH 0.05 %
        "0xcbcdf9626bc03e24f779434178a73a0b4bad62ed",  # V3 WBTC/WETH 0.3 %
        "0xc6962004f452be9203591991d15f6b388e09e8d0",  # V3 WETH/USDC 0.05 % on Arbitrum
    } <= found


@BOTH
def test_every_pool_quotes_near_the_price(chains: Pair, chain_id: int) -> None:
    book, rpc = chains.book(chain_id), chains.rpc(chain_id)
    pools = [pool for pool in chains.pools(chain_id) if pool.kind == "v3"]
    assert {pool.fee for pool in pools} == {100, 500, 3_000, 10_000}
    for pool in pools:
        if book.weth not in (pool.token0, pool.token1):
            continue
        other = pool.token0 if pool.token1 == book.weth else pool.token1
        order = (book.weth, other, 10**18, pool.fee, 0)
        out, *_ = rpc.read(book.v3_quoter, QUOTE, order, returns="(uint256,uint160,uint32,uint256)")
        fair = 5_000_000 if other == book.wbtc else 3_000_000_000
        assert fair * 985 // 1_000 < out < fair


@BOTH
def test_a_swap_pays_what_the_quoter_said(chains: Pair, chain_id: int) -> None:
    book, rpc = chains.book(chain_id), chains.rpc(chain_id)
    chains.fund(chain_id, WHO, ETH=10**18, WETH=10**18)
    quoted, *_ = rpc.read(
        book.v3_quoter,
        QUOTE,
        (book.weth, book.usdc, 10**18, 500, 0),
        returns="(uint256,uint160,uint32,uint256)",
    )
    swap(chains, chain_id, 10**18, least=quoted)
    after = chains.balances(chain_id, WHO)
    assert (after["WETH"], after["USDC"]) == (0, quoted)


def test_a_swap_below_its_limit_reverts(chains: Pair) -> None:
    chains.fund(ETHEREUM, WHO, ETH=10**18, WETH=10**18)
    with pytest.raises(Rejected, match="Too little received"):
        swap(chains, ETHEREUM, 10**18, least=10**12)


@BOTH
def test_v2_router_swaps(chains: Pair, chain_id: int) -> None:
    book, rpc = chains.book(chain_id), chains.rpc(chain_id)
    chains.fund(chain_id, WHO, ETH=10**18, DAI=3_000 * 10**18)
    rpc("anvil_impersonateAccount", WHO)
    approve = call_data("approve(address,uint256)", book.v2_router, 2**255)
    signature = "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)"
    data = call_data(signature, 3_000 * 10**18, 0, [book.dai, book.weth], WHO, 2**40)
    rpc.transact(
        [
            {"from": WHO, "to": book.dai, "data": approve},
            {"from": WHO, "to": book.v2_router, "data": data},
        ]
    )
    assert 99 * 10**16 < chains.balances(chain_id, WHO)["WETH"] < 10**18


def test_each_test_starts_from_the_same_chains(chains: Pair) -> None:
    assert set(chains.balances(ETHEREUM, WHO).values()) == {0}


@BOTH
def test_funding_mints_exactly_and_stays_backed(chains: Pair, chain_id: int) -> None:
    amounts = {"ETH": 7, "WETH": 6, "USDC": 5, "USDT": 4, "WBTC": 3, "DAI": 2}
    chains.fund(chain_id, WHO, **amounts)
    chains.fund(chain_id, WHO, **amounts)
    assert chains.balances(chain_id, WHO) == {name: 2 * units for name, units in amounts.items()}
    rpc, weth = chains.rpc(chain_id), chains.book(chain_id).weth
    assert int(rpc("eth_getBalance", weth, "latest"), 16) == rpc.read(weth, "totalSupply()")


def test_manual_mining_waits_and_history_can_be_read(new_chains: Callable[..., Pair]) -> None:
    pair = new_chains(mining="manual")
    rpc = pair.rpc(ETHEREUM)
    before = int(rpc("eth_blockNumber"), 16)
    pair.mine(ETHEREUM, 5)
    assert int(rpc("eth_blockNumber"), 16) == before + 5
    assert int(rpc("eth_getBalance", WHO, hex(before)), 16) == 0
    heads = [rpc("eth_getBlockByNumber", tag, False)["number"] for tag in ("safe", "finalized")]
    assert [int(head, 16) for head in heads] == [before + 4, before + 3]
    rpc("anvil_reorg", 2, [])
    assert int(rpc("eth_blockNumber"), 16) == before + 5


def test_blank_chains_have_contracts_and_no_pool(new_chains: Callable[..., Pair]) -> None:
    pair = new_chains(mining="auto", seeded=False)
    assert pair.pools(ETHEREUM) == ()
    assert pair.rpc(ARBITRUM).read(BOOKS[ARBITRUM].v2_factory, "allPairsLength()") == 0


def test_blocks_come_by_themselves_and_carry_the_present(new_chains: Callable[..., Pair]) -> None:
    rpc = new_chains(mining="interval", block_time_s=0.1).rpc(ARBITRUM)
    before = int(rpc("eth_blockNumber"), 16)
    eventually(lambda: int(rpc("eth_blockNumber"), 16) >= before + 5)
    said = int(rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    assert abs(said - time.time()) < 3


def _genesis(pair: Pair) -> list[str]:
    return [pair.rpc(chain_id)("eth_getBlockByNumber", "0x0", False)["hash"] for chain_id in BOOKS]


def test_a_clean_stop_keeps_chain_ports_and_identity(
    new_chains: Callable[..., Pair], tmp_path: Path
) -> None:
    first = new_chains(mining="auto", folder=tmp_path)
    first.fund(ETHEREUM, WHO, ETH=10**18, WETH=10**18)
    swap(first, ETHEREUM, 10**18)
    held, genesis = first.balances(ETHEREUM, WHO), _genesis(first)
    head = first.rpc(ETHEREUM)("eth_getBlockByNumber", "latest", False)
    ports = [each.port for each in first.endpoints.values()]
    for _ in range(2):  # the second restart loads what a restarted chain wrote
        first.chains.stop()
        first.close()
        first.chains.start()
        assert [each.port for each in first.endpoints.values()] == ports
        assert _genesis(first) == genesis
        assert first.balances(ETHEREUM, WHO) == held
        found = first.rpc(ETHEREUM)("eth_getBlockByHash", head["hash"], False)
        assert found["transactions"] == head["transactions"]
        receipt = first.rpc(ETHEREUM)("eth_getTransactionReceipt", head["transactions"][0])
        assert receipt["blockHash"] == head["hash"]


def test_a_killed_node_is_noticed_and_comes_back_from_its_last_save(
    new_chains: Callable[..., Pair], tmp_path: Path
) -> None:
    pair = new_chains(mining="auto", folder=tmp_path, save_every_s=0.2)
    pair.fund(ETHEREUM, WHO, USDC=77)
    saved = tmp_path / "1" / "saved.json"
    funded = time.time()
    eventually(lambda: saved.exists() and saved.stat().st_mtime > funded + 0.5, seconds=30)
    was = pair.endpoints[ETHEREUM]
    os.kill(was.pid, signal.SIGKILL)
    eventually(lambda: not pair.chains.healthy(ETHEREUM))
    assert pair.chains.healthy(ARBITRUM)
    now = pair.chains.restart(ETHEREUM)
    assert (now.port, now.genesis_hash) == (was.port, was.genesis_hash)
    assert now.instance_id != was.instance_id
    assert not same_node(was)
    pair.close()
    assert pair.balances(ETHEREUM, WHO)["USDC"] == 77


def test_a_state_that_cannot_be_saved_does_not_stop_the_blocks(
    new_chains: Callable[..., Pair], tmp_path: Path
) -> None:
    pair = new_chains(mining="interval", block_time_s=0.1, folder=tmp_path, save_every_s=0.2)
    shutil.rmtree(tmp_path / "1")
    start = int(pair.rpc(ETHEREUM)("eth_blockNumber"), 16)
    eventually(lambda: int(pair.rpc(ETHEREUM)("eth_blockNumber"), 16) > start + 10, seconds=30)


def test_a_restart_that_fails_can_be_tried_again(
    new_chains: Callable[..., Pair], tmp_path: Path
) -> None:
    pair = new_chains(mining="auto", folder=tmp_path)
    loaded = tmp_path / "1" / "loaded.json"
    good = loaded.read_bytes()
    loaded.write_bytes(b"{}")
    os.kill(pair.endpoints[ETHEREUM].pid, signal.SIGKILL)
    with pytest.raises(Transient, match="did not start"):
        pair.chains.restart(ETHEREUM)
    assert ETHEREUM in pair.endpoints
    assert not pair.chains.healthy(ETHEREUM)
    loaded.write_bytes(good)
    pair.chains.restart(ETHEREUM)
    assert pair.chains.healthy(ETHEREUM)


def test_a_half_written_state_is_not_loaded(
    new_chains: Callable[..., Pair], tmp_path: Path
) -> None:
    pair = new_chains(mining="auto", folder=tmp_path)
    pair.fund(ETHEREUM, WHO, USDC=5)
    pair.chains.stop()
    ended = tmp_path / "1" / "ended.json"
    (tmp_path / "1" / "saved.json").write_bytes(ended.read_bytes())
    ended.write_bytes(ended.read_bytes()[:-1_000])
    pair.close()
    pair.chains.start()
    assert pair.balances(ETHEREUM, WHO)["USDC"] == 5


def test_a_folder_runs_one_pair_at_a_time(
    chain_bundle: Bundle, seeded_states: StateFiles, tmp_path: Path
) -> None:
    options = both(NodeOptions(mining="auto"))
    with Chains(chain_bundle, seeded_states, folder=tmp_path, options=options):
        second = Chains(chain_bundle, seeded_states, folder=tmp_path, options=options)
        with pytest.raises(Rejected, match="already run"):
            second.start()


def test_nothing_is_left_when_the_owner_is_killed(
    chain_cache: Path, chain_bundle: Bundle, tmp_path: Path
) -> None:
    """A killed platform leaves no node behind, and what the nodes held is written."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from sep_ray.devnet.packages import install\n"
        "from sep_ray.devnet.build import build_states\n"
        "from sep_ray.devnet.chains import Chains\n"
        "cache = Path(sys.argv[1]); bundle = install(cache)\n"
        "chains = Chains(bundle, build_states(bundle, cache), folder=Path(sys.argv[2]))\n"
        "print(*[each.pid for each in chains.start().values()], flush=True)\n"
        "time.sleep(60)\n"
    )
    arguments = [sys.executable, "-c", script, str(chain_cache), str(tmp_path)]
    owner = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(word) for word in owner.stdout.readline().split()]
    assert len(pids) == 2
    owner.kill()
    owner.wait()
    owner.stdout.close()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    eventually(lambda: (tmp_path / "1" / "ended.json").exists())


def test_history_is_bounded_in_memory_and_absent_on_disk(new_chains: Callable[..., Pair]) -> None:
    pair = new_chains(mining="interval", block_time_s=0.25)
    rpc, pid = pair.rpc(ETHEREUM), pair.endpoints[ETHEREUM].pid
    pair.mine(ETHEREUM, 200)
    with pytest.raises(RpcRefused):
        rpc("eth_getBalance", WHO, "0x3")
    resident = next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    assert resident < 200_000
