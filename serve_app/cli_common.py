"""What all commands share: which platform they talk to, how they print, how they fail."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from sep_ray.settings import Settings
    from serve_app.client import Client

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
INTERRUPTED: Final = 130
USAGE: Final = 2
TOKEN_S: Final = 3_600
WIDE: Final = 10_000
"""Columns where there is no terminal: nothing is folded, so that other programs find it whole."""


class Failure(Exception):
    """Ends a command with one line and exit code 1."""


@dataclass(slots=True)
class Session:
    """Which platform is meant, and as whom."""

    url: str | None = None
    token: str | None = None

    def settings(self) -> Settings:
        """Read the settings, or fail naming the variable."""
        from pydantic import ValidationError

        from sep_ray.settings import Settings

        try:
            return Settings()
        except ValidationError as error:
            first = error.errors()[0]
            name = "_".join(str(part) for part in first["loc"]).upper()
            raise Failure(f"SEP_{name}: {first['msg']}") from None

    def client(self) -> Client:
        """Return a client for the platform; fail when there is none."""
        from serve_app.client import Client

        return Client(self._address(), self.token or self._operator())

    def _address(self) -> str:
        if self.url is not None:
            return self.url
        state = self.settings().state_dir
        try:
            return str(json.loads((state / "endpoints.json").read_text())["api"])
        except (OSError, ValueError, KeyError, TypeError):
            raise Failure(f"no platform runs from {state}; start it with: sep up") from None

    def _operator(self) -> str:
        """Make a token from the secret of the state folder."""
        import getpass

        from serve_app.auth import Role

        return mint(self.settings(), getpass.getuser(), Role.ADMIN, TOKEN_S, None)


def mint(
    settings: Settings, name: str, role: Any, ttl_s: int, strategies: Sequence[str] | None
) -> str:
    """Return a token under the settings' secret, or the state folder's."""
    from sep_ray.kernel.clock import SystemClock
    from serve_app.auth import Tokens, token_secret

    configured = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    tokens = Tokens(token_secret(configured, settings.state_dir), SystemClock())
    return tokens.mint(name, role, ttl_s, strategies)


def address(*parts: str) -> str:
    """Return a path of the interface; what somebody typed is one part of it, whatever it holds."""
    from urllib.parse import quote

    for part in parts:
        if part.strip(". ") == "" or "/" in part:
            raise Failure(f"'{part}' names nothing")
    return "/v1/" + "/".join(quote(part, safe="", errors="surrogateescape") for part in parts)


def writable(file: Path | None) -> None:
    """Fail before the work is done rather than after it where its result cannot be written."""
    if file is None:
        return
    try:
        file.open("a").close()
    except OSError as error:
        raise Failure(f"--json {file} cannot be written: {error.strerror}") from None


def session_of(context: typer.Context) -> Session:
    """Return what the root command was told."""
    found = context.obj
    return found if isinstance(found, Session) else Session()


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Say what is going on: a line that changes on a terminal, lines elsewhere."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    began = time.monotonic()
    if not console.is_terminal:
        said = ""

        def say(text: str) -> None:
            nonlocal said
            if text != said:
                typer.echo(f"{time.monotonic() - began:6.1f} s  {text}", err=True)
            said = text

        yield say
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as line:
        task = line.add_task("starting")
        yield lambda text: line.update(task, description=text)


def show(answer: Any, as_json: bool, text: Callable[[], None]) -> None:
    """Print an answer as JSON, or let `text` print it."""
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    else:
        text()


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print rows in columns, nothing cut off."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*headings, title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        drawn.add_row(*(plain(cell) for cell in row))
    for column in drawn.columns:
        column.overflow = "fold"
    Console(width=None if sys.stdout.isatty() else WIDE).print(drawn)


def facts(pairs: Mapping[str, object]) -> None:
    """Print names and values, one a line."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        if value not in (None, ""):
            typer.echo(f"{name:<{width}}  {value}")


def plain(value: object) -> str:
    """Write a cell; nothing where there is nothing, and no markup."""
    from rich.markup import escape

    return "" if value is None else escape(str(value))


def quantity(amount: Mapping[str, Any] | None) -> str:
    """Write an amount of an answer."""
    if amount is None:
        return ""
    if amount["amount"] is None:
        return f"{amount['units']} units of {amount['asset']}"
    return f"{amount['amount']} {amount['symbol']}"


def weighed(choice: Mapping[str, Any]) -> Iterator[str]:
    """Yield what became of every bridge that was weighed for a transfer, a line each."""
    for each in choice["alternatives"]:
        yield f"{each['bridge']} {each['mode']}".strip() + f": {each['verdict']}"


def moment(millis: int | None) -> str:
    """Write an instant in local time."""
    from datetime import UTC, datetime

    if millis is None:
        return ""
    at = datetime.fromtimestamp(millis / 1_000, tz=UTC).astimezone()
    return at.strftime("%Y-%m-%d %H:%M:%S")


def failed(error: BaseException) -> int:
    """Say in one line why a command ended and return its exit code."""
    if isinstance(error, SystemExit):
        return int(error.code or 0)
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        typer.echo("interrupted", err=True)
        return INTERRUPTED
    if isinstance(error, TyperException):
        said = " ".join(error.format_message().split())
        if said:  # nothing when the help was asked for by giving no command
            typer.echo(f"sep: {said}", err=True)
        return USAGE
    if isinstance(error, BrokenPipeError):
        return 0
    typer.echo(f"sep: {one_line(error)}", err=True)
    return 1


def one_line(error: BaseException) -> str:
    """Return an error's words; our own errors speak for themselves, others name their kind."""
    from sep_ray.kernel.errors import SepError

    said = " ".join(str(error).split())[:500]
    if isinstance(error, Failure | SepError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
