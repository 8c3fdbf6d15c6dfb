"""sep strategy: the users' own code, in and out of work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app.cli_common import Failure, JsonFlag, address, moment, session_of, show, table

strategy_app = typer.Typer(
    help="List, start, pause, resume and stop strategies.", no_args_is_help=True
)


@strategy_app.command(name="list")
def list_strategies(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List all strategies."""
    with session_of(context).client() as client:
        answer = client.get("/v1/strategies")

    def text() -> None:
        table(
            ("id", "state", "source", "parameters", "since", "detail"),
            (
                (
                    each["id"],
                    each["state"],
                    each["source"],
                    json.dumps(each["params"]),
                    moment(each["created_at"]),
                    each["detail"],
                )
                for each in answer["strategies"]
            ),
        )

    show(answer, as_json, text)


@strategy_app.command()
def start(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FILE:CLASS", help="Or a built-in: momentum, rebalance.")
    ],
    name: Annotated[
        str | None, typer.Option("--id", help="Its name; default: from the class.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter, repeated: lookback=20")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Register a strategy and let it run. Its code runs on the platform."""
    body = {
        "id": name or _name(source),
        "source": source,
        "params": dict(map(_parameter, param or [])),
    }
    file, colon, declared = source.rpartition(":")
    if colon and file.endswith(".py"):
        body |= {"source": f"{Path(file).name}:{declared}", "code": _text(Path(file))}
    with session_of(context).client() as client:
        answer = client.post("/v1/strategies", body)
    _say(answer, as_json)


@strategy_app.command()
def pause(context: typer.Context, strategy_id: str, as_json: JsonFlag = False) -> None:
    """Let it see the market and submit nothing."""
    _change(context, strategy_id, "pause", as_json)


@strategy_app.command()
def resume(context: typer.Context, strategy_id: str, as_json: JsonFlag = False) -> None:
    """Let a paused strategy submit again."""
    _change(context, strategy_id, "resume", as_json)


@strategy_app.command()
def stop(context: typer.Context, strategy_id: str, as_json: JsonFlag = False) -> None:
    """End it; it may be started again."""
    _change(context, strategy_id, "stop", as_json)


def _change(context: typer.Context, strategy_id: str, change: str, as_json: bool) -> None:
    with session_of(context).client() as client:
        answer = client.post(address("strategies", strategy_id, change), {})
    _say(answer, as_json)


def _say(answer: Mapping[str, Any], as_json: bool) -> None:
    show(answer, as_json, lambda: typer.echo(f"{answer['id']} {answer['state']}"))


def _name(source: str) -> str:
    """Make an id of a class's name: BuyTheDip becomes buy-the-dip."""
    declared = source.rpartition(":")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", declared).lower().replace("_", "-")


def _parameter(text: str) -> tuple[str, Any]:
    """Read name=value; a value that is JSON is taken as such, anything else as text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Failure(f"--param {text} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} cannot be read: {error}") from None
