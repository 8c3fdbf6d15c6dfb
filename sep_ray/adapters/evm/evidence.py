"""What a node is asked only when in doubt: would a call fail, and what did an account send."""

from __future__ import annotations

from typing import Any, Final

from sep_ray.adapters.evm.chain import parse_receipt, reading
from sep_ray.adapters.evm.reverts import explained
from sep_ray.adapters.evm.rpc import Call as RpcCall
from sep_ray.adapters.evm.rpc import Node, RpcRefused
from sep_ray.execution.ports import Call, Head, Outgoing

BLOCKS: Final = 25
"""Blocks with all their transactions that are asked for in one request."""


class EvmEvidence:
    """Answers execution's port Evidence."""

    def __init__(self, rpc: Node) -> None:
        self._rpc = rpc

    async def failure(self, account: str, call: Call, at: Head) -> str | None:
        """Run the call at the very block; only a refusal that carries the contract's data, or says
        that it reverted, is a failure. What else the node refuses is no answer."""
        said = {"from": account, "to": call.to, "data": call.data, "value": hex(call.value_wei)}
        try:
            await self._rpc.request("eth_call", [said, {"blockHash": at.hash}])
        except RpcRefused as refused:
            data, text = refused.facts.get("data"), str(refused.facts.get("text"))
            if isinstance(data, str) and data.startswith("0x") and len(data) > 2:
                return explained(bytes.fromhex(data[2:]))
            return text if "revert" in text.lower() else None
        return None

    async def sent_by(self, account: str, first: int, last: int) -> tuple[Outgoing, ...]:
        """Read whole blocks, and the receipts of what the account sent in them."""
        found: list[dict[str, Any]] = []
        for start in range(first, last + 1, BLOCKS):
            numbers = range(start, min(start + BLOCKS, last + 1))
            calls: list[RpcCall] = [("eth_getBlockByNumber", [hex(n), True]) for n in numbers]
            blocks = await self._rpc.batch(calls)
            with reading("blocks"):
                for block in blocks:
                    sent = block["transactions"] if block else []
                    found += [tx for tx in sent if tx["from"].lower() == account]
        with reading("transactions"):
            receipts = await self._rpc.batch(
                [("eth_getTransactionReceipt", [tx["hash"]]) for tx in found]
            )
            pairs = zip(found, receipts, strict=True)
            outgoing = [_outgoing(tx, raw) for tx, raw in pairs if raw]
        return tuple(sorted(outgoing, key=lambda each: each.nonce))


def _outgoing(tx: dict[str, Any], raw: dict[str, Any]) -> Outgoing:
    receipt = parse_receipt(raw)
    value = int(tx["value"], 16) if receipt.succeeded else 0
    gas = receipt.gas_used * receipt.gas_price_wei + receipt.data_fee_wei
    return Outgoing(receipt=receipt, nonce=int(tx["nonce"], 16), cost_wei=gas + value)
