"""sep portfolio: where every unit is, whether the chains agree, and moving it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from serve_app.cli_common import Failure, JsonFlag, quantity, session_of, show, table

portfolio_app = typer.Typer(help="Where every unit is.", invoke_without_command=True)
HELD = ("available", "reserved", "in_flight", "refund_due")
FLOWS = ("spent", "received", "gas")


@portfolio_app.callback()
def portfolio(
    context: typer.Context,
    strategy: Annotated[str | None, typer.Option(help="Only this strategy's.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the books with the chains.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show balances by strategy and asset; with --check exit code 1 when anything is off."""
    if context.invoked_subcommand is not None:
        return
    with session_of(context).client() as client:
        answer = client.get("/v1/portfolio", strategy_id=strategy, check="true" if check else None)
    show(answer, as_json, lambda: _print(answer))
    compared = answer["check"]
    if compared and (compared["mismatches"] or compared["unread"]):
        off, unread = len(compared["mismatches"]), compared["unread"]
        raise Failure(f"{off} balances differ from the chains'; not read: {unread or 'none'}")


@portfolio_app.command()
def allocate(
    context: typer.Context,
    to: Annotated[str, typer.Option(help="The strategy that gets it.")],
    asset: Annotated[str, typer.Option(help="A symbol or CAIP-19.")],
    amount: Annotated[str, typer.Option(help="Whole tokens.")],
    chain: Annotated[int | None, typer.Option(help="Chain id: 1 or 42161.")] = None,
    source: Annotated[str, typer.Option("--from", help="The strategy that gives.")] = "treasury",
    key: Annotated[str | None, typer.Option(help="Idempotency key.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Give available units of one strategy to another."""
    body = {"asset": asset, "amount": amount, "source": source, "target": to}
    if chain is not None:
        body |= {"chain_id": chain}  # type: ignore[dict-item]  # JSON takes both
    with session_of(context).client() as client:
        answer = client.post("/v1/portfolio/allocations", body, key)
    moved = f"{quantity(answer['moved'])} from {source} to {to}"
    show(answer, as_json, lambda: typer.echo(moved))


def _print(answer: Mapping[str, Any]) -> None:
    table(("strategy", "chain", "asset", *HELD, *FLOWS), _rows(answer))
    compared = answer["check"]
    if compared:
        typer.echo(
            f"{compared['assets']} balances compared with the chains, "
            f"{len(compared['mismatches'])} differ"
        )
        for each in compared["mismatches"]:
            typer.echo(
                f"  {each['symbol'] or each['asset']}: books {each['ledger_units']}, "
                f"chain {each['chain_units']}"
            )
        for each in compared["unread"]:
            typer.echo(f"  not read: chain {each}")


def _rows(answer: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for strategy in answer["strategies"]:
        for asset in strategy["assets"]:
            buckets = asset["buckets"]
            held = [(buckets.get(name) or {}).get("amount") for name in HELD]
            # The world outside is the other side of the books: what it gave stands there as less.
            flows = [((buckets.get(name) or {}).get("amount") or "").lstrip("-") for name in FLOWS]
            chain = asset["asset"].partition(":")[2].partition("/")[0]
            yield (strategy["strategy_id"], chain, asset["symbol"] or asset["asset"], *held, *flows)
