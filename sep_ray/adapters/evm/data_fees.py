"""What rollups charge for a transaction's bytes, as their own contracts say it.

OP stack: GasPriceOracle.getL1Fee(bytes), wei beside the gas (docs.optimism.io, predeploys).
Arbitrum: NodeInterface.gasEstimateL1Component(address,bool,bytes), gas inside the gas used
(nitro-contracts NodeInterface.sol; only nodes know that address, it holds no code).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from eth_abi.abi import encode

from sep_ray.adapters.evm.abi import WORD, selector
from sep_ray.adapters.evm.chain import reading
from sep_ray.adapters.evm.rpc import Call as RpcCall
from sep_ray.adapters.evm.rpc import Node
from sep_ray.adapters.evm.transactions import body, unsigned
from sep_ray.execution.ports import Call, DataCost, DataFees, Head
from sep_ray.kernel.units import ChainId

Kind = Literal["none", "op", "arbitrum"]

GAS_PRICE_ORACLE: Final = "0x420000000000000000000000000000000000000f"
NODE_INTERFACE: Final = "0x00000000000000000000000000000000000000c8"
_GET_L1_FEE: Final = selector("getL1Fee(bytes)")
_L1_COMPONENT: Final = selector("gasEstimateL1Component(address,bool,bytes)")
MARGIN_DENOMINATOR: Final = 2
"""Estimates are raised by one part in so many: the parent chain's price moves until inclusion."""


class OpStackFees:
    """Asks the OP stack's GasPriceOracle. Answers DataFees."""

    def __init__(self, rpc: Node, chain_id: ChainId, oracle: str = GAS_PRICE_ORACLE) -> None:
        self._rpc = rpc
        self._chain_id = chain_id
        self._oracle = oracle

    async def costs(self, calls: Sequence[Call], at: Head) -> tuple[DataCost, ...]:
        """Return wei for each call's unsigned transaction, signature counted by the oracle."""
        asked = [_GET_L1_FEE + encode(["bytes"], [self._bytes(call)]) for call in calls]
        found = await _ask(self._rpc, self._oracle, asked, at)
        with reading("data fee"):
            return tuple(DataCost(wei=_raised(_word(answer, 0))) for answer in found)

    def _bytes(self, call: Call) -> bytes:
        """Write the call as a transaction; what is not known yet is as long as it gets."""
        return unsigned(
            body(
                chain_id=self._chain_id,
                to=call.to,
                value_wei=call.value_wei,
                data=call.data,
                nonce=2**32 - 1,
                tip_wei=2**40 - 1,
                max_fee_wei=2**48 - 1,
                gas_limit=2**24 - 1,
            )
        )


class ArbitrumFees:
    """Asks Arbitrum's NodeInterface. Answers DataFees."""

    def __init__(self, rpc: Node, interface: str = NODE_INTERFACE) -> None:
        self._rpc = rpc
        self._interface = interface

    async def costs(self, calls: Sequence[Call], at: Head) -> tuple[DataCost, ...]:
        """Return gas for each call, in this chain's own gas."""
        types = ["address", "bool", "bytes"]
        asked = [
            _L1_COMPONENT + encode(types, [call.to, False, bytes.fromhex(call.data[2:])])
            for call in calls
        ]
        found = await _ask(self._rpc, self._interface, asked, at)
        with reading("data fee"):
            return tuple(DataCost(gas=_raised(_word(answer, 0))) for answer in found)


def data_fees(kind: Kind, rpc: Node, chain_id: ChainId) -> DataFees | None:
    """Return what asks a chain of this kind for its price of bytes; None where they are free."""
    if kind == "op":
        return OpStackFees(rpc, chain_id)
    return ArbitrumFees(rpc) if kind == "arbitrum" else None


async def _ask(rpc: Node, to: str, asked: Sequence[bytes], at: Head) -> list[Any]:
    where = {"blockHash": at.hash}
    calls: list[RpcCall] = [
        ("eth_call", [{"to": to, "data": "0x" + data.hex()}, where]) for data in asked
    ]
    return await rpc.batch(calls)


def _word(answer: str, place: int) -> int:
    data = bytes.fromhex(answer[2:])
    if len(data) < (place + 1) * WORD:
        raise ValueError("too short: no such contract here")
    return int.from_bytes(data[place * WORD : (place + 1) * WORD], "big")


def _raised(amount: int) -> int:
    return amount + -(-amount // MARGIN_DENOMINATOR)
