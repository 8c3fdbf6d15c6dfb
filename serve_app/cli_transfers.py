"""sep transfers: money on its way between chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from serve_app.cli_common import (
    JsonFlag,
    address,
    moment,
    quantity,
    session_of,
    show,
    table,
    weighed,
)

transfers_app = typer.Typer(
    help="Show money on its way between chains.", invoke_without_command=True
)


@transfers_app.callback()
def transfers(
    context: typer.Context,
    strategy: Annotated[str | None, typer.Option(help="Only this strategy's.")] = None,
    bridge: Annotated[str | None, typer.Option(help="Only by this bridge.")] = None,
    chain: Annotated[int | None, typer.Option(help="Only with an end on this chain.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, 1 to 200.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List transfers between chains, newest first."""
    if context.invoked_subcommand is not None:
        return
    with session_of(context).client() as client:
        answer = client.get(
            "/v1/transfers",
            strategy_id=strategy,
            bridge=bridge,
            chain_id=chain,
            limit=limit,
            cursor=cursor,
        )

    def text() -> None:
        table(
            ("id", "strategy", "bridge", "state", "from", "to", "departed", "arrived", "since"),
            (
                (
                    each["id"],
                    each["strategy_id"],
                    each["bridge"],
                    _state(each),
                    each["from_chain"],
                    each["to_chain"],
                    quantity(each["departed"]),
                    quantity(each["arrived"] or each["refunded"]) if _done(each) else "",
                    moment(each["planned_at"]),
                )
                for each in answer["transfers"]
            ),
        )
        if answer["next"]:
            typer.echo(f"more: --cursor {answer['next']}")

    show(answer, as_json, text)


@transfers_app.command(name="show")
def show_transfer(context: typer.Context, transfer_id: str, as_json: JsonFlag = False) -> None:
    """Show one transfer: why this bridge, where it is, and everything that happened."""
    with session_of(context).client() as client:
        answer = client.get(address("transfers", transfer_id))
    show(answer, as_json, lambda: _print(answer))


@transfers_app.command()
def release(
    context: typer.Context,
    transfer_id: str,
    why: Annotated[str, typer.Option(help="Kept in the journal with your name.")],
    as_json: JsonFlag = False,
) -> None:
    """Let the platform go on with a transfer that waits for a person."""
    with session_of(context).client() as client:
        answer = client.post(address("transfers", transfer_id, "release"), {"why": why})
    show(answer, as_json, lambda: typer.echo(f"{answer['id']} {_state(answer)}"))


def _print(answer: Mapping[str, Any]) -> None:
    typer.echo(
        f"{quantity(answer['offered'])} from chain {answer['from_chain']} to "
        f"{answer['to_chain']} by {answer['bridge']}: {_state(answer)}"
    )
    typer.echo(f"why: {answer['choice']['reason']}")
    for words in weighed(answer["choice"]):
        typer.echo(f"  {words}")
    start = answer["planned_at"]
    for event in answer["timeline"]:
        typer.echo(f"{(event['at'] - start) / 1_000:9.1f} s  {event['words']}")


def _state(transfer: Mapping[str, Any]) -> str:
    waiting = transfer["waiting"] if transfer["state"] in ("IN_FLIGHT", "DELAYED") else None
    return f"{transfer['state']} ({waiting})" if waiting else str(transfer["state"])


def _done(transfer: Mapping[str, Any]) -> bool:
    return bool(transfer["arrived"] or transfer["refunded"])
