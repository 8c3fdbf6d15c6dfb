"""The demonstration's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

CHAIN_NAMES: Final[Mapping[int, str]] = {1: "ethereum", 42161: "arbitrum"}
PLACES: Final = 6


def intents_table(intents: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row per intent: what was asked, and what the chain did."""
    table = Table(title="Intents")
    for name in ("intent", "chain", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("txs", "in", "quoted out", "realised out", "slip bp", "gas"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in intents:
        slippage = each["slippage_bp"]
        table.add_row(
            _name(each),
            CHAIN_NAMES.get(each["chain_id"], str(each["chain_id"])),
            each["state"] if each["state"] == "COMPLETED" else f"{each['state']} {each['reason']}",
            str(len(each["tx_hashes"])),
            _amounts(each["amount_in"]),
            _amounts(each["quoted_out"]),
            _amounts(each["amount_out"]),
            "" if slippage is None else f"{slippage:.2f}",
            f"{each['gas_used']:,}",
        )
    return table


def queue_table(intents: Sequence[Mapping[str, Any]]) -> Table:
    """Return why each intent's turn came when it came: the highest score first."""
    table = Table(title="The queue: score of waiting, and why")
    table.add_column("intent", no_wrap=True)
    table.add_column("scored by", no_wrap=True)
    table.add_column("why", overflow="fold")
    for each in sorted(intents, key=lambda intent: -(intent["score"] or 0.0)):
        table.add_row(_name(each), escape(each["score_source"]), escape(each["why"]))
    return table


def _name(intent: Mapping[str, Any]) -> str:
    return f"{intent['name']} {intent['id'][-8:]}"


def portfolio_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """Return what each strategy holds before and after, and the totals, exactly."""
    table = Table(title="Portfolio (available + reserved, whole tokens, exact)")
    for name in ("strategy", "chain", "asset"):
        table.add_column(name, no_wrap=True)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", overflow="fold")
    first, last = _held(before), _held(after)
    for key in sorted(first.keys() | last.keys()):
        was, now = first.get(key, Decimal(0)), last.get(key, Decimal(0))
        if was or now:
            strategy, chain_id, symbol = key
            chain = CHAIN_NAMES.get(chain_id, str(chain_id))
            table.add_row(strategy, chain, symbol, *(format(n, "f") for n in (was, now, now - was)))
    return table


def _held(portfolio: Mapping[str, Any]) -> dict[tuple[str, int, str], Decimal]:
    held: dict[tuple[str, int, str], Decimal] = {}
    for strategy in portfolio["strategies"]:
        for entry in strategy["assets"]:
            chain_id = int(entry["asset"].split("/")[0].split(":")[1])
            for bucket in ("available", "reserved", "in_flight", "refund_due"):
                amount = entry["buckets"].get(bucket)
                if amount is not None:
                    for owner in (strategy["strategy_id"], "~ total"):
                        key = (owner, chain_id, entry["symbol"] or entry["asset"])
                        held[key] = held.get(key, Decimal(0)) + Decimal(amount["amount"] or 0)
    return held


def _amounts(amounts: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{_short(each['amount'])} {each['symbol']}" for each in amounts)


def _short(amount: str | None) -> str:
    """Cut, never round, to PLACES decimals; the JSON holds all of them."""
    whole, _, part = (amount or "0").partition(".")
    part = part[:PLACES].rstrip("0")
    return f"{int(whole):,}.{part}" if part else f"{int(whole):,}"
