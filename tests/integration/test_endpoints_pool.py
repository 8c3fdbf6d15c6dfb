"""Several endpoints of a real chain: no minority moves money, the honest ones set the pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from sep_ray.adapters.evm.addresses import ETHEREUM
from sep_ray.adapters.evm.chain import EvmChain
from sep_ray.adapters.evm.endpoints import Access, Way, reach
from sep_ray.adapters.evm.rpc import RpcRefused
from sep_ray.adapters.evm.signer import LocalSigner
from sep_ray.devnet.faults import Fault, FaultProxy, Rule
from sep_ray.execution import verdict
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import Call, EndpointState, Head, Unsigned
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import NATIVE, Asset
from tests.fixtures.chains import Pair
from tests.fixtures.eventually import eventually

GWEI = 10**9
COIN = Asset(ETHEREUM, NATIVE)
SEND = "eth_sendRawTransaction"
RECEIPT = "eth_getTransactionReceipt"
FORGED = Rule(fault=Fault.FORGE, methods=(RECEIPT,), result={"status": "0x0", "gasUsed": "0x1"})
LIE = Rule(fault=Fault.LIE)


@dataclass
class Three:
    """A chain behind three proxies, and the way to it."""

    pair: Pair
    proxies: list[FaultProxy]
    way: Way
    chain: EvmChain
    signer: LocalSigner = field(default_factory=lambda: LocalSigner(b"\x44" * 32))

    async def sign(self, nonce: int, data: str = "0x", fee: int = 100 * GWEI) -> Signed:
        tx = Unsigned(
            chain_id=ETHEREUM,
            nonce=nonce,
            call=Call(to="0x" + "0e" * 20, data=data),
            gas_limit=50_000,
            max_fee_wei=fee,
            tip_wei=fee // 10,
        )
        return (await self.signer.sign([tx]))[0]

    async def land(self, nonce: int) -> Signed:
        signed = await self.sign(nonce)
        await self.chain.send([signed])
        self.pair.mine(1)
        return signed

    def states(self) -> list[EndpointState]:
        return [each.state for each in self.way.status()]

    async def until(self, check: Callable[[], object]) -> None:
        await asyncio.to_thread(eventually, check)

    def pooled(self, signed: Signed) -> bool:
        return self.pair.rpc(1)("eth_getTransactionByHash", signed.tx_hash) is not None


@pytest.fixture
def pair(new_chains: Callable[..., Pair]) -> Pair:
    found = new_chains(seeded=False)
    found.rpc(1)("anvil_setBalance", LocalSigner(b"\x44" * 32).address, hex(10**20))
    found.mine(1, 5)
    return found


@asynccontextmanager
async def three(pair: Pair, **options: object) -> AsyncIterator[Three]:
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(FaultProxy(pair.url(1))) for _ in range(4)]
        private = proxies.pop()
        if options.pop("hide", False):
            options["private"] = private.http
        access = Access(urls=tuple(p.http for p in proxies), needed=2, **options)  # type: ignore[arg-type]
        way = await stack.enter_async_context(reach(access, 0.02, timeout_s=60.0))
        yield Three(pair, [*proxies, private], way, EvmChain(way.node, way.feed))


async def test_p7_two_that_lie_differently_credit_nothing(pair: Pair) -> None:
    """P7: with one honest endpoint of three there is no agreement, and the evidence says why."""
    async with three(pair) as place:
        signed = await place.land(0)
        place.proxies[0].add(FORGED)
        place.proxies[1].add(Rule(fault=Fault.FORGE, methods=(RECEIPT,), result={"logs": [{}]}))
        with pytest.raises(Transient) as caught:
            await place.chain.receipts([signed.tx_hash])
        evidence = caught.value.facts["evidence"]
        assert all(proxy.http[7:] in evidence for proxy in place.proxies[:3])
        assert '"gasUsed": "0x1"' in evidence


async def test_p7_a_liar_a_laggard_and_a_dead_one_credit_nothing(pair: Pair) -> None:
    async with three(pair) as place:
        signed = await place.land(0)
        before, head = await place.chain.headers([1]), await place.chain.head()
        place.proxies[0].add(LIE)
        place.proxies[0].add(FORGED)
        place.proxies[1].add(Rule(fault=Fault.LAG, blocks=1))
        place.proxies[2].add(Rule(fault=Fault.CUT))
        with pytest.raises(Transient):
            await place.chain.receipts([signed.tx_hash])
        with pytest.raises(Transient):
            await place.chain.headers([head.number])
        with pytest.raises(Transient):
            await place.chain.state(place.signer.address, [COIN], head)
        place.proxies[2].rules.clear()
        with pytest.raises(Transient):
            await place.chain.headers([head.number])
        assert await place.chain.headers([1]) == before


async def test_the_liar_is_outvoted_caught_and_asked_last(pair: Pair) -> None:
    async with three(pair) as place:
        signed = await place.land(0)
        place.proxies[0].add(FORGED)
        place.way.endpoints[0].health.latency_s = 0.0  # the liar is asked first
        (receipt,) = await place.chain.receipts([signed.tx_hash])
        assert receipt is not None
        assert receipt.succeeded
        assert place.states() == [EndpointState.QUARANTINED, EndpointState.OK, EndpointState.OK]
        liar = place.way.status()[0]
        assert liar.offences == 1
        assert "gasUsed" in liar.evidence or "status" in liar.evidence
        struck = place.proxies[0].rules.counts["forge"]
        await place.chain.receipts([signed.tx_hash])
        assert place.proxies[0].rules.counts["forge"] == struck


async def test_a_block_hash_of_ones_own_is_a_lie(pair: Pair) -> None:
    async with three(pair) as place:
        place.proxies[1].add(LIE)
        head = await place.chain.head()
        assert head.hash == pair.rpc(1)("eth_getBlockByNumber", "latest", False)["hash"]
        place.way.endpoints[1].health.latency_s = 0.0
        await place.chain.headers([head.number])
        assert place.states()[1] is EndpointState.QUARANTINED


async def test_reads_go_on_while_endpoints_fail_and_the_slow_are_not_waited_for(pair: Pair) -> None:
    async with three(pair) as place:
        await place.chain.head()
        place.proxies[0].add(Rule(fault=Fault.FAIL, status=503))
        assert await place.chain.usual_tip() >= 0
        assert await place.chain.head()
        place.proxies[0].rules.clear()
        place.proxies[0].add(Rule(fault=Fault.DELAY, delay_ms=60_000))
        async with asyncio.timeout(30):
            assert await place.chain.headers([1])
        struck = place.proxies[0].rules.counts["delay"]
        for _ in range(3):
            await place.chain.headers([1])
        assert place.proxies[0].rules.counts["delay"] == struck


async def test_a_refusal_all_share_is_a_refusal(pair: Pair) -> None:
    async with three(pair) as place:
        with pytest.raises(RpcRefused):
            await place.way.node.request("eth_call", [{"data": "0xfe", "gas": "0x9"}, "latest"])
        with pytest.raises(RpcRefused):
            await place.way.node.request("eth_nonsense")


async def test_bytes_reach_all_and_one_that_takes_them_is_enough(pair: Pair) -> None:
    async with three(pair) as place:
        place.proxies[0].add(Rule(fault=Fault.CUT, methods=(SEND,)))
        place.proxies[1].add(Rule(fault=Fault.FAIL, methods=(SEND,), text="txpool is full"))
        signed = await place.sign(0)
        (found,) = await place.chain.send([signed])
        assert isinstance(found, verdict.Accepted)
        assert place.proxies[0].rules.counts["cut"] == 1
        place.proxies[2].add(Rule(fault=Fault.FAIL, methods=(SEND,), text="nonce too low"))
        (found,) = await place.chain.send([await place.sign(1)])
        assert isinstance(found, verdict.Indeterminate)
        place.proxies[0].rules.clear()
        place.proxies[0].add(
            Rule(fault=Fault.FAIL, methods=(SEND,), text="exceeds block gas limit")
        )
        (found,) = await place.chain.send([await place.sign(1)])
        assert found == verdict.Rejected(verdict.Refusal.NONCE_TOO_LOW, "nonce too low")


async def test_a_slow_endpoint_does_not_hold_up_what_another_took(pair: Pair) -> None:
    async with three(pair) as place:
        place.proxies[0].add(Rule(fault=Fault.DELAY, methods=(SEND,), delay_ms=60_000))
        signed = await place.sign(0)
        async with asyncio.timeout(30):
            (found,) = await place.chain.send([signed])
        assert isinstance(found, verdict.Accepted)


async def next_heads(place: Three, count: int, seconds: float = 10.0) -> list[Head]:
    found: list[Head] = []
    async with asyncio.timeout(seconds), aclosing(place.way.feed.heads()) as heads:
        async for head in heads:
            found.append(head)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize(
    "rule",
    [
        LIE,
        Rule(fault=Fault.LAG, blocks=2),
        Rule(fault=Fault.CUT),
        Rule(fault=Fault.DROP, methods=("newHeads",)),
    ],
    ids=lambda rule: rule.fault.value,
)
async def test_heads_are_those_of_the_majority_in_order_and_whole(pair: Pair, rule: Rule) -> None:
    start = int(pair.rpc(1)("eth_blockNumber"), 16)
    async with three(pair) as place:
        place.proxies[1].add(rule)
        seen = asyncio.create_task(next_heads(place, 6, seconds=60))
        while not seen.done():
            await asyncio.sleep(0.05)
            pair.mine(1)
        heads = await seen
    numbers = [head.number for head in heads]
    assert numbers == list(range(numbers[0], numbers[0] + 6))
    assert start <= numbers[0]
    real = [pair.rpc(1)("eth_getBlockByNumber", hex(n), False)["hash"] for n in numbers]
    assert [head.hash for head in heads] == real


async def test_one_that_stays_behind_is_seen_to_lag(pair: Pair) -> None:
    async with three(pair) as place:
        place.proxies[2].add(Rule(fault=Fault.LAG, blocks=4))
        async with following(place):
            pair.mine(1, 5)
            await place.until(lambda: place.states()[2] is EndpointState.LAGGING)
            assert place.way.status()[2].lag_blocks >= 3


async def test_a_subscription_that_is_cut_or_falls_silent_is_made_up_for(pair: Pair) -> None:
    async with three(pair) as place:
        seen = asyncio.create_task(next_heads(place, 9, seconds=60))
        await place.until(lambda: all(each.head for each in place.way.status()))
        for _ in range(3):
            pair.mine(1)
            await asyncio.sleep(0.05)
        for proxy in place.proxies:
            proxy.cut()
        for _ in range(3):
            pair.mine(1)
        await asyncio.sleep(0.5)
        for proxy in place.proxies:
            proxy.add(Rule(fault=Fault.DROP, methods=("newHeads",)))
        for _ in range(3):
            pair.mine(1)
        numbers = [head.number for head in await seen]
    assert numbers == list(range(numbers[0], numbers[0] + 9))


async def test_what_may_revert_is_hidden_for_some_blocks_and_then_told_to_all(pair: Pair) -> None:
    async with three(pair, hide=True, private_blocks=3) as place:
        private = place.proxies[3]
        private.add(Rule(fault=Fault.SWALLOW))
        async with following(place):
            signed = await place.sign(0, data="0xabcdef")
            assert await place.chain.send([signed]) == (verdict.Accepted(),)
            dearer = await place.sign(0, data="0xabcdef", fee=120 * GWEI)
            pair.mine(1, 2)
            await place.chain.send([dearer])
            assert not place.pooled(signed)
            assert not place.pooled(dearer)
            target = int(pair.rpc(1)("eth_blockNumber"), 16) + 1
            pair.mine(1)
            await place.until(lambda: min(each.head or 0 for each in place.way.status()) >= target)
            await place.chain.send([dearer])
            await place.until(lambda: place.pooled(dearer))
            plain = await place.sign(1)
            await place.chain.send([plain])
            await place.until(lambda: place.pooled(plain))
        hidden = {signed.tx_hash, dearer.tx_hash, plain.tx_hash}
        assert set(private.waiting.swallowed) == hidden


async def test_a_restart_neither_forgets_nor_begins_anew_how_long_something_was_hidden(
    pair: Pair,
) -> None:
    async with three(pair, hide=True, private_blocks=3) as place:
        place.proxies[3].add(Rule(fault=Fault.SWALLOW))
        async with following(place):
            signed = await place.sign(0, data="0xabcdef")
            await place.chain.send([signed])
    first = int(pair.rpc(1)("eth_blockNumber"), 16)
    pair.mine(1, 3)
    async with three(pair, hide=True, private_blocks=3) as place, following(place):
        place.proxies[3].add(Rule(fault=Fault.SWALLOW))
        await place.chain.send([signed], [first + 1])
        assert not place.pooled(signed)
        await place.chain.send([signed], [first])
        await place.until(lambda: place.pooled(signed))


@asynccontextmanager
async def following(place: Three) -> AsyncIterator[None]:
    """Let the endpoints' heads be known."""
    task = asyncio.create_task(next_heads(place, 1_000, seconds=60))
    try:
        await place.until(lambda: all(each.head for each in place.way.status()))
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_another_chains_endpoint_is_refused_and_too_few_are_waited_for(
    new_chains: Callable[..., Pair],
) -> None:
    pair = new_chains(seeded=False)
    url = pair.url(1)
    async with reach(Access(urls=(url, pair.url(42161), url), needed=2), 1.0) as way:
        with pytest.raises(Rejected, match="another chain"):
            await way.check(1)
    nobody = "http://127.0.0.1:9"
    async with reach(Access(urls=(url, nobody, nobody), needed=2), 1.0) as way:
        with pytest.raises(Transient, match="too few"):
            await way.check(1)
    async with reach(Access(urls=(url, nobody, url), needed=2), 1.0) as way:
        await way.check(1)
