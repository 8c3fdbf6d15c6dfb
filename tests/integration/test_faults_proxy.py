"""The misbehaving node, in front of a real one: each fault does what it says, and no more."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from sep_ray.adapters.evm.rpc import EvmRpc, RpcRefused
from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.devnet.faults import Fault, FaultProxy, Rule, spawn_proxy
from sep_ray.devnet.rpc import Rpc
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.execution.verdict import Answered, Lost, Refused
from sep_ray.kernel.errors import Indeterminate, Rejected, Transient
from sep_ray.kernel.units import ChainId
from tests.fixtures.chains import Pair
from tests.fixtures.eventually import eventually

GWEI = 10**9
SEND = "eth_sendRawTransaction"


@dataclass
class Place:
    """A chain that mines when told, a proxy before it, a client of the proxy, and a signer."""

    pair: Pair
    proxy: FaultProxy
    rpc: EvmRpc
    signer: LocalSigner = field(default_factory=lambda: LocalSigner(b"\x44" * 32))

    async def sign(self, nonce: int, fee: int = 100 * GWEI, tip: int = 10 * GWEI) -> Signed:
        to = Call(to="0x" + "0e" * 20)
        tx = Unsigned(
            chain_id=ChainId(1),
            nonce=nonce,
            call=to,
            gas_limit=21_000,
            max_fee_wei=fee,
            tip_wei=tip,
        )
        return (await self.signer.sign([tx]))[0]

    async def send(self, signed: Signed) -> object:
        (reply,) = await self.rpc.replies([(SEND, [signed.raw])])
        return reply

    def real(self, method: str, *params: object) -> Any:
        """Ask the node itself."""
        return self.pair.rpc(1)(method, *params)


@pytest.fixture
def pair(new_chains: Callable[..., Pair]) -> Pair:
    found = new_chains(seeded=False)
    found.rpc(1)("anvil_setBalance", LocalSigner(b"\x44" * 32).address, hex(10**20))
    found.mine(1, 5)
    return found


@pytest.fixture
async def place(pair: Pair) -> AsyncIterator[Place]:
    async with FaultProxy(pair.url(1), seed=7) as proxy:
        rpc = EvmRpc(proxy.http + "/v3/key", timeout_s=5)
        yield Place(pair, proxy, rpc)
        await rpc.close()


async def test_without_rules_it_is_the_node(place: Place) -> None:
    head = place.real("eth_getBlockByNumber", "latest", False)
    assert await place.rpc.request("eth_getBlockByNumber", ["latest", False]) == head
    assert await place.rpc.batch([("eth_blockNumber", []), ("eth_chainId", [])]) == [
        head["number"],
        "0x1",
    ]
    signed = await place.sign(0)
    assert await place.send(signed) == Answered(signed.tx_hash)
    with pytest.raises(RpcRefused):
        await place.rpc.request("eth_nonsense")


async def test_a_dropped_answer_was_forwarded_once(place: Place) -> None:
    place.proxy.add(Rule(fault=Fault.DROP, methods=(SEND,), count=1))
    signed = await place.sign(0)
    with pytest.raises(Indeterminate):
        await place.rpc.request(SEND, [signed.raw])
    assert place.real("eth_getTransactionByHash", signed.tx_hash)
    assert await place.send(signed) == Refused(-32003, "transaction already imported")


async def test_a_cut_connection_forwards_nothing(place: Place) -> None:
    place.proxy.add(Rule(fault=Fault.CUT, methods=(SEND,), count=1))
    signed = await place.sign(0)
    assert isinstance(await place.send(signed), Lost)
    assert place.real("eth_getTransactionByHash", signed.tx_hash) is None


async def test_failures_by_status_by_error_and_with_a_made_up_answer(place: Place) -> None:
    place.proxy.add(Rule(fault=Fault.FAIL, methods=("eth_chainId",), status=503, count=1))
    with pytest.raises(Transient):
        await place.rpc.request("eth_chainId")
    place.proxy.add(Rule(fault=Fault.FAIL, methods=("eth_call",), code=-32_005, text="busy"))
    assert (await place.rpc.replies([("eth_chainId", []), ("eth_call", [])])) == [
        Answered("0x1"),
        Refused(-32_005, "busy"),
    ]
    place.proxy.add(Rule(fault=Fault.ANSWER, methods=("eth_chainId",), result="0x5"))
    assert await place.rpc.request("eth_chainId") == "0x5"


async def test_a_delay_outlasts_an_impatient_client(place: Place) -> None:
    place.proxy.add(Rule(fault=Fault.DELAY, methods=(SEND,), delay_ms=200, count=1))
    hasty = EvmRpc(place.proxy.http, timeout_s=0.05)
    signed = await place.sign(0)
    with pytest.raises(Indeterminate):
        await hasty.request(SEND, [signed.raw])
    await hasty.close()


async def test_swallowed_bytes_never_arrive(place: Place) -> None:
    place.proxy.add(Rule(fault=Fault.SWALLOW, count=1))
    signed = await place.sign(0)
    assert await place.send(signed) == Answered(signed.tx_hash)
    place.pair.mine(1)
    assert place.real("eth_getTransactionByHash", signed.tx_hash) is None
    assert place.proxy.waiting.swallowed == [signed.tx_hash]


async def test_held_bytes_arrive_when_released(place: Place) -> None:
    rule = place.proxy.add(Rule(fault=Fault.HOLD))
    signed = [await place.sign(0), await place.sign(1)]
    for each in signed:
        assert await place.send(each) == Answered(each.tx_hash)
    assert await place.send(signed[0]) == Refused(-32000, "already known")
    place.pair.mine(1)
    place.proxy.rules.remove(rule)
    assert await place.proxy.release() == [each.tx_hash for each in signed]
    place.pair.mine(1)
    for each in signed:
        assert await place.rpc.request("eth_getTransactionReceipt", [each.tx_hash])


async def test_a_lagging_node_knows_nothing_newer(place: Place) -> None:
    signed = await place.sign(0)
    await place.send(signed)
    place.pair.mine(1)
    head = place.real("eth_getBlockByNumber", "latest", False)
    number = int(head["number"], 16)
    rule = place.proxy.add(Rule(fault=Fault.LAG, blocks=2))
    ask = place.rpc.request
    assert int(await ask("eth_blockNumber"), 16) == number - 2
    assert int((await ask("eth_getBlockByNumber", ["latest", False]))["number"], 16) == number - 2
    assert await ask("eth_getBlockByNumber", [hex(number - 1), False]) is None
    assert await ask("eth_getBlockByHash", [head["hash"], False]) is None
    assert await ask("eth_getTransactionReceipt", [signed.tx_hash]) is None
    assert (await ask("eth_getTransactionByHash", [signed.tx_hash]))["blockNumber"] is None
    who = place.signer.address
    assert await ask("eth_getTransactionCount", [who]) == "0x0"
    assert await ask("eth_getTransactionCount", [who, "latest"]) == "0x0"
    with pytest.raises(Transient):
        await ask("eth_getTransactionCount", [who, {"blockHash": head["hash"]}])
    with pytest.raises(Transient):
        await ask("eth_getBalance", [who, hex(number)])
    logs = {"fromBlock": hex(number), "toBlock": hex(number)}
    assert await ask("eth_getLogs", [logs]) == []
    place.proxy.rules.remove(rule)
    assert await ask("eth_getTransactionCount", [who, "latest"]) == "0x1"


async def test_a_liar_has_a_chain_of_its_own_that_hangs_together(place: Place) -> None:
    head = place.real("eth_getBlockByNumber", "latest", False)
    number = int(head["number"], 16)
    place.proxy.add(Rule(fault=Fault.LIE, first_block=number - 1))
    numbers = [hex(n) for n in (number - 2, number - 1, number)]
    told = await place.rpc.batch([("eth_getBlockByNumber", [n, False]) for n in numbers])
    real = [place.real("eth_getBlockByNumber", n, False) for n in numbers]
    assert [a["hash"] == b["hash"] for a, b in zip(told, real, strict=True)] == [True, False, False]
    assert [block["parentHash"] for block in told[1:]] == [block["hash"] for block in told[:2]]
    found = await place.rpc.request("eth_getBlockByHash", [told[2]["hash"], False])
    assert found == told[2]
    where = [place.signer.address, {"blockHash": told[2]["hash"]}]
    assert int(await place.rpc.request("eth_getBalance", where), 16) == 10**20


async def test_fields_of_an_answer_are_forged(place: Place) -> None:
    signed = await place.sign(0)
    await place.send(signed)
    place.proxy.add(Rule(fault=Fault.FORGE, result={"status": "0x0"}))
    assert await place.rpc.request("eth_getTransactionReceipt", [signed.tx_hash]) is None
    place.pair.mine(1)
    receipt = await place.rpc.request("eth_getTransactionReceipt", [signed.tx_hash])
    real = place.real("eth_getTransactionReceipt", signed.tx_hash)
    assert receipt == {**real, "status": "0x0"}


@pytest.mark.parametrize("held", [False, True])
async def test_geths_rule_for_replacements(place: Place, held: bool) -> None:
    place.proxy.waiting.strict = True
    rule = place.proxy.add(Rule(fault=Fault.HOLD)) if held else 0
    low = Refused(-32000, "replacement transaction underpriced")
    await place.send(await place.sign(0, 100 * GWEI, 10 * GWEI))
    assert await place.send(await place.sign(0, 110 * GWEI - 1, 20 * GWEI)) == low
    assert await place.send(await place.sign(0, 200 * GWEI, 11 * GWEI - 1)) == low
    assert await place.send(await place.sign(1, 100 * GWEI, GWEI)) != low
    enough = await place.sign(0, 110 * GWEI, 11 * GWEI)
    assert await place.send(enough) == Answered(enough.tx_hash)
    place.proxy.rules.remove(rule)
    await place.proxy.release()
    place.pair.mine(1)
    assert place.real("eth_getTransactionReceipt", enough.tx_hash)
    (late,) = await place.rpc.replies([(SEND, [(await place.sign(0, 111 * GWEI)).raw])])
    assert late == Refused(-32003, "nonce too low")


@asynccontextmanager
async def subscription(url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        ask = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
        await socket.send_json(ask)
        assert "result" in await socket.receive_json(timeout=5)
        yield socket


async def next_head(socket: aiohttp.ClientWebSocketResponse) -> int:
    message = await socket.receive_json(timeout=5)
    return int(message["params"]["result"]["number"], 16)


async def test_heads_come_through_late_forged_lost_or_not_at_all(place: Place) -> None:
    start = int(place.real("eth_blockNumber"), 16)
    async with subscription(place.proxy.ws) as socket:
        place.pair.mine(1)
        assert await next_head(socket) == start + 1
        lag = place.proxy.add(Rule(fault=Fault.LAG, methods=("newHeads",), blocks=2))
        place.pair.mine(1)
        assert await next_head(socket) == start
        place.proxy.rules.remove(lag)
        place.proxy.add(Rule(fault=Fault.DROP, methods=("newHeads",), count=1))
        place.pair.mine(1)
        place.proxy.add(Rule(fault=Fault.LIE, methods=("newHeads",)))
        place.pair.mine(1)
        message = await socket.receive_json(timeout=5)
        told = message["params"]["result"]
        assert int(told["number"], 16) == start + 4
        assert told["hash"] != place.real("eth_getBlockByNumber", "latest", False)["hash"]
        await socket.send_json({"jsonrpc": "2.0", "id": 9, "method": "eth_chainId", "params": []})
        assert (await socket.receive_json(timeout=5))["result"] == "0x1"
        place.proxy.cut()
        end = await socket.receive(timeout=5)
        assert end.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_a_dead_node_is_a_cut_connection(pair: Pair) -> None:
    async with FaultProxy("http://127.0.0.1:9") as proxy:
        rpc = EvmRpc(proxy.http)
        with pytest.raises(Transient):
            await rpc.request("eth_chainId")
        await rpc.close()


async def test_same_seed_same_faults_through_the_wire(pair: Pair) -> None:
    async def run(seed: int) -> list[bool]:
        async with FaultProxy(pair.url(1), seed=seed) as proxy:
            proxy.add(Rule(fault=Fault.FAIL, probability_ppm=400_000))
            rpc = EvmRpc(proxy.http)
            found = await rpc.replies([("eth_chainId", [])] * 60)
            await rpc.close()
            return [isinstance(each, Answered) for each in found]

    first = await run(3)
    assert first == await run(3)
    assert first != await run(4)


def test_a_process_of_its_own_is_steered_killed_and_back_on_its_port(pair: Pair) -> None:
    proxy = spawn_proxy(pair.url(1), seed=5, strict_replacement=True)
    rpc = Rpc(proxy.http)
    try:
        assert rpc("eth_chainId") == "0x1"
        number = proxy.control.add(fault="fail", methods=["eth_chainId"], text="no", count=2)
        with pytest.raises(Rejected, match="no"):
            rpc("eth_chainId")
        shown = proxy.control.show()
        assert shown["counts"] == {"fail": 1}
        assert list(shown["rules"]) == [str(number)]
        proxy.control.remove(number)
        assert rpc("eth_chainId") == "0x1"
        with pytest.raises(Rejected, match="probability_ppm is out of range"):
            proxy.control.add(fault="fail", probability_ppm=-1)
        proxy.control.cut()
        proxy.control.clear()
        assert proxy.control.release() == []
        proxy.stop(signal.SIGKILL)
        with pytest.raises(Transient):
            rpc("eth_chainId")
        proxy = spawn_proxy(pair.url(1), port=proxy.port)
        assert rpc("eth_chainId") == "0x1"
    finally:
        rpc.close()
        proxy.stop()


def test_it_ends_with_the_process_that_started_it() -> None:
    code = (
        "import json; from sep_ray.devnet.faults import spawn_proxy;"
        "print(json.dumps(spawn_proxy('http://127.0.0.1:9').process.pid))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    pid = json.loads(out.stdout.splitlines()[-1])
    eventually(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_what_waits_does_not_keep_it_open(pair: Pair) -> None:
    async with FaultProxy(pair.url(1)) as proxy:
        proxy.add(Rule(fault=Fault.DELAY, delay_ms=60_000))
        rpc = EvmRpc(proxy.http)
        asked = asyncio.create_task(rpc.request("eth_chainId"))
        await asyncio.to_thread(eventually, lambda: proxy.rules.counts)
    with pytest.raises(Transient):
        await asked
    await rpc.close()
