"""The demonstration's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from rich.table import Table

CHAIN_NAMES: Final[Mapping[int, str]] = {1: "ethereum", 42161: "arbitrum"}
PLACES: Final = 6


def intents_table(intents: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row per intent."""
    table = Table(title="Intents", show_lines=False)
    for name in ("intent", "chain", "state", "txs", "in", "out", "quoted", "slip bp", "gas"):
        table.add_column(name, justify="left" if name in ("intent", "chain", "state") else "right")
    table.add_column("queue score and why", overflow="fold")
    for each in intents:
        slippage = each["slippage_bp"]
        table.add_row(
            f"{each['name']} {each['id'][:8]}",
            CHAIN_NAMES.get(each["chain_id"], str(each["chain_id"])),
            each["state"] if each["state"] == "COMPLETED" else f"{each['state']} {each['reason']}",
            str(len(each["tx_hashes"])),
            _amounts(each["amount_in"]),
            _amounts(each["amount_out"]),
            _amounts(each["quoted_out"]),
            "" if slippage is None else f"{slippage:.2f}",
            f"{each['gas_used']:,}",
            f"[{each['score_source'].split(':')[0]}] {each['why']}",
        )
    return table


def portfolio_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """Return what each strategy holds before and after, and the totals, exactly."""
    table = Table(title="Portfolio (available + reserved, whole tokens, exact)")
    for name in ("strategy", "chain", "asset"):
        table.add_column(name)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right")
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
