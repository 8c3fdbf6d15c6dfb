"""A chain through one node: headers, receipts, accounts, and the way in for signed bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from sep_ray.adapters.evm.abi import WORD, address_word, selector
from sep_ray.adapters.evm.heads import newest_head, parse_head, read_heads
from sep_ray.adapters.evm.multicall import MULTICALL3, Read, aggregate, results
from sep_ray.adapters.evm.reverts import explained
from sep_ray.adapters.evm.rpc import BUSY_CODES, Node, RpcRefused
from sep_ray.adapters.evm.rpc import Call as RpcCall
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import AccountState, Head, Receipt, Settled, Transfer
from sep_ray.execution.verdict import Answered, Lost, Refused, Reply, Verdict, judge
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.units import NATIVE, Asset

TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak256("Transfer(address,address,uint256)")."""
TIP_BLOCKS: Final = 10
LOG_SPAN: Final = 1_000
"""Blocks asked for in one eth_getLogs."""


class Feed(Protocol):
    """Where new heads come from."""

    def heads(self) -> AsyncGenerator[Head, None]:
        """Yield heads without end."""


class EvmChain:
    """Answers execution's ports Chain, Finality and Accounts."""

    def __init__(
        self,
        rpc: Node,
        feed: Feed,
        multicall: str = MULTICALL3,
        permit2: str = "",
        paid_by_permit2: frozenset[str] = frozenset(),
    ) -> None:
        """What those `paid_by_permit2` may take is written down in `permit2`, not in the token."""
        self._rpc = rpc
        self._feed = feed
        self._multicall = multicall
        self._permit2 = permit2
        self._paid_by_permit2 = paid_by_permit2

    def heads(self) -> AsyncIterator[Head]:
        """See HeadFeed.heads and PoolFeed.heads."""
        return self._feed.heads()

    async def head(self) -> Head:
        """Return the newest header."""
        return await newest_head(self._rpc)

    async def headers(self, numbers: Sequence[int]) -> tuple[Head | None, ...]:
        """Return canonical headers, None above the head."""
        return tuple(await read_heads(self._rpc, list(numbers)))

    async def settled(self) -> Settled:
        """Read the tags in one request; a node that knows none of them has none (None)."""
        calls: list[RpcCall] = [
            ("eth_getBlockByNumber", [tag, False]) for tag in ("safe", "finalized")
        ]
        safe, final = [tagged(reply) for reply in await self._rpc.replies(calls)]
        return Settled(safe=safe, final=final)

    async def receipts(self, tx_hashes: Sequence[str]) -> tuple[Receipt | None, ...]:
        """Return receipts, None where there is none."""
        calls: list[RpcCall] = [("eth_getTransactionReceipt", [each]) for each in tx_hashes]
        answers = await self._rpc.batch(calls)
        with reading("receipts"):
            return tuple(parse_receipt(raw) if raw else None for raw in answers)

    async def send(
        self, signed: Sequence[Signed], since: Sequence[int | None] = ()
    ) -> tuple[Verdict, ...]:
        """Hand signed bytes over, once, in one request; a verdict for each."""
        known = since or [None] * len(signed)
        replies = await self._rpc.hand_over([each.raw for each in signed], known)
        return tuple(judge(r, s.tx_hash) for r, s in zip(replies, signed, strict=True))

    async def state(self, account: str, assets: Sequence[Asset], at: Head) -> AccountState:
        """Read nonce and balances in one request, after the very block (EIP-1898)."""
        block = _exactly(at)
        coins = [asset for asset in assets if asset.address == NATIVE]
        tokens = [asset for asset in assets if asset.address != NATIVE]
        calls: list[RpcCall] = [("eth_getTransactionCount", [account, block])]
        if coins:
            calls.append(("eth_getBalance", [account, block]))
        reads = [
            (t.address, selector("balanceOf(address)") + address_word(account)) for t in tokens
        ]
        if tokens:
            calls.append(("eth_call", [aggregate(reads, self._multicall), block]))
        nonce, *rest = await self._rpc.batch(calls)
        with reading("balances"):
            units = {coin: int(rest[0], 16) for coin in coins}
            if tokens:
                units |= dict(zip(tokens, _units(rest[-1], len(tokens)), strict=True))
            return AccountState(nonce=int(nonce, 16), units=units)

    async def allowances(
        self, account: str, spender: str, tokens: Sequence[str], at: Head
    ) -> tuple[int, ...]:
        """Read all allowances in one call."""
        if not tokens:
            return ()
        call = aggregate(
            [self._allowance(account, spender, token) for token in tokens], self._multicall
        )
        answer = await self._rpc.request("eth_call", [call, _exactly(at)])
        with reading("allowances"):
            return tuple(_units(answer, len(tokens)))

    def _allowance(self, account: str, spender: str, token: str) -> Read:
        """Permit2 answers with amount, end and nonce; the amount is the first word there too."""
        owner, taker = address_word(account), address_word(spender)
        if spender in self._paid_by_permit2:
            data = selector("allowance(address,address,address)") + owner + address_word(token)
            return self._permit2, data + taker
        return token, selector("allowance(address,address)") + owner + taker

    async def arrivals(self, account: str, first: int, last: int) -> tuple[Transfer, ...]:
        """Read Transfer logs from and to the account, at most LOG_SPAN blocks a call."""
        topic = "0x" + address_word(account).hex()
        calls: list[RpcCall] = []
        for start in range(first, last + 1, LOG_SPAN):
            span = {
                "fromBlock": hex(start),
                "toBlock": hex(min(start + LOG_SPAN - 1, last)),
            }
            calls.append(("eth_getLogs", [{**span, "topics": [TRANSFER, topic]}]))
            calls.append(("eth_getLogs", [{**span, "topics": [TRANSFER, None, topic]}]))
        found: dict[tuple[int, int], Transfer] = {}
        answers = await self._rpc.batch(calls)
        with reading("logs"):
            for raw in (log for logs in answers for log in logs):
                if (transfer := parse_transfer(raw)) is not None:
                    found[int(raw["blockNumber"], 16), transfer.log_index] = transfer
        return tuple(found[place] for place in sorted(found))

    async def usual_tip(self) -> int:
        """Return the median over the last blocks of each block's median tip."""
        answer = await self._rpc.request("eth_feeHistory", [hex(TIP_BLOCKS), "latest", [50]])
        with reading("tips"):
            tips = sorted(int(row[0], 16) for row in answer.get("reward") or [] if row)
        return tips[len(tips) // 2] if tips else 0

    async def revert_reason(self, tx_hash: str) -> str:
        """Ask for the trace; without a tracer, run the same call again before its block."""
        try:
            trace = await self._rpc.request(
                "debug_traceTransaction",
                [tx_hash, {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}],
            )
        except RpcRefused:
            return await self._replayed(tx_hash)
        with reading("trace"):
            output = trace.get("output") or "0x"
            if output == "0x" and "gas" in str(trace.get("error", "")).lower():
                return "out of gas"
            return explained(bytes.fromhex(output[2:]))

    async def _replayed(self, tx_hash: str) -> str:
        mined = await self._rpc.request("eth_getTransactionByHash", [tx_hash])
        if not mined or not mined.get("blockNumber"):
            return ""
        call = {"from": mined["from"], "to": mined["to"], "data": mined["input"]}
        call |= {"value": mined["value"], "gas": mined["gas"]}
        before = hex(int(mined["blockNumber"], 16) - 1)
        try:
            await self._rpc.request("eth_call", [call, before])
        except RpcRefused as refused:
            data = refused.facts.get("data")
            if isinstance(data, str) and data.startswith("0x"):
                return explained(bytes.fromhex(data[2:]))
            return str(refused.facts.get("text"))
        return "failed in its block; the same call passes before it"


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Translate what parsing may stumble over: an answer without sense is no answer (yet)."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise Transient("the node's answer makes no sense", what=what, why=repr(error)) from None


def _exactly(at: Head) -> dict[str, Any]:
    return {"blockHash": at.hash}


def _units(answer: str, count: int) -> list[int]:
    """Read the first words of `count` results of a multicall; 0 where no contract gave one."""
    found = results(answer, count)
    return [
        int.from_bytes(data[:WORD], "big") if data and len(data) >= WORD else 0 for data in found
    ]


def tagged(reply: Reply) -> Head | None:
    """Read a block asked for by tag: None where the node has no such tag or no such block yet."""
    match reply:
        case Answered(result=block):
            return parse_head(block) if block else None
        case Refused(code=code, message=text) if code in BUSY_CODES:
            raise Transient("node cannot answer now", code=code, text=text)
        case Refused():
            return None
        case Lost(text=text):
            raise Transient("the node cannot be asked", why=text)


def parse_receipt(raw: dict[str, Any]) -> Receipt:
    """Read a receipt as nodes write it; only Transfer logs are kept."""
    transfers = (parse_transfer(each) for each in raw["logs"])
    return Receipt(
        tx_hash=raw["transactionHash"].lower(),
        block_number=int(raw["blockNumber"], 16),
        block_hash=raw["blockHash"].lower(),
        index=int(raw["transactionIndex"], 16),
        succeeded=int(raw["status"], 16) == 1,
        gas_used=int(raw["gasUsed"], 16),
        gas_price_wei=int(raw["effectiveGasPrice"], 16),
        transfers=tuple(each for each in transfers if each is not None),
        data_fee_wei=int(raw.get("l1Fee") or "0x0", 16),
    )


def parse_transfer(raw: dict[str, Any]) -> Transfer | None:
    """Read an ERC-20 Transfer log; None for any other (an ERC-721's has a fourth topic)."""
    topics = raw["topics"]
    if len(topics) != 3 or topics[0].lower() != TRANSFER or len(raw["data"]) != 66:
        return None
    return Transfer(
        token=raw["address"].lower(),
        source="0x" + topics[1][-40:].lower(),
        target="0x" + topics[2][-40:].lower(),
        units=int(raw["data"], 16),
        block_hash=raw["blockHash"].lower(),
        tx_hash=raw["transactionHash"].lower(),
        log_index=int(raw["logIndex"], 16),
    )
