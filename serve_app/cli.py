"""The `sep` command. Imports little: what a command needs is imported when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from serve_app.cli_chaos import chaos
from serve_app.cli_common import Session, failed
from serve_app.cli_intent import intent_app, why
from serve_app.cli_lanes import attempts_app, lane_app
from serve_app.cli_money import portfolio_app
from serve_app.cli_platform import demo, doctor, down, status, token, up
from serve_app.cli_risk import halt_app, halts, limits_app, release
from serve_app.cli_route import route
from serve_app.cli_sim import sim
from serve_app.cli_strategy import strategy_app
from serve_app.cli_transfers import transfers_app

app = typer.Typer(
    name="sep",
    help="Say what you want; the platform does it on chain, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (up, down, status, doctor, demo, token, why, route, sim, chaos):
    app.command()(command)
app.command()(halts)
app.command()(release)
app.add_typer(halt_app, name="halt")
app.add_typer(limits_app, name="limits")
app.add_typer(intent_app, name="intent")
app.add_typer(lane_app, name="lane")
app.add_typer(attempts_app, name="attempts")
app.add_typer(portfolio_app, name="portfolio")
app.add_typer(strategy_app, name="strategy")
app.add_typer(transfers_app, name="transfers")


def _version(asked: bool) -> None:
    if asked:
        from sep_ray import __version__

        typer.echo(f"sep {__version__}")
        raise typer.Exit


@app.callback()
def sep(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(envvar="SEP_URL", help="The platform's address.")
    ] = None,
    bearer: Annotated[
        str | None,
        typer.Option("--token", envvar="SEP_TOKEN", help="Who you are; default: the operator."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Without --url and --token the platform of the state folder is meant."""
    context.obj = Session(url=url, token=bearer)


def main() -> int:
    """Run a command; whatever goes wrong is one line on standard error and a code above 0."""
    try:
        return app(standalone_mode=False) or 0
    except BaseException as error:
        return failed(error)


if __name__ == "__main__":
    sys.exit(main())
