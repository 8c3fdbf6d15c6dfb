"""Gives accounts coin and tokens on a local chain, through the real minters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sep_ray.adapters.evm.addresses import ChainBook
from sep_ray.devnet.placement import BANK
from sep_ray.devnet.rpc import Rpc, call_data
from sep_ray.kernel.units import NATIVE


def fund(rpc: Rpc, book: ChainBook, account: str, amounts: Mapping[str, int]) -> None:
    """Add `amounts` to what an account holds.

    Keys are token symbols of the book ("ETH" for the chain's coin), values smallest units. Tokens
    are minted or, for WETH, wrapped, so every supply stays backed; mines where nothing else does.
    """
    transactions = []
    for symbol, units in amounts.items():
        token = book.token(symbol).asset.address
        if token == NATIVE:
            rpc("anvil_addBalance", account, hex(units))
        elif token == book.weth:
            transactions += wrap_to(book, account, units)
        else:
            transactions.append(mint_to(token, account, units))
    act_as_bank(rpc)
    rpc.transact(transactions)


def act_as_bank(rpc: Rpc) -> None:
    """Let the node send for BANK; a restarted node has forgotten that it may."""
    rpc("anvil_impersonateAccount", BANK)


def mint_to(token: str, account: str, units: int) -> dict[str, Any]:
    """A mint by BANK: USDC and the stand-ins share the signature."""
    return {"from": BANK, "to": token, "data": call_data("mint(address,uint256)", account, units)}


def wrap_to(book: ChainBook, account: str, units: int) -> list[dict[str, Any]]:
    """BANK wraps its own coin and hands the WETH over."""
    send = call_data("transfer(address,uint256)", account, units)
    return [
        {"from": BANK, "to": book.weth, "value": hex(units), "data": call_data("deposit()")},
        {"from": BANK, "to": book.weth, "data": send},
    ]


def balances(rpc: Rpc, book: ChainBook, account: str) -> dict[str, int]:
    """What an account holds of every token of the book, in smallest units."""
    held = {}
    for token in book.tokens():
        if token.asset.address == NATIVE:
            held[token.symbol] = int(rpc("eth_getBalance", account, "latest"), 16)
        else:
            held[token.symbol] = rpc.read(token.asset.address, "balanceOf(address)", account)
    return held
