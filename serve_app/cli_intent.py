"""sep intent ..., sep why: ask for something, see what became of it, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from serve_app.cli_common import (
    Failure,
    JsonFlag,
    address,
    facts,
    moment,
    quantity,
    session_of,
    show,
    table,
)

intent_app = typer.Typer(help="Submit, show, list, cancel and watch intents.", no_args_is_help=True)
ENDED: Final = frozenset(
    {"COMPLETED", "PARTIALLY_COMPLETED", "CANCELLED", "EXPIRED", "REJECTED", "FAILED"}
)
DONE: Final = frozenset({"COMPLETED", "PARTIALLY_COMPLETED"})
ENDINGS: Final = frozenset(
    {
        "IntentCompleted",
        "IntentPartiallyCompleted",
        "IntentCancelled",
        "IntentExpired",
        "IntentRejected",
        "IntentFailed",
    }
)


Kind = Annotated[
    str | None, typer.Option("--type", help="ACQUIRE, DISPOSE, LIQUIDATE, REBALANCE, BRIDGE.")
]
Chain = Annotated[int | None, typer.Option(help="Chain id: 1 or 42161.")]
ToChain = Annotated[int | None, typer.Option(help="For BRIDGE: where to.")]
BridgeBy = Annotated[
    str | None, typer.Option(help="For BRIDGE: best, cheapest, fastest or safest.")
]
Sell = Annotated[str | None, typer.Option(help="What is given: a symbol or CAIP-19.")]
Buy = Annotated[str | None, typer.Option(help="What is wanted.")]
AmountText = Annotated[
    str | None, typer.Option(help="Whole tokens: of what is acquired, or of what is disposed of.")
]
UnitsText = Annotated[str | None, typer.Option(help="Smallest units instead.")]
SideText = Annotated[str | None, typer.Option(help="sell or buy: which the amount means.")]
Targets = Annotated[list[str] | None, typer.Option(help="For REBALANCE, repeated: WETH=0.5")]
Tolerance = Annotated[str | None, typer.Option(help="For REBALANCE: ignore less.")]
Strategy = Annotated[str | None, typer.Option(help="Whose money; default: treasury.")]
Slippage = Annotated[str | None, typer.Option(help="A fraction, 0.001 to 0.1.")]
WindowMs = Annotated[int | None, typer.Option(help="60000 to 3600000.")]
LimitPrice = Annotated[str | None, typer.Option(help="Least bought per sold token.")]
MaxGas = Annotated[int | None, typer.Option(help="Most gas of a transaction.")]
Venues = Annotated[list[str] | None, typer.Option(help="uniswap-v2, uniswap-v3.")]
Twap = Annotated[int | None, typer.Option(help="Spread over so many slices.")]
CatchUp = Annotated[str | None, typer.Option(help="skip, spread or burst.")]
Note = Annotated[str | None, typer.Option(help="Why, in your words.")]
Key = Annotated[str | None, typer.Option(help="Idempotency key.")]
FromFile = Annotated[Path | None, typer.Option(help="The whole intent as a JSON file.")]
Watch = Annotated[bool, typer.Option("--watch", help="Stay until it has ended.")]


@intent_app.command()
def submit(
    context: typer.Context,
    kind: Kind = None,
    chain: Chain = None,
    to_chain: ToChain = None,
    sell: Sell = None,
    buy: Buy = None,
    amount: AmountText = None,
    units: UnitsText = None,
    side: SideText = None,
    target: Targets = None,
    tolerance: Tolerance = None,
    strategy: Strategy = None,
    slippage: Slippage = None,
    window_ms: WindowMs = None,
    limit_price: LimitPrice = None,
    max_gas: MaxGas = None,
    venue: Venues = None,
    bridge_by: BridgeBy = None,
    twap: Twap = None,
    catch_up: CatchUp = None,
    note: Note = None,
    key: Key = None,
    file: FromFile = None,
    watch: Watch = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask for something. It is durable when this returns.

    sep intent submit --type ACQUIRE --chain 1 --sell USDC --buy WETH --amount 1.5
    """
    constraints = {
        "max_slippage": slippage,
        "time_window_ms": window_ms,
        "limit_price": limit_price,
        "max_gas": max_gas,
        "venues": venue,
        "bridge_by": bridge_by,
        "style": "twap" if twap else None,
        "schedule": _given({"slices": twap, "catch_up": catch_up}),
    }
    asked: dict[str, Any] = {
        "type": kind.upper() if kind else None,
        "chain_id": chain,
        "to_chain_id": to_chain,
        "sell": sell,
        "buy": buy,
    }
    asked |= {"amount": amount, "units": units, "side": side, "tolerance": tolerance}
    asked |= {"strategy_id": strategy, "note": note, "targets": [*map(_target, target or [])]}
    body = _given(asked | {"constraints": _given(constraints)})
    if file:
        body = _from_file(file, body)
    with session_of(context).client() as client:
        answer = client.submit(body, key)
        if watch:
            typer.echo(answer["id"], err=True)
            _follow(client, answer["id"], as_json)
        else:
            show(answer, as_json, lambda: typer.echo(f"{answer['id']} {answer['verdict']}"))


@intent_app.command(name="show")
def show_intent(context: typer.Context, intent_id: str, as_json: JsonFlag = False) -> None:
    """Show an intent, its steps and its transactions."""
    with session_of(context).client() as client:
        answer = client.get(address("intents", intent_id))
    show(answer, as_json, lambda: _print_intent(answer))


