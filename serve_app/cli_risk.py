"""sep halt, halts, release, limits: what a risk officer needs, quickly."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from serve_app.cli_common import Failure, JsonFlag, address, moment, session_of, show, table

halt_app = typer.Typer(
    help="Stop an intent, a strategy, a chain or everything, now.", no_args_is_help=True
)
limits_app = typer.Typer(help="Show, set and remove limits and allow-lists.", no_args_is_help=True)
MILLION: Final = 10**6
"""Values are kept in millionths of a dollar, the smallest units of USDC."""

Why = Annotated[str, typer.Option(help="Kept in the journal with your name.")]
Reducing = Annotated[
    bool, typer.Option("--reducing", help="Still let through what only reduces exposure.")
]


@halt_app.command(name="intent")
def halt_intent(
    context: typer.Context,
    intent_id: str,
    why: Why = "by hand",
    reducing: Reducing = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop one intent; it may go on when released before its window ends."""
    _halt(context, "intent", intent_id, why, reducing, as_json)


@halt_app.command(name="strategy")
def halt_strategy(
    context: typer.Context,
    strategy_id: str,
    why: Why = "by hand",
    reducing: Reducing = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop all that a strategy asked for."""
    _halt(context, "strategy", strategy_id, why, reducing, as_json)


@halt_app.command(name="chain")
def halt_chain(
    context: typer.Context,
    chain_id: int,
    why: Why = "by hand",
    reducing: Reducing = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop all sending on a chain."""
    _halt(context, "chain", str(chain_id), why, reducing, as_json)


@halt_app.command(name="all")
def halt_all(
    context: typer.Context,
    why: Why = "by hand",
    reducing: Reducing = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop everything."""
    _halt(context, "all", "", why, reducing, as_json)


def halts(
    context: typer.Context,
    released: Annotated[bool, typer.Option(help="Also those that were released.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List what is halted: since when, why, and by whom."""
    with session_of(context).client() as client:
        answer = client.get("/v1/halts", released="true" if released else None)
    show(answer, as_json, lambda: print_halts(answer["halts"]))


def release(
    context: typer.Context, halt_id: str, why: Why = "by hand", as_json: JsonFlag = False
) -> None:
    """Let go on what a halt stopped, in your name; needs the role risk."""
    with session_of(context).client() as client:
        answer = client.delete(f"{address('halts', halt_id)}?why={quote(why)}")
    words = f"released {_what(answer)}, by {answer['released_by']}"
    show(answer, as_json, lambda: typer.echo(words))


@limits_app.command(name="list")
def list_limits(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List all limits and how much of each is in use."""
    with session_of(context).client() as client:
        answer = client.get("/v1/limits")

    def text() -> None:
        rows = [(e["id"], e["kind"], _about(e), _most(e), _used(e)) for e in answer["limits"]]
        table(("limit", "kind", "about", "at most", "in use"), rows)

    show(answer, as_json, text)


@limits_app.command(name="set")
def set_limit(
    context: typer.Context,
    name: str,
    kind: Annotated[
        str,
        typer.Argument(help="transaction, window, total, position, daily_loss, drawdown, list"),
    ],
    value: Annotated[str | None, typer.Option(help="At most so many dollars.")] = None,
    units: Annotated[str | None, typer.Option(help="At most so many units of --asset.")] = None,
    gas: Annotated[str | None, typer.Option(help="At most so many wei for gas.")] = None,
    count: Annotated[str | None, typer.Option(help="At most so many transactions.")] = None,
    ppm: Annotated[str | None, typer.Option(help="Of the best equity, for drawdown.")] = None,
    window_s: Annotated[int | None, typer.Option(help="Length of a rolling window.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only this strategy.")] = None,
    chain: Annotated[int | None, typer.Option(help="Only this chain.")] = None,
    asset: Annotated[str | None, typer.Option(help="Only this asset.")] = None,
    contract: Annotated[str | None, typer.Option(help="Only calls of this contract.")] = None,
    selector: Annotated[str | None, typer.Option(help="Only this function.")] = None,
    listed: Annotated[
        str | None, typer.Option(help="contracts, selectors, assets, recipients, spenders")
    ] = None,
    member: Annotated[list[str] | None, typer.Option(help="Of the list; repeated.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Set a limit; the same name again replaces it. Needs the role risk."""
    given = {"value": value, "units": units, "gas": gas, "count": count, "ppm": ppm}
    body: dict[str, Any] = {
        "id": name,
        "kind": kind,
        **_measured(kind, {measure: text for measure, text in given.items() if text is not None}),
        "window_ms": window_s * 1_000 if window_s is not None else None,
        "strategy_id": strategy,
        "chain_id": chain,
        "asset": asset,
        "contract": contract,
        "selector": selector,
        "listed": listed,
        "members": member,
    }
    sent = {key: each for key, each in body.items() if each is not None}
    with session_of(context).client() as client:
        answer = client.post("/v1/limits", sent)
    most = _most(answer) if kind == "list" else f"at most {_most(answer)}"
    words = f"{name}: {kind} of {_about(answer)}, {most}"
    show(answer, as_json, lambda: typer.echo(words))


@limits_app.command(name="remove")
def remove_limit(context: typer.Context, name: str, as_json: JsonFlag = False) -> None:
    """Remove a limit. Needs the role risk."""
    with session_of(context).client() as client:
        answer = client.delete(address("limits", name))
    show(answer, as_json, lambda: typer.echo(f"removed {name}"))


def print_halts(found: list[dict[str, Any]]) -> None:
    """Print halts as a table."""
    table(
        ("id", "what", "state", "since", "by", "why"),
        (
            (
                each["id"],
                _what(each),
                each["mode"] if each["state"] == "ACTIVE" else f"released by {each['released_by']}",
                moment(each["at"]),
                each["principal"],
                each["why"],
            )
            for each in found
        ),
    )


def loudly(found: list[dict[str, Any]]) -> str:
    """Say in one line what is halted, so that nobody overlooks it."""
    return "HALTED: " + "; ".join(
        f"{_what(each)} ({each['mode']}): {each['why']}" for each in found
    )


def _halt(
    context: typer.Context, scope: str, target: str, why: str, reducing: bool, as_json: bool
) -> None:
    body = {
        "scope": scope,
        "target": target,
        "why": why,
        "mode": "reducing" if reducing else "halted",
    }
    with session_of(context).client() as client:
        answer = client.post("/v1/halts", body)
    silent = [chain for chain, knows in (answer["told"] or {}).items() if not knows]
    late = f"; chain {', '.join(silent)} did not answer and reads it by itself" if silent else ""
    words = f"{answer['mode']}: {_what(answer)}; release it with: sep release {answer['id']}{late}"
    show(answer, as_json, lambda: typer.echo(words))


def _what(halt: dict[str, Any]) -> str:
    return "everything" if halt["scope"] == "all" else f"{halt['scope']} {halt['target']}"


def _measured(kind: str, given: dict[str, str]) -> dict[str, Any]:
    """Return the only measure that was given, with its amount in smallest units."""
    if len(given) > 1:
        raise Failure(f"give one of --{', --'.join(given)}")
    if not given and kind != "list":
        raise Failure(f"a limit of kind {kind} needs --value, --units, --gas, --count or --ppm")
    for measure, text in given.items():
        try:
            amount = Decimal(text) * (MILLION if measure == "value" else 1)
        except InvalidOperation:
            raise Failure(f"--{measure} {text} is not a number") from None
        if not amount.is_finite() or amount != int(amount) or amount < 0:
            raise Failure(f"--{measure} {text} is not a whole number of smallest units")
        return {"measure": measure, "amount": str(int(amount))}
    return {}


def _about(limit: dict[str, Any]) -> str:
    names = ("strategy_id", "chain_id", "asset", "contract", "selector")
    said = [
        f"{name.removesuffix('_id')} {limit[name]}" for name in names if limit[name] is not None
    ]
    return ", ".join(said) or "everything"


def _most(limit: dict[str, Any]) -> str:
    if limit["listed"] is not None:
        return f"{len(limit['members'])} {limit['listed']}"
    over = f" in {limit['window_ms'] / 1_000:g} s" if limit["window_ms"] else ""
    return _amount(limit, limit["amount"]) + over


def _used(limit: dict[str, Any]) -> str:
    return "" if limit["used"] is None else _amount(limit, limit["used"])


def _amount(limit: dict[str, Any], units: str) -> str:
    if limit["measure"] == "value":
        return f"{Decimal(units) / MILLION} USD"
    return f"{units} {limit['measure']}"
