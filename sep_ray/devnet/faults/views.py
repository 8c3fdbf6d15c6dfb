"""Answers as a node that is behind, or that lies about blocks, would give them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sep_ray.devnet.faults.rules import Fault, Rule
from sep_ray.devnet.faults.upstream import Json, Refused, Upstream

BLOCK_AT: Final[Mapping[str, int]] = {
    "eth_getBlockByNumber": 0,
    "eth_getBlockReceipts": 0,
    "eth_getBlockTransactionCountByNumber": 0,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_createAccessList": 1,
    "eth_feeHistory": 1,
    "eth_simulateV1": 1,
    "debug_traceCall": 1,
    "eth_getStorageAt": 2,
    "eth_getProof": 2,
}
"""Which argument of a method names the block."""
NEWEST: Final = frozenset({"latest", "pending"})
SETTLED: Final = frozenset({"safe", "finalized", "earliest"})
NOT_FOUND: Final = {"code": -32000, "message": "header not found"}
HASH: Final = re.compile(r"0x[0-9a-f]{64}")


class Behind:
    """A node that knows the chain up to `top` only."""

    def __init__(self, upstream: Upstream, top: int) -> None:
        self._upstream = upstream
        self._top = top

    async def asked(self, call: Json) -> Json:
        """Return the call as it is put to the node; raises Refused for what it cannot know."""
        method, params = call["method"], list(call.get("params") or [])
        if method == "eth_getLogs" and params:
            params[0] = await self._span(params[0])
        elif method in BLOCK_AT:
            place = BLOCK_AT[method]
            params += ["latest"] * (place + 1 - len(params))
            params[place] = await self._block(method, params[place])
        return {**call, "params": params}

    def answered(self, method: str, result: Any) -> Any:
        """Return what such a node says where the node says `result`."""
        if method == "eth_blockNumber":
            return hex(self._top)
        if not isinstance(result, dict):
            return result
        if "parentHash" in result:
            return None if self._above(result.get("number")) else result
        if not self._above(result.get("blockNumber")):
            return result
        if "status" in result:
            return None
        return {**result, "blockHash": None, "blockNumber": None, "transactionIndex": None}

    def _above(self, number: Any) -> bool:
        return isinstance(number, str) and number[:2] == "0x" and int(number, 16) > self._top

    async def _block(self, method: str, block: Any) -> Any:
        if isinstance(block, dict):
            if "blockHash" in block:
                await self._known(block["blockHash"])
                return block
            block = block.get("blockNumber")
        if block in NEWEST:
            return hex(self._top)
        if block in SETTLED:
            found = await self._upstream.ask("eth_getBlockByNumber", block, False)
            return hex(min(int(found["number"], 16), self._top)) if found else block
        if self._above(block) and not method.startswith("eth_getBlock"):
            raise Refused(NOT_FOUND)
        return block

    async def _span(self, wanted: Json) -> Json:
        if "blockHash" in wanted:
            await self._known(wanted["blockHash"])
            return wanted
        ends = {}
        for name in ("fromBlock", "toBlock"):
            block = await self._block("eth_getBlock", wanted.get(name, "latest"))
            ends[name] = hex(self._top) if name == "toBlock" and self._above(block) else block
        if self._above(ends["fromBlock"]):
            ends["toBlock"] = ends["fromBlock"]
            return {**wanted, **ends, "topics": ["0x" + "00" * 32]}
        return {**wanted, **ends}

    async def _known(self, block_hash: str) -> None:
        found = await self._upstream.ask("eth_getBlockByHash", block_hash, False)
        if found is None or self._above(found["number"]):
            raise Refused(NOT_FOUND)


class Forger:
    """A node whose blocks have hashes of its own, the same ones in every answer."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._real: dict[str, str] = {}

    def asked(self, params: Any) -> Any:
        """Return what the node is asked when its own hashes are put to it."""
        return _texts(params, lambda text: self._real.get(text, text))

    def answered(self, result: Any, first_block: int) -> Any:
        """Return the answer with the hashes of the blocks from `first_block` on forged."""
        forged: dict[str, str] = {}
        self._collect(result, first_block, forged)
        return _texts(result, lambda text: forged.get(text, text)) if forged else result

    def _collect(self, value: Any, first: int, forged: dict[str, str]) -> None:
        if isinstance(value, list):
            for each in value:
                self._collect(each, first, forged)
        if not isinstance(value, dict):
            return
        for number, offset, name in (
            ("number", 0, "hash"),
            ("number", -1, "parentHash"),
            ("blockNumber", 0, "blockHash"),
        ):
            found, height = value.get(name), value.get(number)
            if not isinstance(found, str) or not isinstance(height, str):
                continue
            if int(height, 16) + offset >= first:
                forged[found] = self._forge(found)
        for each in value.values():
            self._collect(each, first, forged)

    def _forge(self, real: str) -> str:
        fake = "0x" + hashlib.sha256(f"{self._seed}/{real}".encode()).hexdigest()
        self._real[fake] = real
        return fake


def forged(result: Any, rule: Rule) -> Any:
    """Return the answer with a FORGE rule's fields in it."""
    if rule.fault is Fault.FORGE and isinstance(result, dict) and isinstance(rule.result, dict):
        return {**result, **rule.result}
    return result


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """Rebuild a JSON value with each 32-byte text in it changed."""
    if isinstance(value, str):
        return change(value) if HASH.fullmatch(value) else value
    if isinstance(value, list):
        return [_texts(each, change) for each in value]
    if isinstance(value, dict):
        return {name: _texts(each, change) for name, each in value.items()}
    return value