@intent_app.command(name="list")
def list_intents(
    context: typer.Context,
    strategy: Annotated[str | None, typer.Option(help="Only this strategy's.")] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    chain: Annotated[int | None, typer.Option(help="Only on this chain.")] = None,
    limit: Annotated[int, typer.Option(help="How many, 1 to 200.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List intents, newest first."""
    with session_of(context).client() as client:
        page = client.get(
            "/v1/intents",
            strategy_id=strategy,
            state=state.upper() if state else None,
            type=kind.upper() if kind else None,
            chain_id=chain,
            limit=limit,
            cursor=cursor,
        )

    def text() -> None:
        table(
            ("id", "strategy", "wanted", "state", "reason", "sold", "bought", "accepted"),
            (
                (
                    each["id"],
                    each["strategy_id"],
                    each["wanted"],
                    each["state"],
                    each["reason"],
                    quantity(each["sold"]),
                    quantity(each["bought"]),
                    moment(each["created_at"]),
                )
                for each in page["intents"]
            ),
        )
        if page["next"]:
            typer.echo(f"more: --cursor {page['next']}")

    show(page, as_json, text)


@intent_app.command()
def cancel(context: typer.Context, intent_id: str, as_json: JsonFlag = False) -> None:
    """Stop an intent: nothing more begins, what is in flight is settled."""
    with session_of(context).client() as client:
        answer = client.delete(address("intents", intent_id))
    show(answer, as_json, lambda: typer.echo(f"{answer['id']} {answer['state']}"))


@intent_app.command()
def watch(context: typer.Context, intent_id: str, as_json: JsonFlag = False) -> None:
    """Print what happens to an intent until it ends; exit code 1 when nothing was done."""
    with session_of(context).client() as client:
        _follow(client, intent_id, as_json)


def why(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="ID|TXHASH")],
    as_json: JsonFlag = False,
) -> None:
    """Say everything that an intent or a transaction came from and led to."""
    with session_of(context).client() as client:
        answer = client.get(address("why", reference))

    def text() -> None:
        typer.echo(f"{answer['id']}: {answer['wanted']}")
        for event in answer["events"]:
            typer.echo(_line(event))
        for words in answer["halted"]:
            typer.secho(f"HALTED: {words}", fg=typer.colors.RED, bold=True)
        typer.echo(f"{answer['state']}{': ' + answer['reason'] if answer['reason'] else ''}")

    show(answer, as_json, text)


def _follow(client: Any, intent_id: str, as_json: bool) -> None:
    """Print what has happened, then what happens, until the intent's last event."""
    story = client.get(address("intents", intent_id, "why"))
    last = 0
    for event in story["events"]:
        _print_event(event, as_json)
        last = event["seq"]
    if story["state"] not in ENDED:
        for event in client.events(after=last, intent_id=story["id"]):
            _print_event(event, as_json)
            if event["type"] in ENDINGS:
                break
    state = client.get(f"/v1/intents/{story['id']}")["state"]
    if state not in DONE:
        raise Failure(f"{story['id']} ended {state}")


def _print_event(event: Mapping[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(event) if as_json else _line(event))


def _line(event: Mapping[str, Any]) -> str:
    aggregate, _, name = event["stream"].partition("/")
    return f"{moment(event['at'])}  {aggregate:<8} {name[-6:]}  {event['words']}"


def _print_intent(answer: Mapping[str, Any]) -> None:
    facts(
        {
            "id": answer["id"],
            "wanted": answer["wanted"],
            "strategy": answer["strategy_id"],
            "state": answer["state"],
            "reason": answer["reason"],
            "detail": answer["detail"],
            "queue": f"{answer['score']:.3g} by {answer['score_source']}: {answer['why']}"
            if answer["score"] is not None
            else None,
            "sold": quantity(answer["sold"]),
            "bought": quantity(answer["bought"]),
            "quoted": quantity(answer["quoted"]),
            "slippage": f"{answer['slippage_bp']} bp" if answer["slippage_bp"] is not None else "",
            "gas used": answer["gas_used"] or None,
            "by": answer["principal"],
            "note": answer["note"],
            "accepted": moment(answer["created_at"]),
            "deadline": moment(answer["deadline"]),
        }
    )
    if answer["steps"]:
        table(
            ("step", "state", "asked", "sold", "bought", "slippage bp", "due", "transactions"),
            (
                (
                    step["ordinal"],
                    " ".join(filter(None, (step["state"], step["reason"]))),
                    quantity(step["asked"]),
                    quantity(step["sold"]),
                    quantity(step["bought"]),
                    step["slippage_bp"],
                    moment(step["due"]),
                    "\n".join(
                        f"{each['purpose']} {each['state']} {each['tx_hashes'][-1]}"
                        for each in step["transactions"]
                    ),
                )
                for step in answer["steps"]
            ),
        )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, {}, [])}


def _target(text: str) -> dict[str, str]:
    asset, equals, weight = text.partition("=")
    if not equals:
        raise Failure(f"--target {text} is not ASSET=WEIGHT")
    return {"asset": asset, "weight": weight}


def _from_file(file: Path, beside: Mapping[str, Any]) -> dict[str, Any]:
    if beside:
        raise Failure(f"--file is the whole intent: say {', '.join(beside)} there")
    try:
        body = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise Failure(f"{file} cannot be read: {why}") from None
    except (ValueError, RecursionError) as error:
        raise Failure(f"{file} is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Failure(f"{file} does not hold one JSON object")
    return body
