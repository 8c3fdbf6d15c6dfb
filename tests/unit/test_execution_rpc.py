"""The JSON-RPC client under a hostile server: never resends, never lies, never shows its URL."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from sep_ray.adapters.evm.chain import EvmChain, parse_transfer
from sep_ray.adapters.evm.heads import HeadFeed
from sep_ray.adapters.evm.rpc import BATCH, EvmRpc, RpcRefused
from sep_ray.execution import verdict
from sep_ray.execution.attempt import Signed
from sep_ray.execution.verdict import Answered, Lost, Refused
from sep_ray.kernel.errors import Indeterminate, Rejected, Transient

SIGNED = Signed(raw="0x02", tx_hash="0x" + "ab" * 32, max_fee_wei=1, tip_wei=0, gas_limit=21_000)


class Server:
    """Answers as `answer(calls)` says; counts what arrives."""

    def __init__(self, answer):
        self.answer = answer
        self.seen = []

    async def handle(self, request):
        body = json.loads(await request.read())
        calls = body if isinstance(body, list) else [body]
        self.seen.append([call["method"] for call in calls])
        answer = self.answer(request, calls)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.json_response(answer if isinstance(body, list) else answer[0])


@asynccontextmanager
async def serving(answer, **options):
    server = Server(answer)
    app = web.Application()
    app.router.add_post("/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    rpc = EvmRpc(f"http://user:hush@127.0.0.1:{port}/v3/secretkey?k=hidden", **options)
    try:
        yield server, rpc
    finally:
        await rpc.close()
        await runner.cleanup()


def echo(_, calls):
    return [{"jsonrpc": "2.0", "id": c["id"], "result": c["params"]} for c in calls]


def refuse(code, message, data=None):
    def answer(_, calls):
        error = {"code": code, "message": message, "data": data}
        return [{"jsonrpc": "2.0", "id": c["id"], "error": error} for c in calls]

    return answer


def status(code, text="no"):
    return lambda request, calls: web.Response(status=code, text=text)


def cut(request, calls):
    request.transport.close()
    return web.Response()


async def hang(request, calls):
    await asyncio.sleep(0.5)
    return web.Response()


async def test_results_come_in_order_whatever_order_the_node_answers_in():
    async with serving(lambda r, c: echo(r, c)[::-1]) as (server, rpc):
        big = 2**255 + 1
        assert await rpc.request("a", [big]) == [big]
        calls = [("m", [n]) for n in range(BATCH + 7)]
        assert await rpc.batch(calls) == [[n] for n in range(BATCH + 7)]
        assert [len(each) for each in server.seen] == [1, BATCH, 7]


@pytest.mark.parametrize("fault", [cut, status(500), status(503, "x" * 999), status(200, "{")])
@pytest.mark.parametrize(
    ("method", "error"), [("eth_call", Transient), ("eth_sendRawTransaction", Indeterminate)]
)
async def test_p6_a_lost_reply_is_sent_once_and_named_for_what_it_is(fault, method, error):
    """P6: reads may be asked again; what writes may have happened."""
    async with serving(fault) as (server, rpc):
        with pytest.raises(error) as caught:
            await rpc.request(method)
        assert server.seen == [[method]]
        shown = str(caught.value)
        assert "secretkey" not in shown
        assert "hush" not in shown
        assert "hidden" not in shown


async def test_time_is_bounded():
    async with serving(hang, timeout_s=0.05) as (_, rpc):
        with pytest.raises(Transient):
            await rpc.request("eth_call")


async def test_too_many_requests_is_not_a_failure_of_the_request():
    async with serving(status(429)) as (server, rpc):
        with pytest.raises(Transient):
            await rpc.request("eth_call")
        assert len(server.seen) == 1


async def test_who_is_not_let_in_is_told_so():
    async with serving(status(401)) as (_, rpc):
        with pytest.raises(Rejected):
            await rpc.request("eth_call")


async def test_refusals_carry_the_nodes_words():
    async with serving(refuse(3, "execution reverted", "0x08c379a0")) as (_, rpc):
        with pytest.raises(RpcRefused) as caught:
            await rpc.batch([("eth_call", [])] * 2)
        assert caught.value.facts["code"] == 3
        assert caught.value.facts["data"] == "0x08c379a0"
    for code, text in ((-32005, "limit exceeded"), (-32000, "header not found")):
        async with serving(refuse(code, text)) as (_, rpc):
            with pytest.raises(Transient):
                await rpc.request("eth_call")


async def test_replies_never_raise():
    async with serving(cut) as (_, rpc):
        assert [type(r) for r in await rpc.replies([("eth_sendRawTransaction", ["0x"])] * 2)] == [
            Lost,
            Lost,
        ]
    async with serving(refuse(-32000, "nonce too low")) as (_, rpc):
        assert await rpc.replies([("x", [])]) == [Refused(-32000, "nonce too low")]
    async with serving(lambda r, c: [{"id": c[0]["id"]}]) as (_, rpc):
        (odd,) = await rpc.replies([("x", [])])
        assert isinstance(odd, Lost)
    async with serving(echo) as (_, rpc):
        assert await rpc.replies([("x", [1])]) == [Answered([1])]
    nobody = EvmRpc("http://127.0.0.1:9")
    assert [type(r) for r in await nobody.replies([("x", [])])] == [Lost]
    await nobody.close()


async def test_p6_bytes_that_may_have_arrived_are_unknown_not_failed():
    async with serving(cut) as (server, rpc):
        chain = EvmChain(rpc, HeadFeed(rpc, None, poll_s=1))
        (found,) = await chain.send([SIGNED])
        assert isinstance(found, verdict.Indeterminate)
        assert len(server.seen) == 1


async def test_a_batch_that_answers_in_part_is_unknown_as_a_whole():
    async with serving(lambda r, c: echo(r, c)[:1]) as (_, rpc):
        replies = await rpc.replies([("x", []), ("y", [])])
        assert [type(r) for r in replies] == [Lost, Lost]
        with pytest.raises(Transient):
            await rpc.batch([("x", []), ("y", [])])


def test_logs_that_are_no_erc20_transfer_are_left_out():
    topic = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    place = {"blockHash": "0x1", "transactionHash": "0x2", "logIndex": "0x0", "address": "0xAA"}
    word = "0x" + "00" * 31 + "07"
    parties = ["0x" + "00" * 12 + "aa" * 20, "0x" + "00" * 12 + "BB" * 20]
    good = parse_transfer({**place, "topics": [topic, *parties], "data": word})
    assert good is not None
    assert (good.units, good.target, good.token) == (7, "0x" + "bb" * 20, "0xaa")
    assert parse_transfer({**place, "topics": [topic, *parties, word], "data": "0x"}) is None
    assert parse_transfer({**place, "topics": [topic], "data": word}) is None
    assert parse_transfer({**place, "topics": [], "data": word}) is None


async def test_an_endpoint_whose_replies_cannot_be_read_rests_longer_each_time():
    def answer(request, calls):
        return (
            web.Response(status=503, text="busy") if len(server.seen) < 4 else echo(request, calls)
        )

    async with serving(answer) as (server, rpc):
        for failures in (1, 2, 3):
            with pytest.raises(Transient):
                await rpc.request("eth_blockNumber", [])
            assert (rpc.health.failures, rpc.health.latency_s) == (failures, None)
        await rpc.request("eth_blockNumber", [])
        assert rpc.health.failures == 0
        assert rpc.health.latency_s is not None
