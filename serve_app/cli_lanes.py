"""sep lane, attempts: what an operator looks at, and decides where evidence runs out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from serve_app.cli_common import JsonFlag, address, quantity, session_of, show, table

lane_app = typer.Typer(
    help="The accounts that trade; resume one that stopped.", no_args_is_help=True
)
attempts_app = typer.Typer(
    help="Transactions that are not final; decide about a lost one.", no_args_is_help=True
)

Note = Annotated[str, typer.Option(help="Kept in the journal with your name.")]


@lane_app.command(name="list")
def list_lanes(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Show every account with its state, and what does not add up."""
    with session_of(context).client() as client:
        answer = client.get("/v1/lanes")
    show(answer, as_json, lambda: _print_lanes(answer))


@lane_app.command()
def resume(
    context: typer.Context,
    chain_id: int,
    account: str,
    note: Note,
    strategy: Annotated[
        str, typer.Option(help="Who has more, or less, by the difference.")
    ] = "treasury",
    as_json: JsonFlag = False,
) -> None:
    """Let a breached account go on with what the chain said it held."""
    with session_of(context).client() as client:
        answer = client.post(
            address("lanes", str(chain_id), account, "resume"),
            {"note": note, "strategy_id": strategy},
        )
    said = ", ".join(quantity(each) for each in answer["corrections"])
    show(answer, as_json, lambda: typer.echo(f"resumed; the books were corrected by {said}"))


@attempts_app.command(name="list")
def list_attempts(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Such as NEEDS_OPERATOR.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show transactions that are not final, by account and nonce."""
    with session_of(context).client() as client:
        answer = client.get("/v1/attempts", state=state.upper() if state else None)
    rows = (_row(each) for each in answer["attempts"])
    heads = ("id", "chain", "account", "nonce", "purpose", "state", "detail")
    show(answer, as_json, lambda: table(heads, rows))


@attempts_app.command(name="show")
def show_attempt(context: typer.Context, attempt_id: str, as_json: JsonFlag = False) -> None:
    """Show one transaction with everything that happened to it."""
    with session_of(context).client() as client:
        answer = client.get(address("attempts", attempt_id))
    show(answer, as_json, lambda: _print_story(answer))


@attempts_app.command()
def resolve(
    context: typer.Context,
    attempt_id: str,
    note: Note,
    never_landed: Annotated[
        bool,
        typer.Option("--never-landed/--look-again", help="It never landed and never can."),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Decide about a transaction in NEEDS_OPERATOR; its step may then try again."""
    decision = "never_landed" if never_landed else "look_again"
    with session_of(context).client() as client:
        answer = client.post(
            address("attempts", attempt_id, "resolve"), {"decision": decision, "note": note}
        )
    show(answer, as_json, lambda: typer.echo(f"{answer['id']} is {answer['state']}"))


def _print_lanes(answer: Mapping[str, Any]) -> None:
    heads = ("chain", "account", "state", "in flight", "next nonce", "epoch", "coin")
    names = ("chain_id", "account", "state", "in_flight", "next_nonce", "epoch")
    lanes = answer["lanes"]
    table(heads, ([*(str(lane[name]) for name in names), _coin(lane)] for lane in lanes))
    for lane in answer["lanes"]:
        for breach in lane["breaches"]:
            typer.echo(
                f"{lane['account']}: the books say {quantity(breach['booked'])}, the chain "
                f"{quantity(breach['held'])} at block {breach['block_number']}; {breach['detail']}"
            )
    for words in answer["unread"]:
        typer.echo(f"not read: {words}")


def _coin(lane: Mapping[str, Any]) -> str:
    if lane["coin"] is None:
        return "not read"
    words = quantity(lane["coin"])
    if lane["refuelling"] is not None:
        return f"{words}, {quantity(lane['refuelling'])} on its way"
    return f"{words}, short" if lane["short"] else words


def _print_story(answer: Mapping[str, Any]) -> None:
    attempt = answer["attempt"]
    typer.echo(f"{attempt['purpose']} at nonce {attempt['nonce']}: {attempt['state']}")
    if attempt["detail"]:
        typer.echo(attempt["detail"])
    for event in answer["events"]:
        typer.echo(f"  {event['words']}")


def _row(attempt: Mapping[str, Any]) -> list[str]:
    names = ("id", "chain_id", "account", "nonce", "purpose", "state", "detail")
    return [str(attempt[name]) for name in names]
