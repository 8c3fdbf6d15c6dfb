"""Reads calls as they will be signed: who is approved, and where proceeds may go.

Written apart from the encoders, from the contracts' own signatures (ERC-20, Permit2,
SwapRouter02, UniswapV2Router02, UniversalRouter 2.0 and v4-periphery), so that neither can
mislead the other. What is not known here is not readable.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from sep_ray.adapters.evm.abi import selector
from sep_ray.execution.ports import Call
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.request import CallFacts, Movement

OF_THE_ROUTER: Final = frozenset({f"0x{n:040x}" for n in (1, 2)})
"""Routers read these as the caller and as themselves; nothing leaves by them."""
APPROVE: Final = selector("approve(address,uint256)")
PERMIT2_APPROVE: Final = selector("approve(address,address,uint160,uint48)")
EXECUTE: Final = selector("execute(bytes,bytes[],uint256)")
MULTICALL: Final = selector("multicall(uint256,bytes[])")
_V3: Final = ("(bytes,address,uint256,uint256)",)
_V2: Final = ("uint256", "uint256", "address[]", "address")
RECIPIENTS: Final = {
    selector("transfer(address,uint256)"): (("address", "uint256"), (0,)),
    selector("exactInput((bytes,address,uint256,uint256))"): (_V3, (0, 1)),
    selector("exactOutput((bytes,address,uint256,uint256))"): (_V3, (0, 1)),
    selector("swapExactTokensForTokens(uint256,uint256,address[],address)"): (_V2, (3,)),
    selector("swapExactTokensForTokens(uint256,uint256,address[],address,uint256)"): (_V2, (3,)),
    selector("swapTokensForExactTokens(uint256,uint256,address[],address,uint256)"): (_V2, (3,)),
    selector("sweepToken(address,uint256,address)"): (("address", "uint256", "address"), (2,)),
}
"""Where each function says who gets something: its arguments, and the way to the address."""
COMMANDS: Final = {0x00: 0, 0x01: 0, 0x04: 1, 0x08: 0, 0x09: 0}
"""The Universal Router's swaps and its sweep: the word of their input that is the recipient."""
V4_SWAP: Final = 0x10
TAKE: Final = 0x0E
SILENT: Final = frozenset({0x06, 0x07, 0x08, 0x09, 0x0B, 0x0C})
"""Actions of V4 that send nothing out: swaps, and what is paid in."""


class Unknown(Exception):
    """A call this page does not know."""


class EvmReader:
    """Reads the calls of one chain. Answers the engine's port CallReader."""

    def __init__(self, chain_id: ChainId) -> None:
        self._chain_id = chain_id

    def read(self, call: Call) -> CallFacts:
        """Return what the bytes plainly say; recipients None where they do not."""
        data = bytes.fromhex(call.data[2:])
        if not data:
            return CallFacts(recipients=frozenset({call.to}))
        name = "0x" + data[:4].hex()
        try:
            if data[:4] == APPROVE:
                spender, units = decode(("address", "uint256"), data[4:])
                return self._approval(name, call.to, spender, units)
            if data[:4] == PERMIT2_APPROVE:
                parts = ("address", "address", "uint160", "uint48")
                token, spender, units, _ = decode(parts, data[4:])
                return self._approval(name, token, spender, units)
            found = frozenset(each.lower() for each in _recipients(data)) - OF_THE_ROUTER
        except (Unknown, DecodingError, OverflowError, ValueError):
            return CallFacts(selector=name)
        return CallFacts(selector=name, recipients=found)

    def _approval(self, name: str, token: str, spender: str, units: int) -> CallFacts:
        asset = Asset(self._chain_id, token.lower())
        return CallFacts(
            selector=name,
            approves=Movement(asset=asset, units=units),
            spenders=frozenset({spender.lower()}),
            recipients=frozenset(),
        )


def _recipients(data: bytes) -> Iterator[str]:
    function, body = data[:4], data[4:]
    if function == MULTICALL:
        _, calls = decode(("uint256", "bytes[]"), body)
        for each in calls:
            yield from _recipients(each)
    elif function == EXECUTE:
        commands, inputs, _ = decode(("bytes", "bytes[]", "uint256"), body)
        for command, given in zip(commands, inputs, strict=True):
            yield from _of_command(command & 0x3F, given)
    elif function in RECIPIENTS:
        types, way = RECIPIENTS[function]
        found: Any = decode(types, body)
        for place in way:
            found = found[place]
        yield str(found)
    else:
        raise Unknown


def _of_command(command: int, given: bytes) -> Iterator[str]:
    if command in COMMANDS:
        yield _address(given, COMMANDS[command])
    elif command == V4_SWAP:
        actions, params = decode(("bytes", "bytes[]"), given)
        for action, each in zip(actions, params, strict=True):
            if action == TAKE:
                yield _address(each, 1)
            elif action not in SILENT:
                raise Unknown
    else:
        raise Unknown


def _address(words: bytes, place: int) -> str:
    word = words[32 * place : 32 * place + 32]
    if len(word) != 32 or any(word[:12]):
        raise Unknown
    return "0x" + word[12:].hex()
